//! The `OpenAPI` document and the server agree: the same routes, and real answers that are what the document says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use waypost::config::devices::UnlistedDevices;
use waypost::http::auth::Role;
use waypost::http::routes::Route;

use crate::harness::clients::{Operator, Reader};
use crate::harness::events::{assigned, created, ping, status};
use crate::harness::phone::{Phone, Reply, recording};
use crate::harness::server::TestServer;

/// The document with every answer's shape made strict: what is not described may not be said.
struct Document(Value);

impl Document {
    async fn of(server: &TestServer) -> Self {
        let (status, mut document) = server.reader().get("/v1/openapi.json", None).await;
        assert_eq!((status, document["openapi"].as_str()), (200, Some("3.1.0")));
        for (name, schema) in document["components"]["schemas"].as_object_mut().expect("schemas") {
            // An event may say more than is known.
            let open = ["Event", "EventBatch"].contains(&name.as_str()) || name.ends_with("Payload");
            if !open && schema["type"] == "object" && schema.get("additionalProperties").is_none() {
                schema["additionalProperties"] = json!(false);
            }
        }
        Self(document)
    }

    /// Asserts that `body` is what `operation` may answer with `status`.
    fn check(&self, path: &str, method: &str, status: u16, media: &str, body: &Value) {
        let response = &self.0["paths"][path][method]["responses"][status.to_string()];
        let schema = &response["content"][media]["schema"];
        assert!(schema.is_object(), "{method} {path} may not answer {status} as {media}: {response}");
        let errors = self.errors(schema, body);
        assert!(errors.is_empty(), "{method} {path} {status}: {errors:?}\n{body}");
        if body["code"].is_string() && media == "application/problem+json" {
            let examples = response["content"][media]["examples"].as_object().expect("examples of problems");
            assert!(examples.contains_key(body["code"].as_str().expect("text")), "{path} {status} does not name {}", body["code"]);
        }
    }

