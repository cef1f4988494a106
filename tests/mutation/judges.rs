//! What is done with an input, where that is more than one call: readers held against each other, and parsers that need something around them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use axum::extract::Query;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use waypost::clock::Clock;
use waypost::formats::json::items::{self, Item};
use waypost::formats::protobuf::fields::Fields;
use waypost::formats::refusal::Code;
use waypost::formats::{json, protobuf};
use waypost::http::auth::{Access, Auth, Role};
use waypost::http::keys::Keys;
use waypost::http::search::Search;
use waypost::live::sessions::Sessions;
use waypost::live::{Format, Settings};
use waypost::logging::request_id::RequestId;
use waypost::map::cells::SessionId;
use waypost::map::{Map, SharedMap};
use waypost::model::time::UnixMs;
use waypost::wire;
use waypost::wire::client_message::Kind;

use super::parsers::tenant;

/// The reader that reads an event where it stands and the one that names its faults agree, and the claimed id is the id.
pub(super) fn json_event(input: &[u8]) -> bool {
    let decoded = json::decode(input, &tenant());
    let claimed = json::claimed_id(input);
    if let Ok(event) = &decoded {
        assert_eq!(claimed, event.id.to_string());
    }
    let Ok(text) = std::str::from_utf8(input) else {
        assert!(decoded.is_err(), "what is no UTF-8 is no JSON");
        return false;
    };
    if let Some((first, length)) = json::decode_first(text, &tenant()) {
        let alone = json::decode(&input[..length], &tenant());
        assert_eq!(alone.as_ref(), Ok(&first), "the first event, read alone");
        assert!(decoded.is_err() || decoded.as_ref() == Ok(&first));
    } else {
        assert!(decoded.is_err(), "read as a whole and not as the first: {decoded:?}");
    }
    // The independent reader of JSON: what it does not take, ours may not take either.
    if decoded.is_ok() {
        let value: Result<BTreeMap<String, serde_json::Value>, _> = serde_json::from_slice(input);
        assert!(value.is_ok() || text.contains(['e', 'E']), "taken, though {value:?}");
    }
    decoded.is_ok()
}

pub(super) fn ndjson(input: &[u8]) -> bool {
    let mut items = items::open_lines(input);
    let (mut lines, mut read) = (0, 0);
    while let Some(item) = items.next(|_text| None::<((), usize)>).expect("lines are always lines") {
        let Item::Cut(line) = item else { unreachable!("nothing was read") };
        lines += 1;
        read += usize::from(json::decode(line, &tenant()).is_ok());
    }
    assert_eq!(lines, input.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count());
    read > 0
}

/// Read where they stand or cut off first, the same events come out.
pub(super) fn json_batch(input: &[u8]) -> bool {
    let by = |in_place: bool| {
        let mut items = items::open(input)?;
        let mut found = Vec::new();
        while let Some(item) = items.next(|text| if in_place { json::decode_first(text, &tenant()) } else { None })? {
            found.push(match item {
                Item::Read(event) => Ok(event),
                Item::Cut(item) => json::decode(item, &tenant()),
            });
        }
        Ok::<_, waypost::formats::refusal::Refusal>(found)
    };
    let (in_place, cut) = (by(true), by(false));
    let taken = cut.as_ref().is_ok_and(|found| found.iter().any(Result::is_ok));
    match (in_place, cut) {
        (Ok(in_place), Ok(cut)) => assert_eq!(in_place.iter().flatten().collect::<Vec<_>>(), cut.iter().flatten().collect::<Vec<_>>()),
        (in_place, cut) => assert_eq!(in_place.is_ok(), cut.is_ok(), "{in_place:?} in place, {cut:?} cut off"),
    }
    taken
}

/// Our reader against the generated one.
pub(super) fn proto_event(input: &[u8]) -> bool {
    let ours = protobuf::decode(input, &tenant());
    let theirs = wire::Event::decode(input);
    match (&ours, &theirs) {
        (Ok(event), Ok(theirs)) => {
            assert_eq!((event.id.to_string(), event.event_time.0), (theirs.event_id.clone(), theirs.event_time_ms));
            assert_eq!(event.actor.as_ref().map(ToString::to_string).unwrap_or_default(), theirs.actor_id);
            assert_eq!(protobuf::claimed_id(input), theirs.event_id);
        }
        // Of several payloads the last counts, and ours does not look into the others.
        (Ok(_), Err(error)) => assert!(payloads(input) > 1, "taken, though the generated reader says {error}"),
        (Err(refusal), Ok(theirs)) => assert_ne!(refusal.code, Code::MalformedProtobuf, "{refusal}, though it is {theirs:?}"),
        (Err(_), Err(_)) => {}
    }
    ours.is_ok()
}

