//! One who signs tokens, as the tests of tokens need it: keys, key sets, settings, and tokens good and bad. Claims nothing.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::clock::{Clock, ManualClock};
use crate::config::jwt::{JwtIssuer, Secret};
use crate::http::jwt::Jwt;
use crate::model::time::UnixMs;

pub(super) const NOW_S: i64 = 1_790_000_000;
pub(super) const SECRET: &str = "a secret that both sides know, 32+";
pub(super) const ISSUER: &str = "https://id.example";

pub(super) fn clock() -> ManualClock {
    ManualClock::new(UnixMs(NOW_S * 1000))
}

/// By its seed: any 32 bytes are a key.
pub(super) fn ed25519(seed: u8) -> EncodingKey {
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    EncodingKey::from_ed_der(&[&HEAD[..], &[seed; 32]].concat())
}

pub(super) fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_der(include_bytes!("../../../../../tests/harness/signer_rsa.der"))
}

pub(super) fn jwk(kid: &str, key: &EncodingKey, algorithm: Algorithm) -> Value {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).expect("a key");
    jwk.common.key_id = Some(kid.to_owned());
    serde_json::to_value(jwk).expect("JSON")
}

pub(super) fn jwks(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

pub(super) fn settings() -> JwtIssuer {
    JwtIssuer {
        issuer: ISSUER.to_owned(),
        audience: "waypost".to_owned(),
        jwks_file: None,
        jwks_url: None,
        secret: None,
        secret_file: None,
        kid: None,
        tenants: vec!["acme".to_owned()],
        roles: ["ingest", "dashboard", "operator"].map(str::to_owned).to_vec(),
        max_life_s: 3600,
        refresh_s: 600,
    }
}

pub(super) fn by_secret() -> JwtIssuer {
    JwtIssuer { secret: Some(Secret(SECRET.to_owned())), kid: Some("shared".to_owned()), ..settings() }
}

pub(super) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(super) fn new(text: &str) -> Self {
        let files = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        files.write(text);
        files
    }

    pub(super) fn write(&self, text: &str) {
        std::fs::write(self.folder.path().join("jwks.json"), text).expect("written");
    }

    pub(super) fn settings(&self) -> JwtIssuer {
        JwtIssuer { jwks_file: Some(self.folder.path().join("jwks.json")), ..settings() }
    }

    pub(super) fn jwt(&self, clock: &ManualClock) -> Jwt {
        Jwt::new(&[self.settings(), by_secret()], Clock::Manual(clock.clone())).expect("readable keys")
    }
}

pub(super) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "waypost", "exp": NOW_S + 600, "tenant": "acme", "role": "dashboard", "jti": "one", "sub": "somebody"})
}

pub(super) fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

pub(super) fn signed(kid: &str, algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    encode(&header, claims, key).expect("signed")
}

pub(super) fn by_ed(claims: &Value) -> String {
    signed("ed", Algorithm::EdDSA, &ed25519(7), claims)
}

/// A token of these two parts and this signature, whatever they say.
pub(super) fn raw(header: &Value, claims: &Value, signature: &str) -> String {
    use base64::Engine as _;
    let part = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}
