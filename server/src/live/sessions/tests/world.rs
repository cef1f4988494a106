//! A map, the sessions over it and one client that walks about: what a random step does, and whether client and map agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use proptest::prelude::*;

use super::client::Client;
use super::fleet::{marker, tenant};
use crate::live::Format;
use crate::live::Settings;
use crate::live::sessions::{Frames, Sessions};
use crate::map::cells::{CellKey, SessionId, meta_of};
use crate::map::{Map, SharedMap};
use crate::model::change::MarkerChange;
use crate::model::id::Handle;
use crate::model::scope::Scope;
use crate::model::status::Status;
use crate::model::time::UnixMs;
use crate::wire;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Put {
        number: u64,
        place: (f64, f64),
        status: usize,
        heading: bool,
        driver: u64,
    },
    Remove {
        number: u64,
    },
    View {
        place: (f64, f64),
        half: f64,
        zoom: f64,
        filter: u8,
    },
    Tick,
    /// Views are answered between two ticks.
    Answer,
    Ack,
    /// The link is cut and the client comes back; with a server that started anew when `forgets`.
    Cut {
        resumes: bool,
        forgets: bool,
        away: (bool, bool),
    },
    Wait,
    Forget,
}

const PLACES: [(f64, f64); 3] = [(57.70, 11.97), (-16.8, 179.995), (89.99, 20.0)];

fn place() -> impl Strategy<Value = (f64, f64)> {
    (prop_oneof![6 => Just(PLACES[0]), 2 => Just(PLACES[1]), 1 => Just(PLACES[2])], -0.02..0.02_f64, -0.03..0.03_f64)
        .prop_map(|((lat, lng), dlat, dlng)| ((lat + dlat).min(90.0), crate::map::boxes::wrapped(lng + dlng)))
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let put = (0..30_u64, place(), 0..4_usize, any::<bool>(), 0..20_u64).prop_map(|(number, place, status, heading, driver)| Step::Put {
        number,
        place,
        status,
        heading,
        driver,
    });
    let zoom = prop_oneof![5 => Just(14.0), 3 => Just(11.0), 1 => Just(8.0), 1 => Just(5.0), 1 => Just(1.0)];
    let view = (place(), 0.002..0.03_f64, zoom, 0..9_u8).prop_map(|(place, half, zoom, filter)| Step::View { place, half, zoom, filter });
    let cut = (prop::bool::weighted(0.8), prop::bool::weighted(0.2), any::<(bool, bool)>()).prop_map(|(resumes, forgets, away)| Step::Cut {
        resumes,
        forgets,
        away,
    });
    prop_oneof![
        30 => put, 6 => (0..30_u64).prop_map(|number| Step::Remove { number }), 5 => view, 14 => Just(Step::Tick), 5 => Just(Step::Answer), 10 => Just(Step::Ack),
        2 => cut, 1 => Just(Step::Wait), 1 => Just(Step::Forget)
    ]
}

