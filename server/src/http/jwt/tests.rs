//! Claims about tokens: what is taken, what is refused and why, and when a token that was taken ends.

mod signer;

use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::http::auth::Role;
use signer::{Files, NOW_S, SECRET, by_ed, claims, clock, ed25519, jwk, jwks, raw, rsa, settings, signed, with};

fn both_keys() -> String {
    jwks(&[jwk("ed", &ed25519(7), Algorithm::EdDSA), jwk("rsa", &rsa(), Algorithm::RS256)])
}

#[tokio::test]
async fn each_algorithm_is_taken_with_its_own_key_and_claims_narrow() {
    let (files, clock) = (Files::new(&both_keys()), clock());
    let jwt = files.jwt(&clock);
    let mut narrow = claims();
    (narrow["drivers"], narrow["deliveries"], narrow["bbox"]) = (json!(["van"]), json!(["p"]), json!([11, 57, 12, 58]));
    narrow["aud"] = json!(["other", "waypost"]);
    narrow["exp"] = json!(1_790_000_000.5);
    for (kid, algorithm, key) in [
        ("ed", Algorithm::EdDSA, ed25519(7)),
        ("rsa", Algorithm::RS256, rsa()),
        ("shared", Algorithm::HS256, EncodingKey::from_secret(SECRET.as_bytes())),
    ] {
        let principal = jwt.verify(&signed(kid, algorithm, &key, &claims())).await.expect("taken");
        assert_eq!((principal.tenant.as_str(), principal.role, principal.scope.is_all()), ("acme", Role::Dashboard, true));
        assert_eq!(principal.expires, Some(UnixMs((NOW_S + 600) * 1000)));
        let principal = jwt.verify(&signed(kid, algorithm, &key, &narrow)).await.expect("taken");
        let scope = &principal.scope;
        assert_eq!((scope.drivers().map(<[_]>::len), scope.deliveries().map(<[_]>::len), scope.areas().len()), (Some(1), Some(1), 1));
        assert_eq!(principal.expires, Some(UnixMs(NOW_S * 1000 + 500)));
    }
    assert_eq!(jwt.known(), 6);
}

#[tokio::test]
async fn what_is_not_meant_for_us_or_not_proven_is_refused_by_its_reason() {
    let (files, clock) = (Files::new(&both_keys()), clock());
    let jwt = files.jwt(&clock);
    let public = serde_json::to_string(&jwk("rsa", &rsa(), Algorithm::RS256)).expect("JSON");
    let good = by_ed(&claims());
    let (unsigned, signature) = good.rsplit_once('.').expect("three parts");
    let mut no_kid = Header::new(Algorithm::EdDSA);
    no_kid.kid = None;
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    };
    let cases = [
        (raw(&json!({"alg": "none", "kid": "ed"}), &claims(), ""), "header"),
        (raw(&json!({"alg": "None", "kid": "ed"}), &claims(), signature), "header"),
        (raw(&json!({"alg": "ES256", "kid": "ed"}), &claims(), signature), "algorithm"),
        (format!("{unsigned}."), "signature"),
        (signed("ed", Algorithm::EdDSA, &ed25519(8), &claims()), "signature"),
        (signed("rsa", Algorithm::HS256, &EncodingKey::from_secret(public.as_bytes()), &claims()), "algorithm"),
        (signed("rsa", Algorithm::RS512, &rsa(), &claims()), "algorithm"),
        (signed("other", Algorithm::EdDSA, &ed25519(7), &claims()), "not known"),
        (encode(&no_kid, &claims(), &ed25519(7)).expect("signed"), "(kid)"),
        (by_ed(&with("aud", json!("another"))), "(aud)"),
        (by_ed(&with("iss", json!("https://evil.example"))), "(iss)"),
        (by_ed(&without("aud")), "lacks"),
        (by_ed(&without("iss")), "lacks"),
        (by_ed(&without("exp")), "claims"),
        (by_ed(&with("exp", json!("soon"))), "claims"),
        (by_ed(&with("exp", json!(1e300))), "exp"),
        (by_ed(&with("exp", json!(NOW_S + 3601))), "longer"),
        (by_ed(&with("nbf", json!(NOW_S + 61))), "(nbf)"),
        (by_ed(&without("tenant")), "tenant"),
        (by_ed(&with("tenant", json!("other"))), "tenant"),
        (by_ed(&with("role", json!("admin"))), "role"),
        (by_ed(&with("role", json!(7))), "claims"),
        (by_ed(&with("drivers", json!("van"))), "claims"),
        (by_ed(&with("bbox", json!([1, 2, 3]))), "claims"),
        (by_ed(&with("bbox", json!([1, 2, 3, 400]))), "bbox"),
        (by_ed(&with("jti", json!("x".repeat(129)))), "jti"),
    ];
    for (token, reason) in cases {
        match jwt.verify(&token).await {
            Err(Denied::Token(why)) => assert!(why.contains(reason), "{why} for {reason}"),
            other => panic!("{other:?} for {reason}"),
        }
    }
    assert!(matches!(jwt.verify(&by_ed(&with("exp", json!(NOW_S)))).await, Err(Denied::Expired)));
    for nonsense in ["..", "a.b", "a.b.c.d", ".", &"x.".repeat(8000)] {
        assert!(matches!(jwt.verify(nonsense).await, Err(Denied::Token(_) | Denied::Unknown)), "{nonsense}");
    }
    assert_eq!(jwt.known(), 0, "nothing refused is kept");
    assert!(jwt.verify(&by_ed(&without("role"))).await.expect("taken").role == Role::Dashboard);
    assert!(jwt.verify(&by_ed(&with("nbf", json!(NOW_S + 59)))).await.is_ok(), "clocks differ a little");
}

