//! A dashboard of the walk, in either subprotocol: pans, withholds its acks, is cut and comes back. Holds what the independent decoder makes of the frames.

use std::collections::BTreeMap;

use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use waypost_sim::frame::Picture;
use waypost_sim::wire::{self, Frame, client_message::Kind};

use super::world::a_driver;
use crate::harness::DEADLINE;

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Proto,
    Json,
}

/// What a dashboard looks at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) west: f64,
    pub(super) south: f64,
    pub(super) east: f64,
    pub(super) north: f64,
    pub(super) zoom: f64,
    /// Status codes; 0 is idle.
    pub(super) statuses: Vec<i32>,
    pub(super) drivers: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) late_risk: bool,
}

/// By name and value, by name, and what nobody has.
const ASKED: [&str; 5] = ["size=xl", "cold", "zone=a=b", "size=s", "none"];
/// On both sides of each level's border.
const ZOOMS: [f64; 10] = [16.0, 13.0, 12.99, 10.0, 9.99, 7.0, 6.99, 4.0, 3.99, 1.0];

impl View {
    pub(super) fn random(rng: &mut StdRng) -> Self {
        let (lat, lng) = [(57.7, 11.97), (57.7, 11.97), (57.7, 11.97), (-17.0, 179.99), (89.8, 30.0)][rng.random_range(0..5)];
        let (height, width) = (rng.random_range(0.01..0.3), rng.random_range(0.01..0.5));
        let (lat, lng) = (lat + rng.random_range(-0.05..0.05), lng + rng.random_range(-0.05..0.05));
        let (west, south, east, north) = (lng - width, lat - height, lng + width, lat + height);
        let view = Self { west, south, east, north, zoom: 0.0, statuses: vec![], drivers: vec![], tags: vec![], late_risk: false };
        let all = Self { west: -180.0, south: -90.0, east: 180.0, north: 90.0, ..view.clone() };
        let mut view = if rng.random_bool(0.15) { all } else { view };
        view.zoom = ZOOMS[rng.random_range(0..ZOOMS.len())];
        view.wrapped()
    }

    /// As a map is dragged or zoomed.
    pub(super) fn panned(&self, rng: &mut StdRng) -> Self {
        let mut view = self.clone();
        if rng.random_bool(0.3) {
            view.zoom = ZOOMS[rng.random_range(0..ZOOMS.len())];
            return view;
        }
        let (lat, lng) = (rng.random_range(-0.05..0.05), rng.random_range(-0.05..0.05));
        if view.east - view.west < 359.0 {
            (view.west, view.east) = (view.west + lng, view.east + lng);
            (view.south, view.north) = ((view.south + lat).max(-90.0), (view.north + lat).min(90.0));
        }
        view.wrapped()
    }

    pub(super) fn filtered(&self, rng: &mut StdRng) -> Self {
        let statuses = if rng.random_bool(0.6) { (0..13).filter(|_| rng.random_bool(0.4)).collect() } else { vec![] };
        let drivers = if rng.random_bool(0.4) { (0..6).map(|_| a_driver(rng)).collect() } else { vec![] };
        let tags = if rng.random_bool(0.4) { ASKED.iter().filter(|_| rng.random_bool(0.4)).map(|tag| (*tag).to_owned()).collect() } else { vec![] };
        Self { statuses, drivers, tags, late_risk: rng.random_bool(0.3), ..self.clone() }
    }

    fn wrapped(mut self) -> Self {
        let wrap = |lng: f64| if (-180.0..=180.0).contains(&lng) { lng } else { (lng + 180.0).rem_euclid(360.0) - 180.0 };
        (self.west, self.east) = (wrap(self.west), wrap(self.east));
        (self.south, self.north) = (self.south.clamp(-90.0, 89.0), self.north.clamp(-89.0, 90.0));
        self
    }

    fn wire(&self, view_id: u32) -> wire::View {
        let (tags, late_risk) = (self.tags.clone(), self.late_risk);
        let filter = Some(wire::Filter { statuses: self.statuses.clone(), drivers: self.drivers.clone(), tags, late_risk });
        wire::View { west: self.west, south: self.south, east: self.east, north: self.north, zoom: self.zoom, filter, view_id }
    }

    fn json(&self, view_id: u32) -> Value {
        json!({"west": self.west, "south": self.south, "east": self.east, "north": self.north, "zoom": self.zoom, "view_id": view_id,
               "filter": {"statuses": self.statuses, "drivers": self.drivers, "tags": self.tags, "late_risk": self.late_risk}})
    }
}

