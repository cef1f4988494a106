//! Phone apps as they are: recordings of the bytes they send, replayed against the real server, and the bytes it answers.

use serde_json::{Value, json};
use tokio::task::JoinSet;
use waypost::config::devices::UnlistedDevices;
use waypost::http::auth::Role;
use waypost::http::routes::Route;

use crate::harness::clients::{Driver, Reader};
use crate::harness::eventually;
use crate::harness::phone::{Phone, Reply, recording};
use crate::harness::process::{Data, ServerProcess};
use crate::harness::server::TestServer;

/// The driver as the server tells it once what `reply` answered is on the map.
async fn driver(server: &TestServer, id: &str, reply: &Reply) -> Value {
    let (status, driver) = server.reader().get(&format!("/v1/drivers/{id}"), Some(reply.header("waypost-position").expect("a position"))).await;
    assert_eq!(status, 200, "{driver}");
    driver
}

async fn metric(server: &TestServer, name: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", server.url)).await.expect("answers").text().await.expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a whole number"))
}

async fn counted(server: &TestServer) -> [u64; 3] {
    let mut counts = [0; 3];
    for (count, outcome) in counts.iter_mut().zip(["accepted", "duplicate", "rejected"]) {
        *count = metric(server, &format!("waypost_ingest_events_total{{outcome=\"{outcome}\"}}")).await;
    }
    counts
}

#[tokio::test]
async fn each_app_is_answered_as_its_protocol_wants_and_its_driver_is_where_it_said() {
    let server = TestServer::start().await;
    let phone = Phone::new(&server.url, &server.ingest);
    let cases = [
        ("traccar-client-8", "123456", None, "", Some(8.0), Some(90.0)),
        ("traccar-client-8-form", "123457", None, "", Some(0.0), None),
        ("osmand-app", "osm-1", None, "", Some(8.0), Some(271.5)),
        ("traccar-client-9", "123458", None, "", Some(8.25), Some(90.5)),
        ("traccar-client-9-unknown", "123459", None, "", None, None),
        ("owntracks-location", "anna", Some("application/json"), "[]", Some(10.0), Some(270.0)),
        ("overland-batch", "iphone-7", Some("application/json"), "{\"result\":\"ok\"}", None, None),
        ("gpslogger-default", "gps-1", None, "", Some(8.25), None),
        ("gpslogger-all", "gps-2", None, "", Some(10.0), Some(271.5)),
    ];
    for (name, id, media, body, speed, heading) in cases {
        let reply = phone.replay(name).await;
        assert_eq!((reply.status, reply.header("content-type"), reply.body.as_str()), (200, media, body), "{name}: {reply:?}");
        assert_eq!(reply.header("content-length"), Some(body.len().to_string().as_str()), "{name}");
        let driver = driver(&server, id, &reply).await;
        let place = (driver["position"]["lat"].as_f64().expect("a latitude"), driver["position"]["lng"].as_f64().expect("a longitude"));
        assert!((place.0 - 57.709).abs() < 0.0002 && (place.1 - 11.9748).abs() < 0.0005, "{name}: {driver}");
        if let Some(speed) = speed {
            assert!((driver["speed_mps"].as_f64().expect("a speed") - speed).abs() < 0.01, "{name}: {driver}");
        }
        if let Some(heading) = heading {
            assert_eq!(driver["heading_deg"].as_f64(), Some(heading), "{name}: {driver}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_batch_of_overland_sent_again_is_all_duplicates_and_what_is_refused_for_good_does_not_come_again() {
    let server = TestServer::start().await;
    let phone = Phone::new(&server.url, &server.ingest);
    let before = counted(&server).await;
    let ignored = metric(&server, "waypost_ignored_reports_total{app=\"overland\"}").await;
    for _ in 0..2 {
        let reply = phone.replay("overland-batch").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "{\"result\":\"ok\"}"));
        assert_eq!(reply.header("waypost-refused"), Some("null_island /geometry/coordinates"));
    }
    let after = counted(&server).await;
    assert_eq!([0, 1, 2].map(|at| after[at] - before[at]), [2, 2, 2], "two points, twice; 0,0 is refused each time");
    assert_eq!(metric(&server, "waypost_ignored_reports_total{app=\"overland\"}").await - ignored, 2, "the one without geometry");
    let (status, kept) = Reader::new(&server.url, &server.operator).get("/v1/dead-letters?protocol=overland&reason=null_island", None).await;
    assert_eq!(status, 200, "{kept}");
    assert_eq!(kept.to_string().matches("/geometry/coordinates").count(), 2, "what was refused is kept, as often as it came: {kept}");
    server.stop().await;
}

#[tokio::test]
async fn overland_is_told_how_soon_to_send_where_its_address_asks_for_it() {
    let server = TestServer::start().await;
    let phone = Phone::new(&server.url, &server.ingest);
    let asking = recording("overland-batch").replacen("/v1/in/overland ", "/v1/in/overland?hints=1 ", 1);
    let reply = phone.send(&asking).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "{\"result\":\"ok\",\"set\":{\"send_interval\":\"15s\"}}"));
    server.stop().await;
}