fn payloads(event: &[u8]) -> usize {
    let mut fields = Fields::new(event);
    std::iter::from_fn(|| fields.read().ok().flatten()).filter(|field| (10..=16).contains(&field.tag)).count()
}

pub(super) fn proto_batch(input: &[u8]) -> bool {
    const MAX: usize = 50;
    let Ok(items) = protobuf::split(input, MAX) else { return false };
    assert!(items.events.len() == items.count.min(MAX));
    if let Ok(batch) = wire::EventBatch::decode(input) {
        assert_eq!(batch.events.len(), items.count);
    }
    // One after the other, so that a bad one harms no neighbour.
    items.events.iter().filter(|item| proto_event(item)).count() > 0
}

/// The query of the reading routes, with every check that is made before anything is looked up.
pub(super) fn query(input: &str) -> bool {
    let Ok(uri) = format!("/v1/deliveries?{input}").parse() else { return false };
    Query::<Search>::try_from_uri(&uri).is_ok_and(|Query(search)| search.check().is_ok())
}

pub(super) fn request_id(input: &[u8]) -> bool {
    let given = RequestId::given(input);
    if let Some(id) = &given {
        HeaderValue::try_from(id.as_str()).expect("a header takes what is sane");
    }
    given.is_some()
}

pub(super) fn struck(input: &str) -> bool {
    let (path, query) = input.split_once('?').map_or((input, None), |(path, query)| (path, Some(query)));
    let told = waypost::logging::strike::struck(path, query);
    assert!(!told.contains(char::is_control) && told.len() <= 1024, "{told:?}");
    told.contains("***")
}

pub(super) const EPOCH: u64 = 0x00ab_cdef;

/// One session after the other comes back with what it says it holds.
pub(super) struct Resuming {
    map: SharedMap,
    sessions: Mutex<Sessions>,
}

impl Resuming {
    pub(super) fn new() -> Self {
        let (map, mut sessions): (SharedMap, _) = (Arc::new(RwLock::new(Map::default())), Sessions::new(EPOCH, Settings::default()));
        for _ in 0..3 {
            drop(sessions.on_tick(&map, UnixMs(0)));
        }
        Self { map, sessions: Mutex::new(sessions) }
    }

    pub(super) fn judge(&self, message: &Kind) -> bool {
        let mut sessions = self.sessions.lock();
        let id = SessionId(1);
        drop(sessions.open(id, tenant(), waypost::model::scope::Scope::default(), Format::Json, UnixMs(0), "test"));
        let refused = match message {
            Kind::Resume(resume) => sessions.on_resume(id, resume),
            Kind::View(view) => sessions.on_view(id, view),
            _ => None,
        };
        let frames = sessions.on_tick(&self.map, UnixMs(100));
        for (_, frame) in &frames {
            drop(frame.join());
        }
        sessions.close(id, &self.map);
        assert!(sessions.is_empty());
        refused.is_none() && !frames.is_empty()
    }
}

/// Somebody at the door with a credential.
pub(super) struct Knocking {
    runtime: tokio::runtime::Runtime,
    auth: Auth,
    key: String,
    _folder: tempfile::TempDir,
}

impl Knocking {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (auth, key) = runtime.block_on(async {
            let keys = Keys::open(folder.path()).await.expect("a key store");
            let key = keys.create(&tenant(), Role::Dashboard, &Clock::System).await.expect("a key");
            (Auth::new(keys, Clock::System), key)
        });
        Self { runtime, auth, key, _folder: folder }
    }

    pub(super) fn samples(&self) -> Vec<Vec<u8>> {
        vec![format!("Bearer {}", self.key).into_bytes()]
    }

    /// Only the very key opens the door, however it is written around.
    pub(super) fn judge(&self, input: &[u8]) -> bool {
        let Ok(value) = HeaderValue::from_bytes(input) else { return false };
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value);
        let opened = self.runtime.block_on(self.auth.authorise(&headers, Access::Read)).is_ok();
        let token = input.trim_ascii().split(|byte| *byte == b' ').next_back().unwrap_or_default();
        assert!(!opened || token == self.key.as_bytes(), "another key opened the door");
        opened
    }
}

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).expect("in memory");
    encoder.finish().expect("in memory")
}

pub(super) fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).expect("in memory")
}