pub(super) struct Watcher {
    url: String,
    key: String,
    format: Format,
    socket: Option<Socket>,
    pub(super) picture: Picture,
    epoch: u64,
    /// It was told that it was not told all, and not yet that it was.
    behind: bool,
    /// As the last frame with content told it.
    pub(super) level: wire::Level,
    views: BTreeMap<u32, View>,
    wanted: u32,
    /// The view that the last frame echoed: what a resume may speak of.
    echoed: u32,
    /// Acks are withheld.
    held: bool,
    unacked: u64,
    /// A frame with content came on this connection.
    answered: bool,
    /// It came back by a resume, whose answer counts.
    resumes: bool,
    /// And asked for another view behind it.
    elsewhere: bool,
    pub(super) answers: Answers,
}

/// How resumes were answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    pub(super) by_difference: u64,
    /// Everything was to be forgotten first.
    pub(super) anew: u64,
    /// Of those who asked for another view in the same breath, which may be all that is answered: how many they are hangs on how busy the machine is.
    pub(super) elsewhere: u64,
    /// Cells of markers that came whole in a difference, and those that were held after it.
    pub(super) whole_cells: usize,
    pub(super) held_cells: usize,
}

impl Answers {
    fn note(&mut self, frame: &Frame, picture: &Picture, elsewhere: bool) {
        if elsewhere {
            self.elsewhere += 1;
            return;
        }
        if frame.reset {
            self.anew += 1;
            return;
        }
        self.by_difference += 1;
        if frame.level.is_some_and(|level| !level.counts) {
            self.whole_cells += frame.cells.iter().filter(|cell| cell.whole).count();
            self.held_cells += picture.cells().count();
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.by_difference += other.by_difference;
        self.anew += other.anew;
        self.elsewhere += other.elsewhere;
        self.whole_cells += other.whole_cells;
        self.held_cells += other.held_cells;
    }
}

impl Watcher {
    pub(super) async fn open(url: &str, key: &str, format: Format, view: View) -> Self {
        let mut watcher = Self {
            url: format!("{}/v1/live", url.replacen("http", "ws", 1)),
            key: key.to_owned(),
            format,
            socket: None,
            picture: Picture::default(),
            epoch: 0,
            behind: false,
            level: wire::Level::default(),
            views: BTreeMap::from([(1, view)]),
            wanted: 1,
            echoed: 0,
            held: false,
            unacked: 0,
            answered: false,
            resumes: false,
            elsewhere: false,
            answers: Answers::default(),
        };
        watcher.come_back().await;
        watcher
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn view(&self) -> &View {
        &self.views[&self.wanted]
    }

    pub(super) fn words(&self) -> String {
        format!("{:?} {:?} at {:?}", self.format, self.view(), self.level)
    }

    pub(super) async fn look(&mut self, view: View) -> String {
        self.wanted += 1;
        let told = format!("looks at {view:?} ({})", self.wanted);
        self.views.insert(self.wanted, view);
        self.send_view().await;
        told
    }

    pub(super) fn hold(&mut self) -> String {
        self.held = true;
        "withholds its acks".to_owned()
    }

    pub(super) async fn release(&mut self) -> String {
        self.held = false;
        self.ack().await;
        "acknowledges".to_owned()
    }

    /// No goodbye: the link is just gone.
    pub(super) fn cut(&mut self) -> String {
        self.socket = None;
        "is cut".to_owned()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.socket.is_none()
    }

    /// Connects again if it was cut, and says what it holds.
    pub(super) async fn come_back(&mut self) -> String {
        if self.socket.is_some() {
            return "is there".to_owned();
        }
        let mut request = self.url.as_str().into_client_request().expect("an address");
        let name = if self.format == Format::Proto { "waypost.v1.proto" } else { "waypost.v1.json" };
        request.headers_mut().insert("sec-websocket-protocol", name.parse().expect("a value"));
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("upgraded");
        self.socket = Some(socket);
        (self.unacked, self.answered, self.behind, self.resumes) = (0, false, false, self.echoed != 0);
        let key = self.key.clone();
        self.send(Kind::Auth(wire::Auth { token: key.clone() }), json!({"auth": {"token": key}})).await;
        if self.echoed == 0 {
            self.send_view().await;
            return "comes".to_owned();
        }
        let (tick, level, view) = (self.picture.tick, self.level.h3_resolution, &self.views[&self.echoed]);
        let sources = vec![wire::Source { epoch: self.epoch, tick }];
        let told =
            json!({"resume": {"sources": [{"epoch": format!("{:x}", self.epoch), "tick": tick}], "view": view.json(self.echoed), "level": level}});
        self.send(Kind::Resume(wire::Resume { sources, view: Some(view.wire(self.echoed)), level }), told).await;
        self.elsewhere = self.echoed != self.wanted;
        if self.elsewhere {
            self.send_view().await;
        }
        format!("comes back at tick {tick} of view {}", self.echoed)
    }

    /// The server is at this address now.
    pub(super) fn moves_to(&mut self, url: &str) {
        self.url = format!("{}/v1/live", url.replacen("http", "ws", 1));
        self.cut();
    }

    /// Comes back and reads until its resume is answered, and the view that it had wanted meanwhile. Asks for nothing more.
    pub(super) async fn resume(&mut self) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        self.held = false;
        self.come_back().await;
        self.read_until(deadline, |watcher| watcher.answered && watcher.echoed == watcher.wanted).await
    }

