//! Who may do what: keys made, narrowed, rotated and revoked while the server runs, tickets, origins. What each route asks for is `access.rs`.

use reqwest::Method;
use serde_json::{Value, json};
use waypost::http::auth::Role;

use crate::harness::clients::{Dashboard, Driver, Reader};
use crate::harness::events::{assigned, created, duty, ping, status};
use crate::harness::process::keys_command;
use crate::harness::server::TestServer;
use crate::harness::tokens;

/// Whoever manages credentials.
struct Admin {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Admin {
    async fn of(server: &TestServer) -> Self {
        let client = reqwest::Client::builder().pool_idle_timeout(None).build().expect("a client");
        Self { client, url: server.url.clone(), key: server.key("acme", Role::Admin).await }
    }

    async fn asks(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("answers");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// A key with this role and scope: its id and its text.
    async fn makes(&self, key: &Value) -> (String, String) {
        let (status, made) = self.asks(Method::POST, "/v1/keys", Some(key)).await;
        assert_eq!(status, 201, "{made}");
        (text(&made["id"]), text(&made["key"]))
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

async fn fleet(server: &TestServer) -> String {
    let at = server.now_ms();
    let events = [
        created("e1", "mine", at, 57.70, 11.96),
        created("e2", "other", at, 57.71, 11.97),
        created("e3", "waiting", at, 57.72, 11.98),
        assigned("e4", "mine", at + 1, "van-1"),
        assigned("e5", "other", at + 1, "van-1"),
        status("e6", "other", at + 2, "arrived"),
        status("e7", "mine", at + 2, "picked_up"),
        ping("e8", "van-1", at + 3, 57.705, 11.965),
        ping("e9", "van-2", at + 3, 58.5, 13.0),
        created("e10", "far", at, 58.5, 13.0),
        assigned("e11", "far", at + 1, "van-2"),
    ];
    let (code, answer, position) = server.driver().post(&json!(events)).await;
    assert_eq!(code, 200, "{answer}");
    position.expect("a position")
}

#[tokio::test]
async fn a_drivers_key_speaks_for_its_driver_alone_and_harms_no_neighbour() {
    let server = TestServer::start().await;
    let admin = Admin::of(&server).await;
    let (_, key) = admin.makes(&json!({"role": "ingest", "name": "van 1", "drivers": ["van-1"]})).await;
    let (driver, at) = (Driver::new(&server.url, &key), server.now_ms());
    let batch = json!([ping("a", "van-1", at, 57.7, 11.9), ping("b", "van-2", at, 57.7, 11.9), assigned("c", "order-1", at, "van-1")]);
    let (code, answer, _) = driver.post(&batch).await;
    let told: Vec<_> = answer["results"].as_array().expect("results").iter().map(|one| (one["code"].as_str(), one["pointer"].as_str())).collect();
    assert_eq!((code, told), (200, vec![(None, None), (Some("out_of_scope"), Some("/actor_id")), (Some("out_of_scope"), Some("/actor_id"))]));
    let (code, answer, _) = driver.post(&duty("d", "van-2", at, "off")).await;
    assert_eq!((code, answer["results"][0]["code"].as_str()), (403, Some("out_of_scope")), "{answer}");
    let (code, _) = Reader::new(&server.url, &key).get("/v1/drivers/van-1", None).await;
    assert_eq!(code, 403, "its role is to post");
    drop((admin, driver));
    server.stop().await;
}

#[tokio::test]
async fn what_is_out_of_scope_does_not_exist_for_whoever_reads() {
    let server = TestServer::start().await;
    let (admin, position) = (Admin::of(&server).await, fleet(&server).await);
    let around = [11.9, 57.6, 12.1, 57.8];
    let cases = [
        (json!({"role": "dashboard", "drivers": ["van-1"]}), vec!["mine", "other"], vec!["van-1"]),
        (json!({"role": "dashboard", "deliveries": ["mine", "waiting"]}), vec!["mine", "waiting"], vec!["van-1"]),
        (json!({"role": "dashboard", "bbox": around}), vec!["mine", "other", "waiting"], vec!["van-1"]),
        (json!({"role": "dashboard", "drivers": ["van-2"], "bbox": around}), vec![], vec![]),
        (json!({"role": "dashboard", "drivers": []}), vec![], vec![]),
        (json!({"role": "dashboard"}), vec!["far", "mine", "other", "waiting"], vec!["van-1", "van-2"]),
    ];
    for (wanted, deliveries, drivers) in cases {
        let reader = Reader::new(&server.url, &admin.makes(&wanted).await.1);
        for path in ["/v1/deliveries?limit=50", "/v1/deliveries?bbox=10,57,14,59", "/v1/deliveries/nearest?lat=57.7&lng=11.9"] {
            let (code, found) = reader.get(path, Some(&position)).await;
            let mut ids: Vec<_> = found["features"].as_array().expect("features").iter().map(|one| text(&one["id"])).collect();
            ids.sort();
            assert_eq!((code, &ids), (200, &deliveries.iter().map(|id| (*id).to_owned()).collect()), "{wanted} {path}");
        }
        for (path, ids, visible) in
            [("deliveries", vec!["far", "mine", "other", "waiting"], &deliveries), ("drivers", vec!["van-1", "van-2"], &drivers)]
        {
            for id in ids {
                let (code, found) = reader.get(&format!("/v1/{path}/{id}"), Some(&position)).await;
                assert_eq!(code, if visible.contains(&id) { 200 } else { 404 }, "{wanted} {path}/{id}: {found}");
            }
        }
    }
    let (_, key) = admin.makes(&json!({"role": "dashboard", "deliveries": ["mine"]})).await;
    let (_, van) = Reader::new(&server.url, &key).get("/v1/drivers/van-1", Some(&position)).await;
    assert_eq!((van["deliveries_count"].as_u64(), van["status"].as_str()), (Some(1), Some("picked_up")), "{van}");
    assert_eq!((van["deliveries"].as_array().map(Vec::len), van["deliveries"][0]["id"].as_str()), (Some(1), Some("mine")));
    drop(admin);
    server.stop().await;
}

#[tokio::test]
async fn a_live_session_sees_its_scope_at_every_zoom() {
    let server = TestServer::start().await;
    let (admin, position) = (Admin::of(&server).await, fleet(&server).await);
    let (code, _) = server.reader().get("/v1/deliveries", Some(&position)).await;
    assert_eq!(code, 200, "all of it is on the map");
    let (_, key) = admin.makes(&json!({"role": "dashboard", "deliveries": ["mine"]})).await;
    for zoom in [14, 11, 8, 5, 2] {
        let mut dashboard = Dashboard::open(&server.url, &key).await;
        dashboard.send(&json!({"follow": {"delivery": "other"}})).await;
        dashboard.send(&json!({"view": {"west": 10, "south": 57, "east": 14, "north": 59, "zoom": zoom, "view_id": 1}})).await;
        let frame = loop {
            let frame = dashboard.frame().await;
            if frame["view_id"] == 1 {
                break frame;
            }
        };
        let cells = frame["cells"].as_array().expect("cells");
        assert_eq!((cells.len(), frame.get("followed")), (1, None), "{frame}");
        if zoom > 9 {
            let enter = &cells[0]["enters"][0];
            assert_eq!(
                (enter["id"].as_str(), enter["aboard"].as_u64(), enter["meta"].as_u64().map(|meta| meta & 0xf)),
                (Some("van-1"), Some(1), Some(5))
            );
        } else {
            assert_eq!(cells[0]["counts"], json!([{"status": 5, "markers": 1}]));
        }
    }
    drop(admin);
    server.stop().await;
}

#[tokio::test]
async fn a_narrowed_session_is_not_told_when_others_come_and_move_where_it_sees_counts() {
    let server = TestServer::start().await;
    let (admin, position) = (Admin::of(&server).await, fleet(&server).await);
    assert_eq!(server.reader().get("/v1/deliveries", Some(&position)).await.0, 200, "all of it is on the map before anyone looks");
    let (_, key) = admin.makes(&json!({"role": "dashboard", "deliveries": ["mine"]})).await;
    let (driver, reader, at) = (server.driver(), server.reader(), server.now_ms());
    // Where its own is, where somebody else's is, and where nobody is yet.
    let others = [("near", 57.70, 11.96), ("beside-far", 58.5, 13.0), ("alone", 60.0, 18.0)];
    let mapped = async |events: &Value| {
        let (code, answer, position) = driver.post(events).await;
        assert_eq!(code, 200, "{answer}");
        assert_eq!(reader.get("/v1/deliveries", position.as_deref()).await.0, 200);
    };
    let own = ["en_route_dropoff", "approaching", "arrived"];
    for (round, (zoom, own)) in (0_i64..).zip([8, 5, 2].into_iter().zip(own)) {
        let mut dashboard = Dashboard::open(&server.url, &key).await;
        let whole_world = json!({"west": -170, "south": -80, "east": 170, "north": 80, "zoom": zoom, "view_id": 1});
        dashboard.look(&whole_world).await;
        for (name, lat, lng) in others {
            mapped(&json!([created(&format!("{name}-{round}"), &format!("{name}-{round}"), at + round, lat, lng)])).await;
            mapped(&json!([status(&format!("{name}-{round}-s"), &format!("{name}-{round}"), at + round + 1, "cancelled")])).await;
        }
        mapped(&json!([status(&format!("own-{round}"), "mine", at + 10 + round, own)])).await;
        let frame = loop {
            let frame = dashboard.frame().await;
            if frame["cells"].as_array().is_some_and(|cells| !cells.is_empty()) {
                break frame;
            }
        };
        let cells = frame["cells"].as_array().expect("cells");
        let code = 6 + u64::try_from(round).expect("small");
        assert_eq!((cells.len(), &cells[0]["counts"]), (1, &json!([{"status": code, "markers": 1}])), "its own is the first it hears: {frame}");
    }
    drop((admin, driver, reader));
    server.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_good_for_nothing_at_once_and_its_sockets_are_closed_by_number() {
    let server = TestServer::start().await;
    let admin = Admin::of(&server).await;
    let (id, key) = admin.makes(&json!({"role": "dashboard"})).await;
    let mut dashboard = Dashboard::open(&server.url, &key).await;
    assert!(dashboard.frame().await.get("hello").is_some());
    assert_eq!(admin.asks(Method::DELETE, &format!("/v1/keys/{id}"), None).await, (204, Value::Null));
    let (bye, close) = dashboard.goodbye().await;
    assert_eq!((bye["code"].as_u64(), close), (Some(8), 4008));
    let (code, problem) = Reader::new(&server.url, &key).get("/v1/deliveries", None).await;
    assert_eq!((code, problem["code"].as_str()), (401, Some("credential_unknown")));
    assert_eq!(admin.asks(Method::DELETE, &format!("/v1/keys/{id}"), None).await.0, 404, "once");

    let (id, key) = admin.makes(&json!({"role": "dashboard"})).await;
    let mut dashboard = Dashboard::open(&server.url, &key).await;
    assert!(dashboard.frame().await.get("hello").is_some());
    let (code, rotated) = admin.asks(Method::POST, &format!("/v1/keys/{id}/rotate"), None).await;
    assert_eq!((code, rotated["id"].as_str(), rotated["rotated"].is_string()), (200, Some(id.as_str()), true));
    assert_eq!(dashboard.goodbye().await.1, 4008, "opened with the old secret");
    assert_eq!(Reader::new(&server.url, &key).get("/v1/deliveries", None).await.0, 401);
    assert_eq!(Reader::new(&server.url, &text(&rotated["key"])).get("/v1/deliveries", None).await.0, 200);
    drop((admin, dashboard));
    server.stop().await;
}

#[tokio::test]
async fn what_the_command_line_revokes_counts_in_the_running_server_too() {
    let server = TestServer::start().await;
    let made = keys_command(&["create", "--tenant", "acme", "--role", "dashboard", "--driver", "van-1", "--name", "gate"], server.data());
    let key = made.trim();
    assert_eq!(made, format!("{key}\n"), "stdout is the key alone");
    let id = key.split('_').nth(1).expect("an id").to_owned();
    let mut dashboard = Dashboard::open(&server.url, key).await;
    assert!(dashboard.frame().await.get("hello").is_some());
    let listed = keys_command(&["list", "--tenant", "acme"], server.data());
    let line = listed.lines().find(|line| line.starts_with(&id)).expect("listed");
    assert!(line.starts_with(&format!("{id}\tacme\tdashboard\tgate\t{{\"drivers\":[\"van-1\"]}}\t")) && line.ends_with("\t-\t-"), "{line}");
    assert!(!listed.contains(key.rsplit('_').next().expect("a secret")));
    let rotated = keys_command(&["rotate", &id], server.data());
    assert_eq!(dashboard.goodbye().await.1, 4008);
    let mut dashboard = Dashboard::open(&server.url, rotated.trim()).await;
    assert!(dashboard.frame().await.get("hello").is_some());
    assert_eq!(keys_command(&["revoke", &id], server.data()), "");
    assert_eq!(dashboard.goodbye().await.1, 4008);
    assert_eq!(Reader::new(&server.url, rotated.trim()).get("/v1/deliveries", None).await.0, 401);
    drop(dashboard);
    server.stop().await;
}

#[tokio::test]
async fn an_admin_manages_the_keys_of_its_own_tenant_and_scope_and_no_others() {
    let server = TestServer::start().await;
    let admin = Admin::of(&server).await;
    let stranger = Admin { key: server.key("other", Role::Admin).await, client: admin.client.clone(), url: admin.url.clone() };
    let (id, _) = admin.makes(&json!({"role": "ingest", "name": "one"})).await;
    for (method, path) in [(Method::DELETE, format!("/v1/keys/{id}")), (Method::POST, format!("/v1/keys/{id}/rotate"))] {
        assert_eq!(stranger.asks(method, &path, None).await.0, 404, "{path}");
    }
    let (_, listed) = stranger.asks(Method::GET, "/v1/keys", None).await;
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(1), "its own: {listed}");

    let (_, narrow) = admin.makes(&json!({"role": "admin", "drivers": ["van-1", "van-2"]})).await;
    let narrow = Admin { key: narrow, client: admin.client.clone(), url: admin.url.clone() };
    let (made, _) = narrow.makes(&json!({"role": "dashboard", "drivers": ["van-2", "van-3"]})).await;
    let (_, listed) = narrow.asks(Method::GET, "/v1/keys", None).await;
    let scope = listed["keys"].as_array().expect("keys").iter().find(|key| key["id"] == made.as_str()).map(|key| key["scope"].clone());
    assert_eq!(scope, Some(json!({"drivers": ["van-2"]})), "no more than its maker sees: {listed}");
    assert_eq!(narrow.asks(Method::DELETE, &format!("/v1/keys/{id}"), None).await.0, 404, "a key of all drivers");

    let mut seen = Vec::new();
    let mut path = "/v1/keys?limit=2".to_owned();
    loop {
        let (code, page) = admin.asks(Method::GET, &path, None).await;
        assert_eq!(code, 200, "{page}");
        seen.extend(page["keys"].as_array().expect("keys").iter().map(|key| text(&key["id"])));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/keys?limit=2&cursor={next}");
    }
    assert!(seen.len() == 7 && seen.is_sorted() && seen.contains(&id), "{seen:?}");
    let refusals = [
        (json!({"role": "boss"}), "/role"),
        (json!({}), "/role"),
        (json!({"role": "ingest", "drivers": [""]}), "/drivers/0"),
        (json!({"role": "ingest", "bbox": [1, 2, 3, 400]}), "/bbox"),
        (json!({"role": "ingest", "name": "x".repeat(129)}), "/name"),
    ];
    for (wanted, pointer) in refusals {
        let (code, problem) = admin.asks(Method::POST, "/v1/keys", Some(&wanted)).await;
        assert_eq!((code, problem["pointer"].as_str()), (400, Some(pointer)), "{wanted}");
    }
    let (code, problem) = admin.asks(Method::POST, "/v1/keys", Some(&json!({"role": "ingest", "driver": "van-1"}))).await;
    assert_eq!((code, problem["code"].as_str()), (400, Some("malformed_body")), "a bound that is not understood is no bound");
    drop((admin, stranger, narrow));
    server.stop().await;
}

#[tokio::test]
async fn a_ticket_sees_no_more_than_its_maker_and_its_session_ends_with_the_makers_key() {
    let server = TestServer::start().await;
    let (admin, position) = (Admin::of(&server).await, fleet(&server).await);
    let (id, narrow) = admin.makes(&json!({"role": "admin", "deliveries": ["mine", "far"]})).await;
    let narrow = Admin { key: narrow, client: admin.client.clone(), url: admin.url.clone() };
    let (code, made) = narrow.asks(Method::POST, "/v1/tickets", Some(&json!({"deliveries": ["mine", "other"]}))).await;
    assert_eq!((code, made["expires"].is_string()), (201, true), "{made}");
    let (code, session) = narrow.asks(Method::POST, "/v1/session", Some(&json!({"ticket": made["ticket"]}))).await;
    assert_eq!(code, 200, "{session}");
    let token = text(&session["token"]);
    let reader = Reader::new(&server.url, &token);
    for (delivery, expected) in [("mine", 200), ("other", 404), ("far", 404)] {
        assert_eq!(reader.get(&format!("/v1/deliveries/{delivery}"), Some(&position)).await.0, expected, "{delivery}");
    }
    assert_eq!(narrow.asks(Method::POST, "/v1/tickets", Some(&json!({"role": "admin"}))).await.0, 400, "no session manages");
    let mut dashboard = Dashboard::open(&server.url, &token).await;
    assert!(dashboard.frame().await.get("hello").is_some());
    assert_eq!(admin.asks(Method::DELETE, &format!("/v1/keys/{id}"), None).await.0, 204);
    assert_eq!(dashboard.goodbye().await.1, 4008);
    assert_eq!(reader.get("/v1/deliveries", None).await.0, 401);
    drop((admin, narrow, reader, dashboard));
    server.stop().await;
}

#[tokio::test]
async fn a_session_past_its_time_is_over_and_its_sockets_are_closed() {
    let server = TestServer::start().await;
    let admin = Admin::of(&server).await;
    let (_, session) = admin.asks(Method::POST, "/v1/session", Some(&json!({"ticket": server.ticket}))).await;
    let token = text(&session["token"]);
    let mut dashboard = Dashboard::open(&server.url, &token).await;
    assert!(dashboard.frame().await.get("hello").is_some());
    server.clock.advance(std::time::Duration::from_hours(12));
    assert_eq!(Reader::new(&server.url, &token).get("/v1/deliveries", None).await.0, 401);
    assert_eq!(dashboard.goodbye().await.1, 4008);
    drop((admin, dashboard));
    server.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins_may_use_the_server_only_when_they_are_listed() {
    let server = TestServer::start_with(|config| config.allowed_origins = vec!["https://shop.example".to_owned()]).await;
    let client = reqwest::Client::builder().pool_idle_timeout(None).build().expect("a client");
    let handshake = async |origin: &str| {
        let request = client.get(format!("{}/v1/live", server.url)).header("origin", origin).bearer_auth(&server.dashboard);
        let request = request.header("connection", "upgrade").header("upgrade", "websocket").header("sec-websocket-version", "13");
        let request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").header("sec-websocket-protocol", "waypost.v1.json");
        request.send().await.expect("answers").status().as_u16()
    };
    assert_eq!(handshake("https://evil.example").await, 403);
    assert_eq!(handshake("https://shop.example").await, 101);
    assert_eq!(handshake(&server.url).await, 101, "its own page");
    let allowed = async |origin: &str, method: Method| {
        let request = client.request(method, format!("{}/v1/deliveries", server.url)).header("origin", origin);
        let answer = request.header("access-control-request-method", "GET").bearer_auth(&server.dashboard).send().await.expect("answers");
        answer.headers().get("access-control-allow-origin").map(|value| value.to_str().expect("text").to_owned())
    };
    for method in [Method::OPTIONS, Method::GET] {
        assert_eq!(allowed("https://shop.example", method.clone()).await.as_deref(), Some("https://shop.example"));
        assert_eq!(allowed("https://evil.example", method).await, None);
    }
    let answer = client.get(format!("{}/v1/deliveries", server.url)).header("origin", "https://shop.example").send().await.expect("answers");
    let exposed: Vec<_> = answer.headers()["access-control-expose-headers"].to_str().expect("text").split(',').map(str::to_owned).collect();
    assert_eq!(exposed, ["waypost-position", "retry-after", "ratelimit", "ratelimit-policy", "x-request-id"], "what a page acts on and reports");
    drop((answer, client));
    server.stop().await;
}

#[tokio::test]
async fn a_token_of_others_is_good_until_it_expires_and_its_sockets_are_closed_then() {
    let server = TestServer::start_with(|config| config.jwt = vec![tokens::issuer()]).await;
    let token = tokens::signed(&tokens::claims("acme", "dashboard"));
    let reader = Reader::new(&server.url, &token);
    let mut dashboard = Dashboard::open(&server.url, &token).await;
    assert!(dashboard.frame().await.get("hello").is_some());
    server.clock.advance(std::time::Duration::from_mins(59));
    assert_eq!(reader.get("/v1/deliveries", None).await.0, 200);
    server.clock.advance(std::time::Duration::from_mins(1));
    let (code, problem) = reader.get("/v1/deliveries", None).await;
    assert_eq!((code, problem["code"].as_str()), (401, Some("credential_expired")));
    assert_eq!(dashboard.goodbye().await.1, 4008);
    drop((reader, dashboard));
    server.stop().await;
}

#[tokio::test]
async fn a_revoked_token_is_over_at_once_in_its_own_tenant_and_stays_so() {
    let server = TestServer::start_with(|config| config.jwt = vec![tokens::issuer()]).await;
    let admin = Admin::of(&server).await;
    let token = |tenant: &str| {
        let mut claims = tokens::claims(tenant, "dashboard");
        claims["jti"] = json!("lost-phone");
        tokens::signed(&claims)
    };
    let (mine, theirs) = (token("acme"), token("other"));
    let mut dashboard = Dashboard::open(&server.url, &mine).await;
    assert!(dashboard.frame().await.get("hello").is_some());
    assert_eq!(Reader::new(&server.url, &theirs).get("/v1/deliveries", None).await.0, 200);
    assert_eq!(admin.asks(Method::POST, "/v1/tokens/revoke", Some(&json!({"jti": "lost-phone"}))).await.0, 204);
    assert_eq!(dashboard.goodbye().await.1, 4008);
    let (code, problem) = Reader::new(&server.url, &mine).get("/v1/deliveries", None).await;
    assert_eq!((code, problem["code"].as_str()), (401, Some("credential_unknown")), "{problem}");
    assert_eq!(Reader::new(&server.url, &theirs).get("/v1/deliveries", None).await.0, 200);
    let keys = waypost::http::keys::Keys::open(server.data()).await.expect("opens");
    let denied = keys.denied_tokens(waypost::model::time::UnixMs(server.now_ms())).await.expect("reads");
    assert_eq!(denied, [("acme".to_owned(), "lost-phone".to_owned())], "a restart knows it too");
    keys.close().await;
    let (code, problem) = admin.asks(Method::POST, "/v1/tokens/revoke", Some(&json!({"jti": ""}))).await;
    assert_eq!((code, problem["pointer"].as_str()), (400, Some("/jti")));
    drop((admin, dashboard));
    server.stop().await;
}
