//! The keys of one issuer, each pinned to its algorithm and to what a token it signed must say. Fetches nothing.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use thiserror::Error;

use crate::config::jwt::{JwtIssuer, MIN_SECRET_BYTES};
use crate::http::keys::hash;

/// By `kid`.
#[derive(Clone, Default)]
pub(super) struct KeySet(HashMap<String, Arc<PinnedKey>>);

pub(super) struct PinnedKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    pub(super) validation: Validation,
    /// Equal for equal keys.
    pub(super) fingerprint: [u8; 32],
}

/// Whether a set may hold secrets that both sides know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    Allowed,
    /// What is fetched by address is public.
    Refused,
}

#[derive(Debug, Error)]
pub enum KeySetError {
    #[error("not a JWK set: {0}")]
    NotJwks(serde_json::Error),
    #[error(
        "no usable key in it: one has a kid and is of Ed25519 (EdDSA), RSA of 2048 bits or more (RS256) or, in a file, a secret of 32 bytes or more (HS256)"
    )]
    NoKey,
    #[error("the secret has fewer than {MIN_SECRET_BYTES} bytes")]
    ShortSecret,
}

/// Of a set. The first ones count.
const MAX_KEYS: usize = 64;
/// 2048 bits.
const MIN_MODULUS_BYTES: usize = 256;

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    pub(super) fn of_secret(issuer: &JwtIssuer, secret: &[u8]) -> Result<Self, KeySetError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeySetError::ShortSecret);
        }
        let key = pinned(issuer, Algorithm::HS256, DecodingKey::from_secret(secret), hash(secret));
        Ok(Self(HashMap::from([(issuer.kid.clone().unwrap_or_default(), Arc::new(key))])))
    }

    /// Keys of other kinds are passed over; a set without a usable one is refused.
    pub(super) fn of_jwks(issuer: &JwtIssuer, text: &[u8], secrets: Secrets) -> Result<Self, KeySetError> {
        let set: Jwks = serde_json::from_slice(text).map_err(KeySetError::NotJwks)?;
        let mut keys = HashMap::new();
        for value in set.keys.iter().take(MAX_KEYS) {
            let Ok(jwk) = serde_json::from_value::<Jwk>(value.clone()) else { continue };
            let (Some(kid), Some(algorithm)) = (jwk.common.key_id.clone(), algorithm(&jwk, secrets)) else { continue };
            if let Ok(key) = DecodingKey::from_jwk(&jwk) {
                keys.entry(kid).or_insert_with(|| Arc::new(pinned(issuer, algorithm, key, hash(value.to_string().as_bytes()))));
            }
        }
        if keys.is_empty() { Err(KeySetError::NoKey) } else { Ok(Self(keys)) }
    }

    pub(super) fn get(&self, kid: &str) -> Option<Arc<PinnedKey>> {
        self.0.get(kid).cloned()
    }

    pub(super) fn holds(&self, fingerprint: &[u8; 32]) -> bool {
        self.0.values().any(|key| key.fingerprint == *fingerprint)
    }
}

fn pinned(issuer: &JwtIssuer, algorithm: Algorithm, key: DecodingKey, fingerprint: [u8; 32]) -> PinnedKey {
    let mut validation = Validation::new(algorithm);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[&issuer.issuer]);
    validation.set_audience(&[&issuer.audience]);
    // By our own clock, and to the second.
    validation.validate_exp = false;
    PinnedKey { algorithm, key, validation, fingerprint }
}

/// The one algorithm of a key, whatever a token says; none when it is no key for signatures that are taken.
fn algorithm(jwk: &Jwk, secrets: Secrets) -> Option<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
        return None;
    }
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_or(0, |bytes| bytes.len());
    let (fits, algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) => (pair.curve == EllipticCurve::Ed25519, Algorithm::EdDSA, KeyAlgorithm::EdDSA),
        AlgorithmParameters::RSA(rsa) => (bytes(&rsa.n) >= MIN_MODULUS_BYTES, Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::OctetKey(secret) => {
            (secrets == Secrets::Allowed && bytes(&secret.value) >= MIN_SECRET_BYTES, Algorithm::HS256, KeyAlgorithm::HS256)
        }
        _ => return None,
    };
    (fits && jwk.common.key_algorithm.as_ref().is_none_or(|of| *of == named)).then_some(algorithm)
}
