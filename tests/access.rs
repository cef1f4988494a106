//! Who is let in where: a matrix made from the document that the running server gives, so that a route without a rule, or one that does not keep
//! its rule, fails here. Knows no route by name but those that need no credential.

use reqwest::{Client, Method};
use serde_json::{Value, json};
use waypost::http::auth::{Access, Role};

use crate::harness::clients::{Dashboard, Operator};
use crate::harness::events::{assigned, created, ping};
use crate::harness::server::TestServer;
use crate::harness::tokens;
use crate::harness::uplink::Uplink;

/// What tells nothing of any tenant.
const PUBLIC: [&str; 6] = ["get /healthz", "get /metrics", "get /readyz", "get /v1/config", "get /v1/openapi.json", "post /v1/session"];
const RIGHTS: [Access; 4] = [Access::Write, Access::Read, Access::Operate, Access::Manage];

/// One operation of the document.
struct Operation {
    method: Method,
    path: String,
    spoken: Value,
}

impl Operation {
    fn all(document: &Value) -> Vec<Self> {
        let items = document["paths"].as_object().expect("paths").iter();
        let operations = items.flat_map(|(path, item)| item.as_object().expect("an item").iter().map(move |(method, spoken)| (path, method, spoken)));
        let one = |(path, method, spoken): (&String, &String, &Value)| Self {
            method: method.to_uppercase().parse().expect("a method"),
            path: path.clone(),
            spoken: spoken.clone(),
        };
        operations.map(one).collect()
    }

    fn name(&self) -> String {
        format!("{} {}", self.method.as_str().to_lowercase(), self.path)
    }

    /// The right it asks for; none: it is open. Says so twice, or fails.
    fn access(&self) -> Option<Access> {
        let word = self.spoken["x-waypost-access"].as_str().unwrap_or("");
        assert!(!word.is_empty(), "{} states no rule", self.name());
        let access = RIGHTS.into_iter().find(|access| access.as_str() == word);
        assert!(access.is_some() || word == "open", "{}: {word} is no right", self.name());
        let secured = self.spoken["security"].as_array().is_some_and(|any| any.iter().any(|one| one.get("bearer").is_some()));
        assert_eq!(secured, access.is_some(), "{} asks for {word}", self.name());
        access
    }

    fn is_handshake(&self) -> bool {
        self.spoken["responses"].get("101").is_some()
    }

    /// One that the document gives as an example.
    fn subprotocol(&self) -> &str {
        let offered = self.spoken["parameters"].as_array().into_iter().flatten().find(|of| of["name"] == "Sec-WebSocket-Protocol");
        offered.and_then(|offered| offered["schema"]["examples"][0].as_str()).expect("an example of a subprotocol")
    }

    /// Says what it asks for all at once, in its address, and is told of each report only whether it need not come again.
    fn is_phones(&self) -> bool {
        self.path.starts_with("/v1/in/") && !self.path.ends_with("cloudevents")
    }

    fn names_one(&self) -> bool {
        self.path.contains('{')
    }

