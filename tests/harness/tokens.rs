//! One who signs tokens (JWT) and whom a test's server takes them from. Knows no server.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use waypost::config::jwt::{JwtIssuer, Secret};

use super::server::START_MS;

pub(crate) const SECRET: &str = "a secret of the tests, of 32 bytes";
const ISSUER: &str = "https://id.example";

/// The settings by which a server takes these tokens.
pub(crate) fn issuer() -> JwtIssuer {
    JwtIssuer {
        issuer: ISSUER.to_owned(),
        audience: "waypost".to_owned(),
        jwks_file: None,
        jwks_url: None,
        secret: Some(Secret(SECRET.to_owned())),
        secret_file: None,
        kid: Some("shared".to_owned()),
        tenants: Vec::new(),
        roles: ["ingest", "dashboard", "operator", "admin"].map(str::to_owned).to_vec(),
        max_life_s: 86_400,
        refresh_s: 600,
    }
}

/// Good for an hour, for this tenant and role.
pub(crate) fn claims(tenant: &str, role: &str) -> Value {
    json!({"iss": ISSUER, "aud": "waypost", "exp": START_MS / 1000 + 3600, "tenant": tenant, "role": role})
}

pub(crate) fn signed(claims: &Value) -> String {
    let header = Header { kid: Some("shared".to_owned()), ..Header::new(Algorithm::HS256) };
    encode(&header, claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("signed")
}

/// The same claims under a header that asks for no proof, without one.
pub(crate) fn unsigned(claims: &Value) -> String {
    use base64::Engine as _;
    let part = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT", "kid": "shared"})), part(claims))
}