    /// Applies what is there and waits for nothing.
    pub(super) async fn take_what_came(&mut self) {
        while let Some(socket) = &mut self.socket {
            let came = tokio::select! {
                biased;
                came = socket.next() => came,
                () = std::future::ready(()) => return,
            };
            self.receive(came).await;
        }
    }

    /// Asks for its view anew and reads until that is answered, in as many parts as it takes: everything applied before the question is in what it then holds.
    pub(super) async fn catch_up(&mut self) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        self.release().await;
        if self.socket.is_none() {
            // The answer to its resume is read before anything else is asked, so that it is the resume that brings it level.
            self.come_back().await;
            self.read_until(deadline, |watcher| watcher.answered).await?;
        }
        let view = self.view().clone();
        self.look(view).await;
        self.read_until(deadline, |watcher| watcher.echoed == watcher.wanted).await
    }

    async fn read_until(&mut self, deadline: tokio::time::Instant, reached: impl Fn(&Self) -> bool) -> Result<(), String> {
        while self.behind || !reached(self) {
            self.come_back().await;
            let socket = self.socket.as_mut().expect("just connected");
            let came = tokio::time::timeout_at(deadline, socket.next()).await;
            let (answered, how) = (self.echoed, if self.behind { " in part" } else { "" });
            let waiting = || format!("view {} was not answered; {answered} was{how}, tick {}", self.wanted, self.picture.tick);
            let came = came.map_err(|_elapsed| waiting())?;
            self.receive(came).await;
        }
        Ok(())
    }

    async fn receive(&mut self, came: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) {
        let frame = match came {
            Some(Ok(Message::Binary(bytes))) => Frame::decode(&bytes[..]).expect("a frame"),
            Some(Ok(Message::Text(text))) => frame_of(&serde_json::from_str(&text).expect("JSON")),
            Some(Ok(_)) => return,
            None | Some(Err(_)) => {
                self.socket = None;
                return;
            }
        };
        self.apply(&frame);
        if !self.held {
            self.ack().await;
        }
    }

    fn apply(&mut self, frame: &Frame) {
        if let Some(hello) = &frame.hello {
            self.epoch = hello.epoch;
        }
        if let Some(lag) = &frame.lag {
            self.behind = lag.behind;
        }
        if let Some(bye) = &frame.bye {
            assert_eq!(bye.code, 5, "only who acknowledges nothing is sent away: {bye:?}");
        }
        let applied = self.picture.apply(frame);
        assert!(applied.is_ok(), "{applied:?} in tick {} to {}", frame.tick, self.words());
        if frame.tick > 0 {
            self.level = frame.level.expect("a frame with content tells its level");
            self.echoed = frame.view_id;
            self.unacked = frame.tick;
            if std::mem::take(&mut self.resumes) {
                self.answers.note(frame, &self.picture, self.elsewhere);
            }
            self.answered = true;
        }
    }

    async fn ack(&mut self) {
        let tick = std::mem::take(&mut self.unacked);
        if tick > 0 {
            self.send(Kind::Ack(wire::Ack { tick }), json!({"ack": {"tick": tick}})).await;
        }
    }

    async fn send_view(&mut self) {
        let (view, json) = (self.view().wire(self.wanted), self.view().json(self.wanted));
        self.send(Kind::View(view), json!({"view": json})).await;
    }

