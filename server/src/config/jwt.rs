//! The settings of those whose tokens (JWT) are taken: who they are, and where their keys are found. Reads no key.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// One who signs tokens. Its keys come from one place: a file, an address, or a secret shared with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtIssuer {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` that says they are meant for this server.
    pub audience: String,
    /// A JWK set, read again every `refresh_s`.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// The same by `https` (or `http` on this machine).
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// A shared secret of at least 32 bytes, for HS256.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// A file that holds such a secret; a line end behind it does not belong to it.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// The `kid` of the shared secret.
    #[serde(default)]
    pub kid: Option<String>,
    /// The tenants that it may speak for; empty: any.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// The roles that it may give.
    #[serde(default = "usual_roles")]
    pub roles: Vec<String>,
    /// A token that is good for longer than this is refused, 60 to 604,800 s. What is revoked is remembered for as long.
    #[serde(default = "a_day")]
    pub max_life_s: u64,
    /// 10 to 86,400 s.
    #[serde(default = "ten_minutes")]
    pub refresh_s: u64,
}

/// A text that no log and no error shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

pub const MIN_SECRET_BYTES: usize = 32;
const ROLES: [&str; 4] = ["ingest", "dashboard", "operator", "admin"];

fn usual_roles() -> Vec<String> {
    // Whoever manages keys is named on purpose.
    ROLES[..3].iter().map(|role| (*role).to_owned()).collect()
}

fn a_day() -> u64 {
    86_400
}

fn ten_minutes() -> u64 {
    600
}

impl JwtIssuer {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let invalid = |reason: String| Err(ConfigError::Invalid { name: "jwt", reason: format!("issuer {:?}: {reason}", self.issuer) });
        let sources = [self.jwks_file.is_some(), self.jwks_url.is_some(), self.secret.is_some(), self.secret_file.is_some()];
        if sources.into_iter().filter(|given| *given).count() != 1 {
            return invalid("give one of jwks_file, jwks_url, secret and secret_file".to_owned());
        }
        if self.issuer.is_empty() || self.audience.is_empty() {
            return invalid("issuer and audience must not be empty".to_owned());
        }
        if (self.secret.is_some() || self.secret_file.is_some()) != self.kid.as_ref().is_some_and(|kid| !kid.is_empty()) {
            return invalid("a shared secret, and nothing else, has its kid here".to_owned());
        }
        if self.secret.as_ref().is_some_and(|secret| secret.0.len() < MIN_SECRET_BYTES) {
            return invalid(format!("a secret has at least {MIN_SECRET_BYTES} bytes"));
        }
        if self.jwks_url.as_deref().is_some_and(|url| !is_trusted(url)) {
            return invalid("jwks_url must be https, or http to this machine: keys that anybody may replace prove nothing".to_owned());
        }
        if let Some(role) = self.roles.iter().find(|role| !ROLES.contains(&role.as_str())) {
            return invalid(format!("{role} is no role"));
        }
        super::in_range("jwt.max_life_s", self.max_life_s, 60, 604_800)?;
        super::in_range("jwt.refresh_s", self.refresh_s, 10, 86_400)
    }
}

fn is_trusted(url: &str) -> bool {
    let host = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or("").rsplit_once(':').map_or(String::new(), |(host, _)| host.to_owned());
    match url.split_once("://") {
        Some(("https", rest)) => !rest.is_empty(),
        Some(("http", rest)) => ["127.0.0.1", "localhost", "[::1]"].contains(&host(rest).as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> JwtIssuer {
        JwtIssuer {
            issuer: "https://id.example".to_owned(),
            audience: "waypost".to_owned(),
            jwks_file: None,
            jwks_url: Some("https://id.example/keys".to_owned()),
            secret: None,
            secret_file: None,
            kid: None,
            tenants: Vec::new(),
            roles: usual_roles(),
            max_life_s: 3600,
            refresh_s: 600,
        }
    }

    #[test]
    fn an_issuer_has_one_source_of_keys_that_can_be_trusted() {
        assert!(issuer().check().is_ok());
        let secret = || Some(Secret("x".repeat(32)));
        let wrong = [
            JwtIssuer { jwks_url: None, ..issuer() },
            JwtIssuer { secret: secret(), kid: Some("k".to_owned()), ..issuer() },
            JwtIssuer { secret: secret(), jwks_url: None, ..issuer() },
            JwtIssuer { secret: Some(Secret("short".to_owned())), kid: Some("k".to_owned()), jwks_url: None, ..issuer() },
            JwtIssuer { kid: Some("k".to_owned()), ..issuer() },
            JwtIssuer { audience: String::new(), ..issuer() },
            JwtIssuer { jwks_url: Some("http://id.example/keys".to_owned()), ..issuer() },
            JwtIssuer { jwks_url: Some("http://127.0.0.1.evil.example:80/".to_owned()), ..issuer() },
            JwtIssuer { jwks_url: Some("file:///keys".to_owned()), ..issuer() },
            JwtIssuer { roles: vec!["boss".to_owned()], ..issuer() },
            JwtIssuer { max_life_s: 1, ..issuer() },
        ];
        for issuer in wrong {
            let error = issuer.check().expect_err("refused").to_string();
            assert!(error.contains("jwt") && !error.contains("short"), "{error}");
        }
        assert!(JwtIssuer { jwks_url: Some("http://127.0.0.1:9000/keys".to_owned()), ..issuer() }.check().is_ok());
        assert_eq!(format!("{:?}", secret()), "Some(Secret(..))");
    }
}
