//! Where phone apps put the key: a bearer token, the password of HTTP Basic, or the address. Never checks a key itself.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::formats::problem::Problem;
use crate::http::auth::{Denied, Principal, bearer};
use crate::http::path_key::PathKey;
use crate::http::problem::{self, Kind};

pub(in crate::http) struct Credential {
    pub(in crate::http) key: String,
    pub(in crate::http) login: Login,
    in_address: bool,
}

/// The user name of HTTP Basic, where it came along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Login(pub(in crate::http) Option<String>);

impl Credential {
    /// A key in the address counts before one in a header.
    pub(in crate::http) fn of<B>(request: &Request<B>) -> Result<Self, Problem> {
        if let Some(key) = request.extensions().get::<PathKey>() {
            return Ok(Self { key: key.as_str().to_owned(), login: Login::default(), in_address: true });
        }
        if let Some(key) = bearer(request.headers()) {
            return Ok(Self { key: key.to_owned(), login: Login::default(), in_address: false });
        }
        let (login, key) = basic(request.headers()).ok_or_else(|| problem::denied(&Denied::Missing))?;
        Ok(Self { key, login: Login(Some(login).filter(|login| !login.is_empty())), in_address: false })
    }

    /// An address is seen by whoever handles it on its way, so a key in one must not be worth much.
    pub(in crate::http) fn check(&self, principal: &Principal) -> Result<(), Problem> {
        if self.in_address && principal.scope.only_driver().is_none() {
            return Err(Kind::Role.says("a key in an address must speak for one driver alone; send this one as bearer token or password"));
        }
        Ok(())
    }
}

/// User name and password of HTTP Basic (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ended::Ended;
    use crate::http::auth::Role;
    use crate::model::id::{DriverId, TenantId};
    use crate::model::scope::Scope;

    #[test]
    fn the_password_of_http_basic_is_read_with_its_user_name() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().expect("a value"));
            basic(&headers)
        };
        assert_eq!(read("Basic YW5uYTp3cGtfMTp4"), Some(("anna".to_owned(), "wpk_1:x".to_owned())));
        assert_eq!(read("basic  Ond4"), Some((String::new(), "wx".to_owned())));
        for value in ["Basic", "Basic !", "Basic YQ==", "Bearer YTpi", "Basic /w=="] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn a_key_in_an_address_is_taken_only_when_it_speaks_for_one_driver() {
        let of = |drivers: Option<&[&str]>| {
            let drivers = drivers.map(|drivers| drivers.iter().map(|driver| DriverId::parse(driver).expect("valid")).collect());
            let scope = Scope::new(drivers, None, None).expect("few");
            let (tenant, ended) = (TenantId::parse("acme").expect("valid"), Ended::default());
            Principal { tenant, role: Role::Ingest, scope, key: Arc::from("k"), ended, expires: None }
        };
        let credential = |in_address| Credential { key: String::new(), login: Login::default(), in_address };
        for drivers in [None, Some([].as_slice()), Some(&["van-1", "van-2"])] {
            assert_eq!(credential(true).check(&of(drivers)).expect_err("refused").code, "role");
            assert!(credential(false).check(&of(drivers)).is_ok());
        }
        assert!(credential(true).check(&of(Some(&["van-1"]))).is_ok());
        assert_eq!(of(Some(&["van-1"])).scope.only_driver(), DriverId::parse("van-1").ok().as_ref());
    }
}