#[tokio::test]
async fn a_batch_of_overland_is_not_taken_when_it_is_not_durable_or_no_batch() {
    let data = Data::new();
    let settings = [("WAYPOST_SEGMENT_BYTES", "1048576"), ("WAYPOST_MAX_BODY_BYTES", "8388608")];
    let server = ServerProcess::start_limited(data.path(), "trap '' XFSZ; ulimit -f 3072", &settings);
    server.ready().await;
    let phone = Phone::new(&server.url, &data.ingest);
    let body = "{\"locations\":[{\"type\":\"Feature\"";
    let cut = format!("POST /v1/in/overland HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {{KEY}}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let reply = phone.send(&cut).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    // A segment that cannot be made stops the log.
    let attributes: serde_json::Map<String, Value> = (0..16).map(|n| (format!("a{n}"), json!("x".repeat(256)))).collect();
    let payload = json!({"pickup": {"lat": 57.7, "lng": 11.9}, "attributes": attributes});
    let large =
        |n| json!({"event_id": format!("c{n}"), "event_name": "delivery.created", "entity_id": format!("o{n}"), "event_time": 1, "payload": payload});
    let driver = Driver::new(&server.url, &data.ingest);
    eventually("the log stops", async || (driver.post(&(0..1000).map(large).collect()).await.0 == 503).then_some(())).await;
    let reply = phone.replay("overland-batch").await;
    assert_eq!((reply.status, reply.body.contains("ok\"")), (503, false), "{reply:?}");
    server.stop();
}

#[tokio::test]
async fn messages_of_owntracks_that_are_no_event_are_taken_and_not_stored_and_a_transition_is_kept() {
    let server = TestServer::start().await;
    let phone = Phone::new(&server.url, &server.ingest);
    let before = counted(&server).await;
    let ignored = metric(&server, "waypost_ignored_reports_total{app=\"owntracks\"}").await;
    for name in ["owntracks-status", "owntracks-empty"] {
        let reply = phone.replay(name).await;
        assert_eq!((reply.status, reply.body.as_str(), reply.header("waypost-position")), (200, "[]", None), "{name}");
    }
    assert_eq!(counted(&server).await, before);
    assert_eq!(metric(&server, "waypost_ignored_reports_total{app=\"owntracks\"}").await - ignored, 2);
    let reply = phone.replay("owntracks-transition").await;
    assert_eq!((reply.status, reply.body.as_str(), reply.header("waypost-position").is_some()), (200, "[]", true));
    assert_eq!(counted(&server).await[0], before[0] + 1);
    server.stop().await;
}

#[tokio::test]
async fn a_device_that_is_missing_or_unknown_is_refused_as_its_protocol_does_it_and_then_taken_when_it_is_listed() {
    let server = TestServer::start_with(|config| config.devices = UnlistedDevices::Strict).await;
    let phone = Phone::new(&server.url, &server.ingest);
    let before = counted(&server).await;
    let osmand = |query: &str| format!("GET /v1/in/osmand?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {{KEY}}\r\n\r\n");
    for query in ["", "lat=57.7&lon=11.9", "id=&lat=57.7&lon=11.9", "id=123456&lat=57.7&lon=11.9", "id=123456"] {
        let reply = phone.send(&osmand(query)).await;
        assert_eq!((reply.status, reply.body.contains("\"/id\"")), (400, true), "{query}: {reply:?}");
    }
    let unknown = [
        ("traccar-client-9", 404, "/device_id"),
        ("owntracks-location", 404, "/topic"),
        ("overland-batch", 404, "/properties/device_id"),
        ("gpslogger-all", 404, "/id"),
    ];
    for (name, status, pointer) in unknown {
        let reply = phone.replay(name).await;
        assert_eq!((reply.status, reply.body.contains(pointer)), (status, true), "{name}: {reply:?}");
    }
    assert_eq!(counted(&server).await, before, "nothing of it was stored: the phones keep it");

    let admin = server.key("acme", Role::Admin).await;
    let client = reqwest::Client::new();
    for (device, van) in [("123456", "van-1"), ("anna%2Fphone", "van-2"), ("iphone-7", "van-3")] {
        let put = client.put(format!("{}/v1/devices/{device}", server.url)).bearer_auth(&admin).json(&json!({"driver": van}));
        assert_eq!(put.send().await.expect("answers").status().as_u16(), 200);
    }
    for (name, van) in [("traccar-client-8", "van-1"), ("owntracks-location", "van-2"), ("overland-batch", "van-3")] {
        let reply = phone.replay(name).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        assert_eq!(driver(&server, van, &reply).await["id"], van);
    }
    let delete = client.delete(format!("{}/v1/devices/123456", server.url)).bearer_auth(&admin).send().await.expect("answers");
    assert_eq!(delete.status().as_u16(), 204);
    assert_eq!(phone.replay("traccar-client-8").await.status, 400, "at once");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn who_floods_with_phones_that_nobody_knows_is_told_to_wait_and_nothing_is_looked_up_or_read_for_him() {
    let server = TestServer::start_with(|config| {
        config.devices = UnlistedDevices::Strict;
        (config.tenant_events_per_s, config.tenant_burst) = (1, 1500);
    })
    .await;
    let phone = Phone::new(&server.url, &server.ingest);
    let batch = |from: usize| {
        let feature = |number: usize| {
            json!({"type": "Feature", "geometry": {"type": "Point", "coordinates": [11.9, 57.7]},
                "properties": {"timestamp": "2026-11-24T08:30:00Z", "device_id": format!("phone-{number}")}})
        };
        let body = json!({"locations": (from..from + 1000).map(feature).collect::<Vec<_>>()}).to_string();
        format!("POST /v1/in/overland HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {{KEY}}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    assert_eq!(phone.send(&batch(0)).await.status, 404);
    let reply = phone.send(&batch(1000)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("500")), "{reply:?}");
    let stats = reqwest::Client::new().get(format!("{}/v1/stats/ingest", server.url)).bearer_auth(&server.operator).send().await.expect("answers");
    assert_eq!(stats.json::<Value>().await.expect("JSON")["refused"], 2_000, "each counts, also of what is over the limit");
    // One phone fits still, until there is room for nothing. Then nothing is even read.
    for _ in 0..500 {
        assert_eq!(phone.replay("traccar-client-9").await.status, 404);
    }
    let nonsense = recording("overland-batch").replace("{\"locations\"", "[\"locations\"");
    for request in [nonsense, recording("cloudevents-structured"), recording("traccar-client-8")] {
        assert_eq!(phone.send(&request).await.status, 429, "{request}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_sends_too_much_is_told_so_in_his_apps_own_words() {
    let server = TestServer::start_with(|config| (config.driver_events_per_s, config.driver_burst) = (1, 3)).await;
    let phone = Phone::new(&server.url, &server.ingest);
    let cases = [
        ("traccar-client-8", 3, "/id"),
        ("traccar-client-9", 3, "/device_id"),
        ("owntracks-location", 3, "/topic"),
        ("overland-batch", 1, "/properties/device_id"),
        ("gpslogger-all", 3, "/id"),
        ("cloudevents-binary", 3, "/ce-source"),
    ];
    for (name, fit, pointer) in cases {
        for _ in 0..fit {
            assert_eq!(phone.replay(name).await.status, 200, "{name}");
        }
        let reply = phone.replay(name).await;
        let problem: Value = serde_json::from_str(&reply.body).expect("JSON");
        assert_eq!((reply.status, problem["pointer"].as_str()), (429, Some(pointer)), "{name}: {problem}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_phone_that_does_not_say_its_name_is_known_by_its_address_its_login_or_its_neighbours() {
    let server = TestServer::start().await;
    let phone = Phone::new(&server.url, &server.ingest);
    let unnamed = recording("overland-batch").replace("\"device_id\":\"iphone-7\"", "\"device_id\":\"\"        ");
    assert_ne!(unnamed, recording("overland-batch"));
    let reply = phone.send(&unnamed).await;
    assert_eq!((reply.status, reply.body.contains("/properties/device_id")), (400, true), "nobody is known yet, so the app keeps them: {reply:?}");
    for (request, id) in [
        (unnamed.replace("/v1/in/overland", "/v1/in/overland?device_id=van-8"), "van-8"),
        (unnamed.replace("Bearer {KEY}", "Basic {BASIC:van-9}"), "van-9"),
        (unnamed.replacen("\"device_id\":\"\"        ", "\"device_id\":\"van-10\"  ", 1), "van-10"),
    ] {
        let reply = phone.send(&request).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "{\"result\":\"ok\"}"), "{id}: {reply:?}");
        let driver = driver(&server, id, &reply).await;
        assert_eq!(driver["position"]["time"], "2026-11-24T08:30:05Z", "the later of both points: {driver}");
    }
    let reply = phone.send(&recording("gpslogger-default").replace("Basic {BASIC:gps-1}", "Bearer {KEY}")).await;
    assert_eq!((reply.status, reply.body.contains("\"/id\"")), (400, true), "{reply:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_report_that_is_wrong_is_taken_counted_and_named_in_a_header() {
    let server = TestServer::start().await;
    let phone = Phone::new(&server.url, &server.ingest);
    let before = counted(&server).await;
    let cases = [
        ("traccar-client-8", "lat=57.7089", "lat=91", "out_of_range /lat"),
        ("traccar-client-8", "timestamp=1795509000", "timestamp=1895509000", "time_too_far_ahead /timestamp"),
        ("traccar-client-9", "\"latitude\":57.7089", "\"latitude\":97.7089", "out_of_range /location/coords/latitude"),
        ("traccar-client-9", "\"location\":{", "\"location\":[", "malformed_json "),
        ("owntracks-location", "\"batt\":81", "\"batt\":-x", "malformed_json "),
        ("owntracks-location", "\"batt\":81", "\"batt\":99", ""),
        ("gpslogger-default", "s=8.25", "s=99e9", "out_of_range /s"),
    ];
    for (name, from, to, told) in cases {
        let request = recording(name).replace(from, to);
        assert_ne!(request, recording(name));
        let reply = phone.send(&request).await;
        assert_eq!((reply.status, reply.header("waypost-refused").unwrap_or("").trim()), (200, told.trim()), "{name} {to}: {reply:?}");
    }
    let after = counted(&server).await;
    assert_eq!([after[0] - before[0], after[2] - before[2]], [1, 6]);
    server.stop().await;
}

#[tokio::test]
async fn the_unit_of_speeds_is_a_setting_and_the_new_traccar_client_may_keep_the_old_address() {
    use waypost::model::speed::SpeedUnit;
    let server = TestServer::start_with(|config| config.osmand_speed_unit = SpeedUnit::Kmh).await;
    let phone = Phone::new(&server.url, &server.ingest);
    let reply = phone.send(&recording("traccar-client-8").replace("speed=15.5507", "speed=36")).await;
    assert!((driver(&server, "123456", &reply).await["speed_mps"].as_f64().expect("a speed") - 10.0).abs() < 0.01);
    for (form, address, speed_mps) in [("id=form-1&", "?speed_unit=mps", 36.0), ("", "?id=form-2", 10.0)] {
        let form = format!("{form}lat=57.7&lon=11.9&timestamp={}&speed=36", server.now_ms() / 1000);
        let request = reqwest::Client::new().post(format!("{}/v1/in/osmand{address}", server.url)).bearer_auth(&server.ingest);
        let sent = request.header("content-type", "application/x-www-form-urlencoded").body(form).send().await.expect("answers");
        assert_eq!(sent.status(), 200);
        let position = sent.headers()["waypost-position"].to_str().expect("ASCII").to_owned();
        let id = if address.contains("form-2") { "form-2" } else { "form-1" };
        let driver = reqwest::Client::new().get(format!("{}/v1/drivers/{id}", server.url)).bearer_auth(&server.dashboard);
        let driver: Value = driver.header("waypost-position", position).send().await.expect("answers").json().await.expect("JSON");
        assert!((driver["speed_mps"].as_f64().expect("a speed") - speed_mps).abs() < 0.01, "{address}: {driver}");
    }
    for address in ["/v1/in/osmand", "/v1/in/osmand?speed_unit=mps", "/v1/in/osmand?id=123458"] {
        let reply = phone.send(&recording("traccar-client-9").replace("/v1/in/traccar", address)).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{reply:?}");
        assert_eq!(driver(&server, "123458", &reply).await["id"], "123458");
    }
    server.stop().await;
}

#[tokio::test]
async fn cloudevents_are_answered_one_by_one_in_each_mode() {
    let server = TestServer::start().await;
    let phone = Phone::new(&server.url, &server.ingest);
    let results = |reply: &Reply| {
        let body: Value = serde_json::from_str(&reply.body).expect("JSON");
        let rows = body["results"].as_array().expect("results").iter();
        rows.map(|row| ["event_id", "status", "pointer"].map(|name| row[name].as_str().unwrap_or("").to_owned()).join(" ")).collect::<Vec<_>>()
    };
    for (name, told) in [("cloudevents-binary", "ce-1 accepted "), ("cloudevents-structured", "ce-2 accepted ")] {
        let reply = phone.replay(name).await;
        assert_eq!((reply.status, results(&reply)), (200, vec![told.to_owned()]), "{reply:?}");
        assert!(reply.header("waypost-position").is_some());
        let again = phone.replay(name).await;
        assert_eq!((again.status, results(&again)), (200, vec![told.replace("accepted", "duplicate")]), "{again:?}");
    }
    let reply = phone.replay("cloudevents-batch").await;
    assert_eq!((reply.status, results(&reply)), (200, vec!["ce-3 accepted ".to_owned(), "ce-4 rejected /data/lat".to_owned()]));
    let wrong = phone.send(&recording("cloudevents-binary").replace("57.7089", "97.7089").replace("ce-1", "ce-9")).await;
    assert_eq!((wrong.status, results(&wrong)), (400, vec!["ce-9 rejected /lat".to_owned()]));
    let other = phone.send(&recording("cloudevents-binary").replace("57.7089", "57.8089")).await;
    assert_eq!(other.status, 409, "{other:?}");
    let plain = phone.send(&recording("cloudevents-binary").replace("ce-specversion", "x-specversion")).await;
    assert_eq!(plain.status, 415, "{plain:?}");
    let (_, delivery) = server.reader().get("/v1/deliveries/order-7", reply.header("waypost-position")).await;
    assert_eq!(delivery["status"], "picked_up", "{delivery}");
    server.stop().await;
}

#[tokio::test]
async fn a_cloudevent_without_a_time_may_come_again_and_sources_may_use_the_same_ids() {
    let server = TestServer::start().await;
    let phone = Phone::new(&server.url, &server.ingest);
    let post = |source: &str, status: &str| {
        let event =
            json!({"specversion": "1.0", "id": "1", "type": "delivery.status", "source": source, "subject": "order-1", "data": {"status": status}});
        let (body, media) = (event.to_string(), "application/cloudevents+json");
        let length = body.len();
        format!(
            "POST /v1/in/cloudevents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {{KEY}}\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let told = |reply: Reply| {
        let body: Value = serde_json::from_str(&reply.body).expect("JSON");
        (reply.status, ["event_id", "status", "code"].map(|name| body["results"][0][name].as_str().unwrap_or("").to_owned()).join(" "))
    };
    assert_eq!(told(phone.send(&post("shop", "assigned")).await), (200, "1 accepted ".to_owned()));
    server.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(told(phone.send(&post("shop", "assigned")).await), (200, "1 duplicate ".to_owned()));
    assert_eq!(told(phone.send(&post("depot", "picked_up")).await), (200, "1 accepted ".to_owned()), "another's event");
    assert_eq!(told(phone.send(&post("shop", "delivered")).await), (409, "1 duplicate content_differs".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn a_key_is_taken_as_bearer_or_password_and_an_address_without_a_path_is_no_request() {
    let server = TestServer::start().await;
    let phone = Phone::new(&server.url, &server.ingest);
    let request = recording("traccar-client-8");
    let basic = phone.send(&request.replace("Bearer {KEY}", "Basic {BASIC:whoever}")).await;
    assert_eq!(basic.status, 200, "{basic:?}");
    let none = phone.send(&request.replace("Authorization: Bearer {KEY}\r\n", "")).await;
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some("Bearer")), "{none:?}");
    assert!(format!("{none:?}").contains("Basic realm"), "some apps send a password only when they are asked for one");
    let reader = Phone::new(&server.url, &server.dashboard).replay("traccar-client-8").await;
    assert_eq!(reader.status, 403, "{reader:?}");
    assert_eq!(phone.replay("no-path").await.status, 400, "by the HTTP library, before any of this is asked");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_an_address_must_be_one_drivers_and_stands_in_no_log() {
    let data = Data::new();
    let (server, said) = ServerProcess::start_listening_to(data.path(), "trace");
    let mut listening = JoinSet::new();
    listening.spawn(said.all());
    server.ready().await;
    let secret = data.ingest.splitn(3, '_').nth(2).expect("a secret").to_owned();
    let phone = Phone::new(&server.url, &data.ingest);
    for app in ["osmand", "gpslogger", "nothing", ""] {
        let request = format!("GET /v1/in/k/{{KEY}}/{app}?id=7&lat=57.7&lon=11.9 HTTP/1.1\r\nHost: x\r\n\r\n");
        let reply = phone.send(&request).await;
        let expected = if app == "nothing" || app.is_empty() { 404 } else { 403 };
        assert_eq!(reply.status, expected, "{app}: {reply:?}");
        assert!(!reply.body.contains(&secret), "{reply:?}");
    }
    server.stop();
    let lines = listening.join_next().await.expect("one").expect("no panic");
    assert!(lines.len() > 10, "the log is at its most talkative: {lines:?}");
    assert!(lines.iter().all(|line| !line.contains(&secret)), "{lines:?}");
}

#[tokio::test]
async fn devices_are_listed_page_by_page_and_only_by_who_looks_after_them() {
    let server = TestServer::start().await;
    let admin = server.key("acme", Role::Admin).await;
    let client = reqwest::Client::new();
    let put = async |device: &str, body: &Value, key: &str| {
        let sent = client.put(format!("{}/v1/devices/{device}", server.url)).bearer_auth(key).json(body).send().await.expect("answers");
        (sent.status().as_u16(), sent.json::<Value>().await.unwrap_or_default())
    };
    for (key, status) in [(&server.ingest, 403), (&server.dashboard, 403), (&"wpk_x".to_owned(), 401)] {
        assert_eq!(put("a", &json!({"driver": "van-1"}), key).await.0, status);
    }
    for (body, status, pointer) in [(json!({"driver": ""}), 400, "/driver"), (json!({"driver": "v", "x": 1}), 400, ""), (json!({}), 400, "")] {
        let (code, problem) = put("a", &body, &admin).await;
        assert_eq!((code, problem["pointer"].as_str().unwrap_or("")), (status, pointer), "{problem}");
    }
    for device in ["a", "b", "c"] {
        let (status, entry) = put(device, &json!({"driver": if device == "b" { "van-2" } else { "van-1" }}), &admin).await;
        assert_eq!((status, entry["device"].as_str(), entry["updated"].as_str()), (200, Some(device), Some("2026-11-24T08:30:00Z")), "{entry}");
    }
    let reader = Reader::new(&server.url, &admin);
    let (_, first) = reader.get("/v1/devices?limit=2", None).await;
    assert_eq!((first["devices"].as_array().map(Vec::len), first["next"].as_str()), (Some(2), Some("b")), "{first}");
    let (_, last) = reader.get("/v1/devices?limit=2&cursor=b", None).await;
    assert_eq!((last["devices"][0]["device"].as_str(), last["next"].as_str()), (Some("c"), None), "{last}");
    let (_, of_one) = reader.get("/v1/devices?driver=van-2", None).await;
    assert_eq!(of_one["devices"].as_array().map(Vec::len), Some(1), "{of_one}");
    assert_eq!(reader.get("/v1/devices?limit=0", None).await.0, 400);
    assert_eq!(reader.get("/v1/devices/z", None).await.0, 404);
    assert_eq!(reader.get("/v1/devices/b", None).await.1["driver"], "van-2");
    drop((client, reader));
    server.stop().await;
}

#[test]
fn the_pages_for_phones_tell_what_each_answer_means_that_a_phone_can_get() {
    let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/phones");
    let page = std::fs::read_to_string(pages.join("README.md")).expect("the page");
    let (_, answers) = page.split_once("## When nothing appears").expect("its part about answers");
    // 408, 413, 415: a body that no phone app sends.
    for status in ["200", "400", "401", "403", "404", "429", "503", "507"] {
        assert!(answers.contains(status), "{status} is not told of");
    }
}

/// Whoever follows a page must arrive.
#[test]
fn every_address_in_the_pages_for_phones_is_a_route() {
    let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/phones");
    let routes: Vec<String> = Route::ALL.into_iter().map(|route| route.path().replace("{key}", "KEY").replace("{device}", "123456")).collect();
    let mut found = 0;
    for page in std::fs::read_dir(pages).expect("the pages") {
        let text = std::fs::read_to_string(page.expect("a page").path()).expect("text");
        for (at, _) in text.match_indices("/v1/") {
            let address: String = text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "/_-".contains(*c)).collect();
            let known = |route: &String| *route == address || (address.starts_with("/v1/devices/") && route == "/v1/devices/123456");
            assert!(routes.iter().any(known) || address == "/v1/devices/", "{address} is no route");
            found += 1;
        }
    }
    assert!(found > 30, "{found} addresses");
}