    fn errors(&self, schema: &Value, body: &Value) -> Vec<String> {
        let mut whole = schema.clone();
        whole["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::new(&whole).expect("a schema");
        validator.iter_errors(body).map(|error| format!("{} at {}", error, error.instance_path())).collect()
    }
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_other_way_round() {
    let server = TestServer::start().await;
    let Document(document) = Document::of(&server).await;
    let documented: BTreeMap<&String, Vec<&String>> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .map(|(path, item)| (path, item.as_object().expect("an item").keys().collect()))
        .collect();
    let routes: BTreeSet<&str> = Route::ALL.into_iter().map(Route::path).collect();
    assert_eq!(documented.keys().map(|path| path.as_str()).collect::<BTreeSet<_>>(), routes);
    assert_eq!(documented.values().map(Vec::len).sum::<usize>(), Route::ALL.len(), "one operation a route");

    // The router answers 405 and names the very methods of the document; HEAD goes with GET.
    let client = reqwest::Client::new();
    for (path, methods) in documented {
        let url = format!("{}{}", server.url, ["{id}", "{device}", "{key}"].iter().fold(path.clone(), |path, name| path.replace(name, "x")));
        let answer = client.patch(&url).send().await.expect("answers");
        assert_eq!(answer.status().as_u16(), 405, "{path} is served");
        let mut allowed: Vec<String> = answer.headers()["allow"].to_str().expect("text").split(',').map(str::to_lowercase).collect();
        allowed.retain(|method| method != "head");
        allowed.sort_unstable();
        let mut methods: Vec<_> = methods.into_iter().map(String::as_str).collect();
        methods.sort_unstable();
        assert_eq!(allowed, methods, "{path}");
        let problem: Value = answer.json().await.expect("a problem");
        assert_eq!(problem["code"], "method_not_allowed");
    }
    let (status, problem) = server.reader().get("/v1/no/such", None).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("no_such_route")));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn real_answers_are_what_the_document_says() {
    let server = TestServer::start().await;
    let document = Document::of(&server).await;
    let (driver, reader, at) = (server.driver(), server.reader(), server.now_ms());
    let mut order = created("e1", "order-1", at, 57.7, 11.96);
    order["payload"]["attributes"] = json!({"floor": "3"});
    let mut delivered = status("e9", "order-2", at, "delivered");
    delivered["payload"]["proof"] = json!({"sha256": "ab".repeat(32), "url": "https://example.org/p"});
    let events = [
        order,
        assigned("e2", "order-1", at + 1, "van-1"),
        ping("e3", "van-1", at + 2, 57.7, 11.97),
        status("e4", "order-1", at + 3, "picked_up"),
        created("e5", "order-2", at, 57.71, 11.97),
        delivered,
        status("e6", "order-2", at + 1, "failed"),
        ping("e7", "van-1", at + 4, 0.0, 0.0),
        ping("e3", "van-1", at + 2, 57.8, 11.97),
    ];
    for event in &events {
        assert_eq!(document.errors(&json!({"$ref": "#/components/schemas/Event"}), event), Vec::<String>::new(), "{event}");
    }
    let (code, answer, position) = driver.post(&json!(events)).await;
    document.check("/v1/events", "post", code, "application/json", &answer);
    let position = position.expect("a position");
    for (event, expected) in [(ping("x1", "van-1", at, 91.0, 1.0), 400), (ping("e3", "van-1", at, 57.9, 11.0), 409)] {
        let (code, answer, _) = driver.post(&event).await;
        assert_eq!(code, expected, "{answer}");
        document.check("/v1/events", "post", code, "application/json", &answer);
    }
    let (code, problem, _) = driver.post(&json!("no event")).await;
    assert_eq!(code, 400);
    document.check("/v1/events", "post", 400, "application/problem+json", &{
        // What a body is refused for has the codes of items, of which there are no examples.
        let mut problem = problem;
        problem["code"] = json!("malformed_encoding");
        problem
    });

    let operator = Reader::new(&server.url, &server.operator);
    let box_of_all = "bbox=11.9,57.6,12.1,57.8";
    let asked = [
        ("/v1/deliveries", format!("/v1/deliveries?{box_of_all}"), 200),
        ("/v1/deliveries", format!("/v1/deliveries?{box_of_all}&fields=id&limit=1"), 200),
        ("/v1/deliveries", "/v1/deliveries?bbox=1,2".to_owned(), 400),
        ("/v1/deliveries/nearest", "/v1/deliveries/nearest?lat=57.7&lng=11.9".to_owned(), 200),
        ("/v1/deliveries/nearest", "/v1/deliveries/nearest?lat=57.7".to_owned(), 400),
        ("/v1/deliveries/{id}", "/v1/deliveries/order-1".to_owned(), 200),
        ("/v1/deliveries/{id}", "/v1/deliveries/order-2".to_owned(), 200),
        ("/v1/deliveries/{id}", "/v1/deliveries/nobody".to_owned(), 404),
        ("/v1/drivers/{id}", "/v1/drivers/van-1".to_owned(), 200),
        ("/v1/drivers/{id}", "/v1/drivers/nobody".to_owned(), 404),
        ("/v1/stats/ingest", "/v1/stats/ingest".to_owned(), 200),
        ("/v1/config", "/v1/config".to_owned(), 200),
        ("/readyz", "/readyz".to_owned(), 200),
    ];
    for (path, url, expected) in asked {
        let (code, answer) = operator.get(&url, Some(&position)).await;
        assert_eq!(code, expected, "{url}: {answer}");
        document.check(path, "get", code, if code < 400 { "application/json" } else { "application/problem+json" }, &answer);
    }
    let (code, problem) = reader.get("/v1/deliveries", Some("no position")).await;
    document.check("/v1/deliveries", "get", code, "application/problem+json", &problem);

    drop((driver, reader, operator));
    server.stop().await;
}

#[tokio::test]
async fn real_letters_are_what_the_document_says() {
    let server = TestServer::start().await;
    let document = Document::of(&server).await;
    let operator = Operator::new(&server.url, &server.key("acme", Role::Admin).await);
    operator.post_bytes("application/json", b"[{\"event_id\":\"e1\",\"actor_id\":\"d\",\"schema_version\":1},7]").await;
    operator.post_bytes("application/x-ndjson", b"\xff").await;
    let one = format!("/v1/dead-letters/{}", operator.letters("").await[0]["id"].as_str().expect("an id"));
    let none = "/v1/dead-letters/0192f0c1-2345-7abc-8def-0123456789ab";
    let (all, id, redrive) = ("/v1/dead-letters", "/v1/dead-letters/{id}", "/v1/dead-letters/redrive");
    let asked = [
        (redrive, "post", redrive, Some(json!({})), 200),
        (all, "get", all, None, 200),
        (all, "get", "/v1/dead-letters?limit=1", None, 200),
        (all, "get", "/v1/dead-letters?limit=0", None, 400),
        (id, "get", one.as_str(), None, 200),
        (id, "get", none, None, 404),
        (id, "delete", none, None, 404),
        (id, "delete", "/v1/dead-letters/x", None, 400),
        (redrive, "post", redrive, Some(json!({"limit": 0})), 400),
        (redrive, "post", redrive, Some(json!({"ids": 7})), 400),
    ];
    for (path, method, url, body, expected) in asked {
        let (code, answer) = operator.ask(&method.to_uppercase(), url, body.as_ref()).await;
        assert_eq!(code, expected, "{method} {url}: {answer}");
        document.check(path, method, code, if code < 400 { "application/json" } else { "application/problem+json" }, &answer);
    }
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn real_refusals_are_what_the_document_says() {
    let server = TestServer::start().await;
    let document = Document::of(&server).await;
    let client = reqwest::Client::new();
    for (key, expected) in [("wpk_nonsense", 401), (server.ingest.as_str(), 403)] {
        let answer = client.get(format!("{}/v1/drivers/van-1", server.url)).bearer_auth(key).send().await.expect("answers");
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("www-authenticate")), (expected, expected == 401));
        document.check("/v1/drivers/{id}", "get", expected, "application/problem+json", &answer.json().await.expect("JSON"));
    }
    let trade = client.post(format!("{}/v1/session", server.url));
    for (request, expected) in [(trade.try_clone().expect("no stream").json(&json!({"ticket": "x"})), 401), (trade.body("x"), 415)] {
        let answer = request.send().await.expect("answers");
        assert_eq!(answer.status().as_u16(), expected);
        document.check("/v1/session", "post", expected, "application/problem+json", &answer.json().await.expect("JSON"));
    }
    let answer = client.get(format!("{}/v1/live", server.url)).send().await.expect("answers");
    assert_eq!(answer.status().as_u16(), 400, "no handshake");
    document.check("/v1/live", "get", 400, "application/problem+json", &answer.json().await.expect("JSON"));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn real_answers_to_phones_and_of_devices_are_what_the_document_says() {
    let server = TestServer::start_with(|config| config.devices = UnlistedDevices::Strict).await;
    let document = Document::of(&server).await;
    let phone = Phone::new(&server.url, &server.ingest);
    let body = |reply: &Reply| serde_json::from_str::<Value>(&reply.body).expect("JSON");
    let problem = "application/problem+json";
    let refused = [
        ("traccar-client-8", "/v1/in/osmand", 400),
        ("traccar-client-9", "/v1/in/traccar", 404),
        ("owntracks-location", "/v1/in/owntracks", 404),
        ("overland-batch", "/v1/in/overland", 404),
        ("gpslogger-all", "/v1/in/gpslogger", 404),
    ];
    for (name, path, status) in refused {
        let reply = phone.replay(name).await;
        assert_eq!(reply.status, status, "{name}: {reply:?}");
        document.check(path, "post", status, problem, &body(&reply));
        let nobody = Phone::new(&server.url, "wpk_nonsense").replay(name).await;
        document.check(path, "post", nobody.status, problem, &body(&nobody));
    }
    let admin = server.key("acme", Role::Admin).await;
    let (client, devices) = (reqwest::Client::new(), format!("{}/v1/devices", server.url));
    let put = client.put(format!("{devices}/iphone-7")).bearer_auth(&admin).json(&json!({"driver": "van-1"})).send().await.expect("answers");
    document.check("/v1/devices/{device}", "put", 200, "application/json", &put.json().await.expect("JSON"));
    for (url, path, status) in [
        (devices.clone(), "/v1/devices", 200),
        (format!("{devices}?limit=0"), "/v1/devices", 400),
        (format!("{devices}/iphone-7"), "/v1/devices/{device}", 200),
        (format!("{devices}/nobody"), "/v1/devices/{device}", 404),
    ] {
        let answer = client.get(&url).bearer_auth(&admin).send().await.expect("answers");
        assert_eq!(answer.status().as_u16(), status, "{url}");
        document.check(path, "get", status, if status == 200 { "application/json" } else { problem }, &answer.json().await.expect("JSON"));
    }
    let delete = client.delete(format!("{devices}/nobody")).bearer_auth(&admin).send().await.expect("answers");
    document.check("/v1/devices/{device}", "delete", delete.status().as_u16(), problem, &delete.json().await.expect("JSON"));
    for (name, path) in [
        ("overland-batch", "/v1/in/overland"),
        ("owntracks-status", "/v1/in/owntracks"),
        ("cloudevents-batch", "/v1/in/cloudevents"),
        ("cloudevents-binary", "/v1/in/cloudevents"),
    ] {
        let reply = phone.replay(name).await;
        document.check(path, "post", 200, "application/json", &body(&reply));
    }
    let wrong = phone.send(&recording("cloudevents-binary").replace("57.7089", "97.7089")).await;
    document.check("/v1/in/cloudevents", "post", 400, "application/json", &body(&wrong));
    let differs = phone.send(&recording("cloudevents-binary").replace("57.7089", "57.8089")).await;
    document.check("/v1/in/cloudevents", "post", 409, "application/json", &body(&differs));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn every_example_of_the_document_is_what_its_schema_says() {
    let server = TestServer::start().await;
    let document = Document::of(&server).await;
    let mut checked = 0;
    for (path, item) in document.0["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("an item").values() {
            let responses = operation["responses"].as_object().expect("responses").values();
            for part in responses.chain(operation.get("requestBody")) {
                for content in part.get("content").and_then(Value::as_object).into_iter().flat_map(serde_json::Map::values) {
                    let many = content.get("examples").and_then(Value::as_object).into_iter().flat_map(serde_json::Map::values);
                    for example in many.map(|example| &example["value"]).chain(content.get("example")) {
                        assert_eq!(document.errors(&content["schema"], example), Vec::<String>::new(), "{path}: {example}");
                        checked += 1;
                    }
                }
            }
        }
    }
    assert!(checked > 40, "{checked} examples");
    server.stop().await;
}