#[tokio::test]
async fn a_token_ends_with_its_time_its_revocation_or_its_key_and_what_it_opened_with_it() {
    let (files, clock) = (Files::new(&both_keys()), clock());
    let jwt = files.jwt(&clock);
    let tokens = [with("exp", json!(NOW_S + 60)), with("jti", json!("revoked")), claims()].map(|claims| by_ed(&claims));
    let of_rsa = signed("rsa", Algorithm::RS256, &rsa(), &claims());
    let mut held = Vec::new();
    for token in tokens.iter().chain([&of_rsa]) {
        held.push(jwt.verify(token).await.expect("taken"));
    }
    let ended = |held: &[Arc<Principal>]| held.iter().map(|principal| principal.ended.is_cancelled()).collect::<Vec<_>>();

    jwt.deny_one(TenantId::parse("other").expect("valid"), "revoked");
    assert_eq!(ended(&held), [false; 4], "of another tenant");
    jwt.deny_one(TenantId::parse("acme").expect("valid"), "revoked");
    assert_eq!(ended(&held), [false, true, false, false]);
    assert!(matches!(jwt.verify(&tokens[1]).await, Err(Denied::Token("it was revoked"))));

    clock.advance(Duration::from_mins(1));
    assert!(matches!(jwt.verify(&tokens[0]).await, Err(Denied::Expired)), "also before it is swept");
    jwt.sweep();
    assert_eq!(ended(&held), [true, true, false, false]);

    files.write(&jwks(&[jwk("rsa", &rsa(), Algorithm::RS256)]));
    for issuer in &jwt.issuers {
        issuer.refresh_if(clock_of(&clock), Duration::ZERO).await;
    }
    jwt.sweep();
    assert_eq!(ended(&held), [true, true, true, false]);
    assert!(jwt.verify(&of_rsa).await.is_ok() && jwt.verify(&tokens[2]).await.is_err());
    files.write("{");
    for issuer in &jwt.issuers {
        assert!(!issuer.refresh_if(clock_of(&clock), Duration::ZERO).await);
    }
    assert!(jwt.verify(&of_rsa).await.is_ok(), "a file that cannot be read leaves what is known");
}