pub(super) struct World {
    pub(super) map: SharedMap,
    pub(super) sessions: Sessions,
    pub(super) id: u64,
    /// What exists for the client's credential.
    scope: Scope,
    pub(super) client: Client,
    pub(super) view: wire::View,
    /// The view that the client's last frame echoed, by its id.
    views: BTreeMap<u32, wire::View>,
    /// Its view was not taken up yet.
    asked: bool,
    pub(super) now: UnixMs,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        Self::scoped(settings, Scope::ALL)
    }

    pub(super) fn scoped(settings: Settings, scope: Scope) -> Self {
        let mut world = Self {
            map: Arc::new(RwLock::new(Map::default())),
            sessions: Sessions::new(77, settings),
            id: 0,
            scope,
            client: Client::default(),
            view: wire::View { west: 11.0, south: 57.0, east: 12.5, north: 58.0, zoom: 14.0, filter: None, view_id: 1 },
            views: BTreeMap::new(),
            asked: false,
            now: UnixMs(1_000),
        };
        world.open();
        world.look();
        world
    }

    fn open(&mut self) {
        self.id += 1;
        (self.client.behind, self.client.fresh) = (false, true);
        let hello = self.sessions.open(SessionId(self.id), tenant(), self.scope.clone(), Format::Proto, self.now, "test");
        self.client.unacked.clear();
        self.client.bye = None;
        self.client.apply(&hello.join());
    }

    pub(super) fn look(&mut self) {
        self.views.insert(self.view.view_id, self.view.clone());
        self.asked = true;
        assert!(self.sessions.on_view(SessionId(self.id), &self.view).is_none());
    }

    pub(super) fn tick(&mut self) {
        self.now = UnixMs(self.now.0 + 100);
        self.asked = false;
        for (id, frame) in self.sessions.on_tick(&self.map, self.now) {
            assert_eq!(id, SessionId(self.id));
            self.client.apply(&frame.join());
        }
    }

    /// A view that is answered holds all that was applied until now, ticked or not.
    fn answer(&mut self) {
        let frames = self.sessions.on_views(&self.map, self.now);
        for (_, frame) in &frames {
            self.client.apply(&frame.join());
        }
        // What only goes on with a view takes up no cell that appeared since.
        let is_whole = std::mem::take(&mut self.asked) && self.client.view_id == self.view.view_id && !self.client.behind;
        if !frames.is_empty() && self.client.bye.is_none() && is_whole {
            self.compare();
        }
    }

    pub(super) fn ack(&mut self) {
        self.client.unacked.clear();
        self.sessions.on_ack(SessionId(self.id), self.client.tick, self.now);
    }

    pub(super) fn step(&mut self, step: Step) {
        let applying = self.sessions.applying();
        match step {
            Step::Put { number, place, status, heading, driver } => self.map.write().apply(marker(number, place, status, heading, driver), applying),
            Step::Remove { number } => {
                let handle = Handle((number % 3) << 37 | number);
                let remove = MarkerChange::Remove { tenant: tenant(), handle, ended: Some(Status::Delivered), ingest_time: self.now };
                self.map.write().apply(remove, applying);
            }
            Step::View { place: (lat, lng), half, zoom, filter } => {
                let filter = match filter {
                    0 => Some(wire::Filter { statuses: vec![2, 5], ..wire::Filter::default() }),
                    1 => Some(wire::Filter { drivers: (0..9).map(|n| format!("van-{n}")).collect(), ..wire::Filter::default() }),
                    2 => Some(wire::Filter { tags: vec!["size=xl".to_owned(), "cold".to_owned()], ..wire::Filter::default() }),
                    3 => Some(wire::Filter { late_risk: true, ..wire::Filter::default() }),
                    4 => Some(wire::Filter { tags: vec!["size".to_owned()], late_risk: true, statuses: vec![0, 2, 5], ..wire::Filter::default() }),
                    _ => None,
                };
                let (west, east) = (crate::map::boxes::wrapped(lng - half), crate::map::boxes::wrapped(lng + half));
                let view_id = self.view.view_id + 1;
                self.view = wire::View { west, south: lat - half, east, north: lat + half, zoom, filter, view_id };
                self.look();
            }
            Step::Tick => self.tick(),
            Step::Answer => self.answer(),
            Step::Ack => self.ack(),
            Step::Cut { resumes, forgets, away } => self.cut(resumes, forgets, away),
            Step::Wait => {
                self.now = UnixMs(self.now.0 + 4_000);
                let mut frames = Frames::new();
                self.sessions.on_timer(&self.map, self.now, &mut frames);
                for (_, frame) in frames {
                    self.client.apply(&frame.join());
                }
            }
            Step::Forget => {
                let horizon = self.sessions.tick;
                self.map.write().tenant_mut(&tenant()).forget_emptied(horizon);
            }
        }
        if self.client.bye.is_some() {
            self.cut(true, false, (true, false));
        }
    }

    fn cut(&mut self, resumes: bool, forgets: bool, (ticks, empties_forgotten): (bool, bool)) {
        self.client.bye = None;
        self.sessions.close(SessionId(self.id), &self.map);
        // Things happen while the client is away, perhaps ticked, and what emptied is perhaps forgotten.
        self.step(Step::Put { number: 3, place: PLACES[0], status: 1, heading: false, driver: 1 });
        for number in 5..12 {
            self.step(Step::Remove { number });
        }
        if ticks {
            assert!(self.sessions.on_tick(&self.map, self.now).is_empty());
        }
        if empties_forgotten {
            let horizon = self.sessions.applying();
            self.map.write().tenant_mut(&tenant()).forget_emptied(horizon);
        }
        let epoch = if forgets { 5 } else { 77 };
        self.open();
        let held = self.views.get(&self.client.view_id).cloned().filter(|_| resumes && self.client.tick > 0);
        if let Some(view) = held {
            let sources = vec![wire::Source { epoch, tick: self.client.tick }];
            let resume = wire::Resume { sources, view: Some(view), level: self.client.level };
            assert!(self.sessions.on_resume(SessionId(self.id), &resume).is_none());
            self.tick();
        }
        self.look();
    }

    /// All acknowledged and ticked: the client must hold what the map holds.
    pub(super) fn settle_and_compare(&mut self) {
        // However little fits a frame.
        const ENOUGH: usize = 100;
        for round in 0..ENOUGH {
            self.ack();
            self.tick();
            if round > 1 && !self.client.behind {
                break;
            }
        }
        assert_eq!(self.client.view_id, self.view.view_id);
        assert!(!self.client.behind);
        self.compare();
    }

    fn compare(&self) {
        let session = &self.sessions.by_id[&SessionId(self.id)];
        let view = session.view.as_ref().unwrap();
        let shared = self.map.read();
        let Some(map) = shared.tenant(&tenant()) else { return };
        for cell in map.cover(view.level, &view.viewport) {
            assert!(session.held.holds(cell), "a covered cell is held");
        }
        let mut markers = BTreeMap::new();
        let mut counts: BTreeMap<u64, BTreeMap<i32, u32>> = BTreeMap::new();
        for (placed, cell) in
            (0..30_u64).filter_map(|n| map.marker(Handle((n % 3) << 37 | n))).flat_map(|placed| session.held.cells().map(move |cell| (placed, cell)))
        {
            let key = CellKey { level: view.level, cell };
            let Some(m) = view.filter.seen(&placed.marker).filter(|_| map.stands_in(placed, key)) else { continue };
            let code = m.words().status_code();
            if view.level.is_counts() {
                *counts.entry(u64::from(cell)).or_default().entry(i32::from(code)).or_default() += 1;
            } else {
                let shown = view.level.shown(m.position());
                markers.insert(m.handle().0, (u64::from(cell), shown.lat_e7(), shown.lng_e7(), view.level.masked(meta_of(&m)), m.name().to_owned()));
            }
        }
        let counts: BTreeMap<u64, Vec<(i32, u32)>> = counts.into_iter().map(|(cell, counts)| (cell, counts.into_iter().collect())).collect();
        assert_eq!(self.client.markers, markers);
        assert_eq!(self.client.counts, counts);
    }
}