    async fn asked(&self, world: &World, token: Option<&str>) -> (u16, Value) {
        let id = if self.names_one() { world.id_for(&self.path).await } else { String::new() };
        let path = self.path.replace("{id}", &id).replace("{device}", &id);
        assert!(!path.contains('{'), "{}: give the matrix an example of its path", self.name());
        let required = self.spoken["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|of| of["in"] == "query" && (of["required"] == true || self.is_phones()));
        let query: Vec<String> = required.map(|of| format!("{}=1", of["name"].as_str().expect("a name"))).collect();
        let mut request = world.client.request(self.method.clone(), format!("{}{path}?{}", world.server.url, query.join("&")));
        let mut bodies = self.spoken["requestBody"]["content"].as_object().into_iter().flatten();
        if let Some((media, example)) = bodies.find_map(|(media, content)| Some((media, content.get("example")?))) {
            let text = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            request = request.header("content-type", media).body(text);
        }
        if self.is_handshake() {
            request = request.header("connection", "upgrade").header("upgrade", "websocket").header("sec-websocket-version", "13");
            request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").header("sec-websocket-protocol", self.subprotocol());
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("answers");
        let status = answer.status().as_u16();
        // An open WebSocket has no body that ends.
        (status, if status == 101 { Value::Null } else { answer.json().await.unwrap_or(Value::Null) })
    }
}

/// A server with something of one tenant on it that nobody else may learn of.
struct World {
    server: TestServer,
    client: Client,
    admin: String,
}

const SECRETS: [&str; 4] = ["order-of-acme", "van-of-acme", "key-of-acme", "phone-of-acme"];

impl World {
    async fn start() -> Self {
        let server = TestServer::start_with(|config| config.jwt = vec![tokens::issuer()]).await;
        let client = Client::builder().pool_idle_timeout(None).build().expect("a client");
        let at = server.now_ms();
        let events =
            [created("e1", SECRETS[0], at, 57.7, 11.96), assigned("e2", SECRETS[0], at, SECRETS[1]), ping("e3", SECRETS[1], at, 57.7, 11.97)];
        let (code, answer, position) = server.driver().post(&json!(events)).await;
        assert_eq!(code, 200, "{answer}");
        let (code, _) = server.reader().get("/v1/deliveries", position.as_deref()).await;
        assert_eq!(code, 200, "all of it is on the map");
        let admin = server.key("acme", Role::Admin).await;
        Self { server, client, admin }
    }

    /// Something of the tenant `acme` that this path may name.
    async fn id_for(&self, path: &str) -> String {
        match path.split('/').nth(2) {
            Some("deliveries") => SECRETS[0].to_owned(),
            Some("drivers") => SECRETS[1].to_owned(),
            Some("devices") => {
                let put = self.client.put(format!("{}/v1/devices/{}", self.server.url, SECRETS[3])).bearer_auth(&self.admin);
                assert_eq!(put.json(&json!({"driver": SECRETS[1]})).send().await.expect("answers").status().as_u16(), 200);
                SECRETS[3].to_owned()
            }
            Some("keys") => {
                let body = json!({"role": "ingest", "name": SECRETS[2]});
                let made =
                    self.client.post(format!("{}/v1/keys", self.server.url)).bearer_auth(&self.admin).json(&body).send().await.expect("answers");
                made.json::<Value>().await.expect("JSON")["id"].as_str().expect("an id").to_owned()
            }
            Some("dead-letters") => {
                let operator = Operator::new(&self.server.url, &self.admin);
                let refused = json!([{"event_id": SECRETS[0], "actor_id": SECRETS[1]}]).to_string();
                operator.post_bytes("application/json", refused.as_bytes()).await;
                operator.letters("").await[0]["id"].as_str().expect("an id").to_owned()
            }
            _ => "x".to_owned(),
        }
    }

    async fn operations(&self) -> Vec<Operation> {
        let document = self.client.get(format!("{}/v1/openapi.json", self.server.url)).send().await.expect("answers");
        let mut all = Operation::all(&document.json().await.expect("JSON"));
        // The key is in their address: they have a test of their own.
        all.retain(|operation| !operation.path.contains("{key}"));
        all
    }

    async fn stop(self) {
        drop(self.client);
        self.server.stop().await;
    }
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn may(access: Access) -> impl Iterator<Item = Role> {
    Role::ALL.into_iter().filter(move |role| role.may(access))
}

#[tokio::test]
async fn every_operation_states_its_rule_and_only_the_public_ones_have_none() {
    let world = World::start().await;
    let open: Vec<String> = world.operations().await.iter().filter(|operation| operation.access().is_none()).map(Operation::name).collect();
    assert_eq!(open, PUBLIC, "a route that needs no credential is listed here on purpose");
    for operation in world.operations().await {
        let answers = &operation.spoken["responses"];
        let refuses = ["401", "403"].map(|status| answers[status]["content"].get("application/problem+json").is_some());
        assert!(operation.access().is_none() || refuses == [true; 2], "{} does not tell of its refusals", operation.name());
    }
    world.stop().await;
}

#[tokio::test]
async fn nobody_is_let_in_without_a_credential_that_is_good() {
    let world = World::start().await;
    let good = tokens::claims("acme", "admin");
    let hour_ago = world.server.now_ms() / 1000 - 3600;
    let mut forged = tokens::signed(&good);
    forged.truncate(forged.len() - 3);
    let bad = [
        (world.admin.replace("wpk_", "wpk_0"), "credential_unknown"),
        (format!("{}{}", &world.admin[..21], "A".repeat(43)), "credential_unknown"),
        ("x".repeat(43), "credential_unknown"),
        (String::from("nonsense"), "credential_unknown"),
        (tokens::signed(&with(good.clone(), "exp", json!(hour_ago))), "credential_expired"),
        (tokens::signed(&with(good.clone(), "aud", json!("another"))), "credential_unknown"),
        (tokens::signed(&with(good.clone(), "iss", json!("https://evil.example"))), "credential_unknown"),
        (tokens::signed(&with(good.clone(), "tenant", json!(""))), "credential_unknown"),
        (tokens::unsigned(&good), "credential_unknown"),
        (forged, "credential_unknown"),
    ];
    for operation in world.operations().await {
        let Some(access) = operation.access() else { continue };
        if operation.is_handshake() {
            assert_eq!(operation.asked(&world, None).await.0, 101, "{}: by its first message", operation.name());
            for (token, _) in &bad {
                let (bye, close) = if access == Access::Write {
                    Uplink::open_by_message(&world.server.url, token).await.goodbye().await
                } else {
                    Dashboard::open(&world.server.url, token).await.goodbye().await
                };
                assert_eq!((bye["code"].as_u64(), close), (Some(2), 4002), "{}", operation.name());
            }
        } else {
            let (status, problem) = operation.asked(&world, None).await;
            assert_eq!((status, problem["code"].as_str()), (401, Some("credential_missing")), "{}", operation.name());
        }
        for (token, code) in &bad {
            let (status, problem) = operation.asked(&world, Some(token)).await;
            assert_eq!((status, problem["code"].as_str()), (401, Some(*code)), "{} ({access:?}): {problem}", operation.name());
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn each_role_may_what_its_rights_are_for_and_nothing_else_by_key_and_by_token() {
    let world = World::start().await;
    for role in Role::ALL {
        let key = world.server.key("acme", role).await;
        let token = tokens::signed(&tokens::claims("acme", role.as_str()));
        for operation in world.operations().await {
            let Some(access) = operation.access() else { continue };
            for credential in [&key, &token] {
                let (status, answer) = operation.asked(&world, Some(credential)).await;
                if role.may(access) {
                    let does = [101, 200, 201, 204].contains(&status);
                    assert!(does, "{} as {}: {status} {answer}", operation.name(), role.as_str());
                } else {
                    assert_eq!((status, answer["code"].as_str()), (403, Some("role")), "{} as {}", operation.name(), role.as_str());
                }
            }
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn another_tenant_and_a_narrowed_claim_learn_nothing_and_change_nothing() {
    let world = World::start().await;
    let narrow = |role: Role, name: &str, value: Value| tokens::signed(&with(tokens::claims("acme", role.as_str()), name, value));
    for operation in world.operations().await {
        let Some(access) = operation.access() else { continue };
        // Says of a device of one's own tenant whose it is, whether another tenant has one of that name or not.
        if operation.method == Method::PUT {
            continue;
        }
        for role in may(access) {
            let credentials = [
                ("another tenant's key", world.server.key("other", role).await),
                ("another tenant's token", tokens::signed(&tokens::claims("other", role.as_str()))),
                ("a token of another driver", narrow(role, "drivers", json!(["van-of-nobody"]))),
                ("a token of another delivery", narrow(role, "deliveries", json!(["order-of-nobody"]))),
                ("a token of another place", narrow(role, "bbox", json!([-10, -10, -9, -9]))),
                ("a token of nothing", narrow(role, "drivers", json!([]))),
            ];
            for (who, credential) in credentials {
                let (status, answer) = operation.asked(&world, Some(&credential)).await;
                let told = answer.to_string();
                let what = format!("{} by {who} as {}: {status} {told}", operation.name(), role.as_str());
                assert!(SECRETS.iter().all(|secret| !told.contains(secret)), "{what}");
                if operation.names_one() {
                    assert_eq!(status, 404, "{what}");
                } else if access == Access::Write && who.starts_with("a token") && !operation.is_phones() && !operation.is_handshake() {
                    assert_eq!((status, answer["results"][0]["code"].as_str()), (403, Some("out_of_scope")), "{what}");
                }
            }
        }
    }
    // What they were refused is still there.
    let (code, found) = world.server.reader().get(&format!("/v1/deliveries/{}", SECRETS[0]), None).await;
    assert_eq!((code, found["driver"].as_str()), (200, Some(SECRETS[1])), "{found}");
    world.stop().await;
}

#[tokio::test]
async fn a_key_in_an_address_is_let_in_when_it_speaks_for_one_driver_and_then_for_that_one_alone() {
    let world = World::start().await;
    let one = tokens::signed(&with(tokens::claims("acme", "ingest"), "drivers", json!([SECRETS[1]])));
    let reader = tokens::signed(&with(tokens::claims("acme", "dashboard"), "drivers", json!([SECRETS[1]])));
    let document: Value =
        world.client.get(format!("{}/v1/openapi.json", world.server.url)).send().await.expect("answers").json().await.expect("JSON");
    let mut by_address = Operation::all(&document);
    by_address.retain(|operation| operation.path.contains("{key}"));
    assert_eq!(by_address.len(), 8);
    for mut operation in by_address {
        let path = std::mem::take(&mut operation.path);
        assert_eq!((operation.spoken["x-waypost-access"].as_str(), operation.spoken.get("security")), (Some("write"), None), "{path}");
        for (key, status, code) in
            [("nonsense", 401, "credential_unknown"), (&world.admin, 403, "role"), (&world.server.ingest, 403, "role"), (&reader, 403, "role")]
        {
            operation.path = path.replace("{key}", key);
            let (got, answer) = operation.asked(&world, None).await;
            assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{path}: {answer}");
            assert!(!answer.to_string().contains(key), "{answer}");
        }
        operation.path = path.replace("{key}", &one);
        let (got, answer) = operation.asked(&world, None).await;
        // The example of a CloudEvent is of another driver than the key's.
        let expected = if path.ends_with("cloudevents") { 403 } else { 200 };
        assert_eq!(got, expected, "{path}: {answer}");
    }
    // What the phones called themselves is nobody: all of it is the key's driver's.
    let (code, _) = world.server.reader().get("/v1/drivers/123456", None).await;
    assert_eq!(code, 404);
    world.stop().await;
}