#[tokio::test]
async fn a_token_that_is_revoked_while_the_revoked_ones_are_read_stays_so() {
    let (files, clock) = (Files::new(&both_keys()), clock());
    let jwt = files.jwt(&clock);
    let acme = TenantId::parse("acme").expect("valid");
    let token = |jti: &str| by_ed(&with("jti", json!(jti)));
    let is_taken = async |jti: &str| !matches!(jwt.verify(&token(jti)).await, Err(Denied::Token("it was revoked")));
    jwt.deny_one(acme, "before");
    let began = jwt.begin_reading_denied();
    let rows = vec![(acme, Box::from("stored"))];
    jwt.deny_one(acme, "meanwhile");
    jwt.deny(rows, began);
    assert!(is_taken("before").await, "the store had forgotten it");
    assert!(!is_taken("stored").await && !is_taken("meanwhile").await);
    let began = jwt.begin_reading_denied();
    jwt.deny(vec![(acme, Box::from("meanwhile"))], began);
    assert!(is_taken("stored").await && !is_taken("meanwhile").await, "the next reading tells of both");
    let began = jwt.begin_reading_denied();
    jwt.deny(Vec::new(), began);
    assert!(is_taken("meanwhile").await);
}

#[tokio::test]
async fn who_names_unknown_keys_makes_the_table_of_tokens_be_swept_only_when_keys_were_read() {
    let (files, clock) = (Files::new(&both_keys()), clock());
    let jwt = files.jwt(&clock);
    let of_nobody = signed("who", Algorithm::EdDSA, &ed25519(9), &claims());
    jwt.verify(&by_ed(&with("exp", json!(NOW_S + 30)))).await.expect("taken");
    assert!(jwt.verify(&of_nobody).await.is_err());
    clock.advance(Duration::from_secs(31));
    assert!(jwt.verify(&of_nobody).await.is_err());
    assert_eq!(jwt.known(), 1, "nobody has read keys, so nobody has looked at the table");
    clock.advance(Duration::from_secs(30));
    assert!(jwt.verify(&of_nobody).await.is_err());
    assert_eq!(jwt.known(), 0);
}

fn clock_of(clock: &ManualClock) -> UnixMs {
    Clock::Manual(clock.clone()).now()
}