    async fn send(&mut self, kind: Kind, json: Value) {
        let Some(socket) = &mut self.socket else { return };
        let message = match self.format {
            Format::Proto => Message::binary(wire::ClientMessage { kind: Some(kind) }.encode_to_vec()),
            Format::Json => Message::text(json.to_string()),
        };
        if socket.send(message).await.is_err() {
            self.socket = None;
        }
    }
}

/// A frame of the JSON subprotocol, as the schema of record names its fields.
fn frame_of(value: &Value) -> Frame {
    let list = |name: &str| value[name].as_array().into_iter().flatten();
    let level = value.get("level").map(|level| wire::Level {
        h3_resolution: int(level, "h3_resolution"),
        counts: flag(level, "counts"),
        coarsened: flag(level, "coarsened"),
    });
    let hello = value.get("hello").map(|hello| wire::Hello { epoch: hex(&hello["epoch"]), ..wire::Hello::default() });
    let bye = value.get("bye").map(|bye| wire::Bye { code: int(bye, "code"), ..wire::Bye::default() });
    let lag = value.get("lag").map(|lag| wire::Lag { behind: flag(lag, "behind"), merged_ticks: int(lag, "merged_ticks") });
    Frame {
        tick: int(value, "tick"),
        view_id: int(value, "view_id"),
        reset: flag(value, "reset"),
        dropped: list("dropped").map(hex).collect(),
        cells: list("cells").map(cell_of).collect(),
        level,
        hello,
        bye,
        lag,
        ..Frame::default()
    }
}

fn cell_of(value: &Value) -> wire::Cell {
    let list = |name: &str| value[name].as_array().into_iter().flatten();
    let moves = value.get("moves").map(|moves| packed(&moves["handle"], &moves["dlat_e7"], &moves["dlng_e7"], &moves["meta"])).unwrap_or_default();
    let leave = |leave: &Value| wire::Leave { handle: int(leave, "handle"), ended: int(leave, "ended"), gone: flag(leave, "gone") };
    wire::Cell {
        cell: hex(&value["cell"]),
        whole: flag(value, "whole"),
        origin_lat_e7: value.get("origin_lat_e7").map(|_| int(value, "origin_lat_e7")),
        origin_lng_e7: value.get("origin_lng_e7").map(|_| int(value, "origin_lng_e7")),
        enters: list("enters").map(enter_of).collect(),
        moves,
        leaves: list("leaves").map(leave).collect(),
        counts: list("counts").map(|count| wire::Count { status: int(count, "status"), markers: int(count, "markers") }).collect(),
        entries: value.get("entries").map(|_| int(value, "entries")),
        checksum: value.get("checksum").map(|_| int(value, "checksum")),
    }
}

/// The columns as `Cell.moves` packs them.
fn packed(handles: &Value, dlats: &Value, dlngs: &Value, metas: &Value) -> Vec<u64> {
    let column = |column: &Value| column.as_array().expect("a column").iter().map(|number| number.as_i64().expect("a number")).collect::<Vec<_>>();
    let [handles, dlats, dlngs, metas] = [handles, dlats, dlngs, metas].map(column);
    assert!(dlats.len() == handles.len() && dlngs.len() == handles.len() && metas.len() == handles.len(), "columns of one length");
    let fold = |value: i64| ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut before = 0;
    let mut packed = Vec::new();
    for (index, handle) in handles.into_iter().map(i64::cast_unsigned).enumerate() {
        let low = handle & ((1 << 37) - 1);
        packed.extend([low - before, handle >> 37, fold(dlats[index]), fold(dlngs[index]), metas[index].cast_unsigned()]);
        before = low;
    }
    packed
}

fn enter_of(enter: &Value) -> wire::Enter {
    wire::Enter {
        handle: int(enter, "handle"),
        dlat_e7: int(enter, "dlat_e7"),
        dlng_e7: int(enter, "dlng_e7"),
        meta: int(enter, "meta"),
        driver: flag(enter, "driver"),
        id: enter["id"].as_str().expect("an id").to_owned(),
        aboard: int(enter, "aboard"),
        ..wire::Enter::default()
    }
}

/// Absent is 0, as in the schema of record.
fn int<T: TryFrom<i64>>(value: &Value, name: &str) -> T {
    narrow(value.get(name).map_or(0, |number| number.as_i64().expect("an integer")))
}

fn narrow<T: TryFrom<i64>>(number: i64) -> T {
    T::try_from(number).ok().expect("in range")
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).is_some_and(|flag| flag.as_bool().expect("a boolean"))
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().expect("text"), 16).expect("hex digits")
}