#[test]
fn only_keys_that_prove_something_are_taken_from_a_set() {
    let secret = json!({"kty": "oct", "kid": "oct", "alg": "HS256", "k": "YSBzZWNyZXQgdGhhdCBib3RoIHNpZGVzIGtub3csIDMyKw"});
    let mut for_encryption = jwk("enc", &rsa(), Algorithm::RS256);
    for_encryption["use"] = json!("enc");
    let mut nameless = jwk("x", &ed25519(1), Algorithm::EdDSA);
    nameless.as_object_mut().expect("an object").remove("kid");
    let useless = [
        for_encryption,
        nameless,
        json!({"kty": "RSA", "kid": "small", "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "EC", "kid": "ec", "crv": "P-256", "x": "AQAB", "y": "AQAB"}),
        json!({"kty": "oct", "kid": "short", "k": "c2hvcnQ"}),
        jwk("pss", &rsa(), Algorithm::PS256),
        json!({"kty": "new kind", "kid": "new"}),
        json!(7),
    ];
    let taken = |keys: &[Value], secrets| key_set::KeySet::of_jwks(&settings(), jwks(keys).as_bytes(), secrets);
    assert!(matches!(taken(&useless, key_set::Secrets::Allowed), Err(KeySetError::NoKey)));
    assert!(taken(std::slice::from_ref(&secret), key_set::Secrets::Allowed).is_ok());
    assert!(matches!(taken(&[secret], key_set::Secrets::Refused), Err(KeySetError::NoKey)), "what anybody may fetch is no secret");
    let some = [&useless[..], &[jwk("ed", &ed25519(7), Algorithm::EdDSA)]].concat();
    assert!(taken(&some, key_set::Secrets::Refused).expect("one is of use").get("ed").is_some());
    assert!(matches!(key_set::KeySet::of_jwks(&settings(), b"[]", key_set::Secrets::Allowed), Err(KeySetError::NotJwks(_))));
}

#[tokio::test]
async fn an_unknown_key_is_fetched_for_once_a_minute_and_a_failure_keeps_the_known_ones() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let answer = Arc::new(parking_lot::Mutex::new((200_u16, jwks(&[jwk("ed", &ed25519(7), Algorithm::EdDSA)]))));
    let told = Arc::clone(&answer);
    let route = axum::routing::get(async move || {
        ASKED.fetch_add(1, Ordering::SeqCst);
        let (status, text) = told.lock().clone();
        (axum::http::StatusCode::from_u16(status).expect("a status"), text)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/keys", listener.local_addr().expect("bound"));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, axum::Router::new().route("/keys", route)).await });
    let clock = clock();
    let jwt = Jwt::new(&[JwtIssuer { jwks_url: Some(url), ..settings() }], Clock::Manual(clock.clone())).expect("an address");
    let asked = || ASKED.load(Ordering::SeqCst);

    assert!(jwt.verify(&by_ed(&claims())).await.is_ok(), "fetched when first needed");
    let next = |jti: &str| signed("next", Algorithm::EdDSA, &ed25519(9), &with("jti", json!(jti)));
    *answer.lock() = (200, jwks(&[jwk("next", &ed25519(9), Algorithm::EdDSA), jwk("ed", &ed25519(7), Algorithm::EdDSA)]));
    for _ in 0..5 {
        assert!(jwt.verify(&next("a")).await.is_err());
    }
    assert_eq!(asked(), 1, "not again within a minute");
    clock.advance(Duration::from_mins(1));
    assert!(jwt.verify(&next("a")).await.is_ok());
    assert_eq!(asked(), 2);
    for failure in [(500, String::new()), (200, "{}".to_owned()), (200, format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300_000)))] {
        *answer.lock() = failure;
        clock.advance(Duration::from_mins(1));
        assert!(jwt.verify(&signed("who", Algorithm::EdDSA, &ed25519(9), &claims())).await.is_err());
        assert!(jwt.verify(&next("b")).await.is_ok(), "what is known stays known");
    }
    assert_eq!(asked(), 5);
    tasks.abort_all();
}

#[test]
fn when_too_many_are_known_some_of_the_largest_tenant_go_and_none_that_is_in_use() {
    let token = |tenant: &str, number: usize| {
        let (tenant, scope) = (TenantId::parse(tenant).expect("valid"), crate::model::scope::Scope::ALL);
        let expires = UnixMs(i64::try_from(number / 100).expect("small"));
        let principal = Principal { tenant, role: Role::Dashboard, scope, key: Arc::from("k"), ended: Ended::default(), expires: Some(expires) };
        let known = Verified { principal: Arc::new(principal), expires, jti: None, issuer: 0, fingerprint: [0; 32] };
        (hash(format!("{tenant} {number}").as_bytes()), known)
    };
    let few = 1_000;
    let mut verified: HashMap<_, _> = (0..few).map(|number| token("few", number)).collect();
    verified.extend((few..MAX_VERIFIED).map(|number| token("many", number)));
    let at = |number: usize| hash(format!("many {number}").as_bytes());
    let (open, asking) = (verified[&at(few)].principal.ended.child(), Arc::clone(&verified[&at(few + 1)].principal));
    forget_some(&mut verified);
    assert_eq!(verified.len(), MAX_VERIFIED - MAX_VERIFIED / 16, "those that expire in the same second are told apart");
    assert_eq!(verified.values().filter(|token| token.principal.tenant.as_str() == "few").count(), few);
    assert!(verified.contains_key(&at(few)) && verified.contains_key(&at(few + 1)), "both would have been the first");
    assert!(!open.is_cancelled() && !asking.ended.is_cancelled());
    let last = UnixMs(i64::try_from((few + 2 + MAX_VERIFIED / 16) / 100).expect("small"));
    assert!(
        verified.values().all(|token| token.principal.tenant.as_str() == "few" || token.is_in_use() || token.expires >= last),
        "the rest expires later"
    );

    let mut in_use: HashMap<_, _> = (0..10).map(|number| token("few", number)).collect();
    let held: Vec<_> = in_use.values().map(|token| token.principal.ended.clone()).collect();
    forget_some(&mut in_use);
    assert_eq!(in_use.len(), held.len());

    let number = |number: usize| token(&format!("tenant-{}", number / 3), number);
    let mut of_many: HashMap<_, _> = (0..MAX_VERIFIED).map(number).collect();
    forget_some(&mut of_many);
    assert_eq!(of_many.len(), MAX_VERIFIED - MAX_VERIFIED / 16, "no tenant has as many as have to go");
}
