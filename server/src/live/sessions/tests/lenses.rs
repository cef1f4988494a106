//! No lens ever shows what it may not: vans, parcels, credentials and wishes walk at random, and every message is held against a brute-force model.

mod judge;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use proptest::prelude::*;
use prost::Message as _;

use super::client::Client;
use super::fleet::tenant;
use super::sight::{Parcel, Right, Seen, Thing, Wish, counts, ended, place};
use crate::live::sessions::{Frames, Sessions};
use crate::live::{Format, OutFrame, Settings};
use crate::map::cells::SessionId;
use crate::map::{Map, SharedMap};
use crate::model::change::MarkerChange;
use crate::model::id::Handle;
use crate::model::status::Status;
use crate::model::time::UnixMs;
use crate::wire;

const VANS: u64 = 6;
const PARCELS: u64 = 8;
const EPOCH: u64 = 77;
const HERE: Option<[f64; 4]> = Some([11.96, 57.695, 11.985, 57.71]);
const RIGHTS: [Right; 8] = [
    Right { drivers: None, deliveries: None, area: None },
    Right { drivers: Some(&["van-0", "van-3", "van-4"]), deliveries: None, area: None },
    Right { drivers: None, deliveries: Some(&["p-0", "p-2", "p-5"]), area: None },
    Right { drivers: None, deliveries: None, area: HERE },
    Right { drivers: None, deliveries: Some(&["p-1", "p-2", "p-3", "p-4"]), area: HERE },
    Right { drivers: Some(&["van-1", "van-2", "van-3"]), deliveries: Some(&["p-2", "p-3", "p-6"]), area: None },
    Right { drivers: Some(&[]), deliveries: None, area: None },
    Right { drivers: None, deliveries: Some(&["p-7"]), area: None },
];
const WISHES: [Wish; 9] = [
    Wish { statuses: &[], drivers: &[], tags: &[], late_risk: false },
    Wish { statuses: &[2, 5], drivers: &[], tags: &[], late_risk: false },
    Wish { statuses: &[], drivers: &["van-0", "van-1", "van-2"], tags: &[], late_risk: false },
    Wish { statuses: &[], drivers: &[], tags: &["size=xl"], late_risk: false },
    Wish { statuses: &[], drivers: &[], tags: &["size", "cold=yes"], late_risk: false },
    Wish { statuses: &[], drivers: &[], tags: &[], late_risk: true },
    Wish { statuses: &[], drivers: &[], tags: &["cold"], late_risk: true },
    Wish { statuses: &[0, 5, 8, 9], drivers: &["van-0", "van-3", "van-5"], tags: &["express", "size=s"], late_risk: false },
    Wish { statuses: &[5], drivers: &[], tags: &[], late_risk: true },
];
const STATUSES: [Status; 5] = [Status::Assigned, Status::PickedUp, Status::Arrived, Status::Delivered, Status::Failed];
const TAGS: [&[(&str, &str)]; 4] = [&[], &[("size", "xl")], &[("express", ""), ("size", "s")], &[("cold", "yes"), ("size", "xl")]];
/// On both sides of each level's border.
const ZOOMS: [f64; 6] = [14.0, 14.0, 11.0, 8.0, 5.0, 1.0];

/// A deed and numbers that say what exactly.
type Step = (u8, u8, u8, u8);

fn step() -> impl Strategy<Value = Step> {
    let deed = prop_oneof![5 => Just(0_u8), 12 => Just(1), 4 => Just(2), 1 => Just(3), 3 => Just(4), 4 => Just(5), 2 => Just(6), 10 => Just(7), 8 => Just(8), 1 => Just(9), 2 => Just(10), 8 => Just(11)];
    (deed, any::<u8>(), any::<u8>(), any::<u8>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_lens_ever_shows_an_entry_that_it_may_not(steps in prop::collection::vec(step(), 1..160), rights in prop::array::uniform3(0..RIGHTS.len()), tight in any::<bool>()) {
        let mut settings = Settings { verify_every: std::time::Duration::from_millis(300), ..Settings::default() };
        if tight {
            (settings.max_bytes_in_flight, settings.max_cells_per_view, settings.max_markers_per_view) = (300, 6, 12);
        }
        let mut walk = Walk::new(settings, rights);
        for (index, step) in steps.into_iter().enumerate() {
            walk.step(step);
            if index % 40 == 39 {
                walk.settle_and_compare();
            }
        }
        walk.settle_and_compare();
    }
}

/// One who looks on.
struct Onlooker {
    id: SessionId,
    right: Right,
    client: Client,
    views: BTreeMap<u32, (wire::View, Wish)>,
    follows: String,
    followed: Option<wire::FollowedDelivery>,
}

struct Walk {
    map: SharedMap,
    sessions: Sessions,
    things: BTreeMap<u64, Thing>,
    onlookers: Vec<Onlooker>,
    opened: u64,
    now: UnixMs,
}

fn parcel(number: u64, a: u8, b: u8) -> Parcel {
    let status = STATUSES[usize::from(a) % STATUSES.len()];
    Parcel { id: format!("p-{number}"), status, tags: TAGS[usize::from(b) % TAGS.len()], late_risk: !ended(status) && (b / 4).is_multiple_of(3) }
}

impl Walk {
    fn new(settings: Settings, rights: [usize; 3]) -> Self {
        let (map, sessions) = (Arc::new(RwLock::new(Map::default())), Sessions::new(EPOCH, settings));
        let mut walk = Self { map, sessions, things: BTreeMap::new(), onlookers: Vec::new(), opened: 0, now: UnixMs(1_000) };
        for right in rights {
            let (client, views) = (Client::default(), BTreeMap::new());
            walk.onlookers.push(Onlooker { id: SessionId(0), right: RIGHTS[right], client, views, follows: String::new(), followed: None });
            let index = walk.onlookers.len() - 1;
            walk.open(index);
            walk.look(index, (0, 0, 0));
        }
        walk
    }

    fn open(&mut self, index: usize) {
        self.opened += 1;
        let onlooker = &mut self.onlookers[index];
        onlooker.id = SessionId(self.opened);
        let hello = self.sessions.open(onlooker.id, tenant(), onlooker.right.scope(), Format::Proto, self.now, "test");
        onlooker.client.unacked.clear();
        (onlooker.client.bye, onlooker.client.behind, onlooker.client.fresh) = (None, false, true);
        onlooker.client.apply(&hello.join());
        (onlooker.followed, onlooker.client.followed) = (None, None);
        assert!(self.sessions.on_follow(onlooker.id, &onlooker.follows).is_none());
    }

    fn look(&mut self, index: usize, (a, b, c): (u8, u8, u8)) {
        let onlooker = &mut self.onlookers[index];
        let ((lat, lng), wish) = (place((a, a / 9)), WISHES[usize::from(b) % WISHES.len()]);
        let half = if a.is_multiple_of(3) { 1.0 } else { 0.006 };
        let view_id = onlooker.views.last_key_value().map_or(1, |(id, _)| id + 1);
        let (west, south, east, north) = (lng - half, lat - half, lng + half, lat + half);
        let view = wire::View { west, south, east, north, zoom: ZOOMS[usize::from(c) % ZOOMS.len()], filter: Some(wish.wire()), view_id };
        onlooker.views.insert(view_id, (view.clone(), wish));
        assert!(self.sessions.on_view(onlooker.id, &view).is_none());
    }

    fn put(&mut self, number: u64, thing: Thing) {
        self.map.write().apply(thing.put(Handle(number)), self.sessions.applying());
        self.things.insert(number, thing);
    }

    fn remove(&mut self, number: u64) {
        let remove = MarkerChange::Remove { tenant: tenant(), handle: Handle(number), ended: Some(Status::Delivered), ingest_time: self.now };
        self.map.write().apply(remove, self.sessions.applying());
        self.things.remove(&number);
    }

    /// Takes a parcel from whoever has it, but for `kept`.
    fn take(&mut self, id: &str, kept: u64) {
        let holders: Vec<u64> = self
            .things
            .iter()
            .filter(|(number, thing)| **number != kept && thing.aboard.iter().any(|p| p.id == id))
            .map(|(number, _)| *number)
            .collect();
        for holder in holders {
            let mut thing = self.things[&holder].clone();
            thing.aboard.retain(|parcel| parcel.id != id);
            if thing.driver.is_some() { self.put(holder, thing) } else { self.remove(holder) }
        }
    }

    fn step(&mut self, (deed, a, b, c): Step) {
        let (van, number) = (u64::from(a) % VANS, u64::from(b) % PARCELS);
        let waits = 100 + number;
        let index = usize::from(a) % self.onlookers.len();
        match deed {
            0 => {
                let aboard = self.things.get(&van).map_or_else(Vec::new, |thing| thing.aboard.clone());
                self.put(van, Thing { driver: Some(format!("van-{van}")), place: place((b, c)), aboard });
            }
            // A parcel comes aboard or changes, first here or first gone where it was, perhaps a tick apart.
            1 => {
                let mut thing =
                    self.things.get(&van).cloned().unwrap_or(Thing { driver: Some(format!("van-{van}")), place: place((c, a)), aboard: vec![] });
                let parcel = parcel(number, c, a / 6);
                thing.aboard.retain(|other| other.id != parcel.id);
                thing.aboard.push(parcel.clone());
                thing.aboard.sort_by(|a, b| a.id.cmp(&b.id));
                if c & 128 == 0 {
                    self.take(&parcel.id, van);
                }
                if c & 64 == 0 {
                    self.tick();
                }
                self.put(van, thing);
                self.take(&parcel.id, van);
            }
            2 => {
                let parcel = parcel(number, a, c);
                self.take(&parcel.id, waits);
                self.put(waits, Thing { driver: None, place: place((a, c)), aboard: vec![parcel] });
            }
            3 => self.remove(van),
            4 => self.take(&format!("p-{number}"), u64::MAX),
            5 => {
                self.look(index, (b, c, a / 3));
                // Between two ticks, in the middle of what the next one tells.
                if c.is_multiple_of(2) {
                    let frames = self.sessions.on_views(&self.map, self.now);
                    self.take_in(frames);
                }
            }
            6 => {
                let follows = if c.is_multiple_of(5) { String::new() } else { format!("p-{number}") };
                assert!(self.sessions.on_follow(self.onlookers[index].id, &follows).is_none());
                let onlooker = &mut self.onlookers[index];
                (onlooker.follows, onlooker.followed, onlooker.client.followed) = (follows, None, None);
            }
            7 => self.tick(),
            8 => self.ack(index),
            9 => self.timer(),
            11 => self.relabel(usize::from(a), usize::from(b), c),
            _ => self.cut(index, !c.is_multiple_of(4)),
        }
    }

    /// Changes one thing of one parcel, which is all that is new of who carries it.
    fn relabel(&mut self, thing: usize, parcel: usize, c: u8) {
        let carriers: Vec<u64> = self.things.iter().filter(|(_, thing)| !thing.aboard.is_empty()).map(|(number, _)| *number).collect();
        let Some(number) = carriers.get(thing % carriers.len().max(1)) else { return };
        let mut thing = self.things[number].clone();
        let count = thing.aboard.len();
        let parcel = &mut thing.aboard[parcel % count];
        if c.is_multiple_of(4) {
            parcel.late_risk = !parcel.late_risk && !ended(parcel.status);
        } else {
            parcel.tags = TAGS[usize::from(c) % TAGS.len()];
        }
        self.put(*number, thing);
    }

    fn ack(&mut self, index: usize) {
        let Onlooker { id, client, .. } = &mut self.onlookers[index];
        client.unacked.clear();
        self.sessions.on_ack(*id, client.tick, self.now);
    }

    fn tick(&mut self) {
        self.now = UnixMs(self.now.0 + 100);
        let frames = self.sessions.on_tick(&self.map, self.now);
        self.take_in(frames);
    }

    fn timer(&mut self) {
        self.now = UnixMs(self.now.0 + 1_000);
        let mut frames = Frames::new();
        self.sessions.on_timer(&self.map, self.now, &mut frames);
        self.take_in(frames);
    }

    fn cut(&mut self, index: usize, resumes: bool) {
        self.sessions.close(self.onlookers[index].id, &self.map);
        self.open(index);
        let Onlooker { id, client, views, .. } = &self.onlookers[index];
        if let (Some((view, _)), true) = (views.get(&client.view_id), resumes) {
            let sources = vec![wire::Source { epoch: EPOCH, tick: client.tick }];
            assert!(self.sessions.on_resume(*id, &wire::Resume { sources, view: Some(view.clone()), level: client.level }).is_none());
        } else {
            let (_, (view, _)) = views.last_key_value().unwrap();
            assert!(self.sessions.on_view(*id, view).is_none());
        }
    }

    fn take_in(&mut self, frames: Vec<(SessionId, OutFrame)>) {
        for (id, frame) in frames {
            let Some(index) = self.onlookers.iter().position(|onlooker| onlooker.id == id) else { continue };
            let (onlooker, things) = (&mut self.onlookers[index], &self.things);
            onlooker.client.apply(&frame.join());
            let frame = wire::Frame::decode(frame.join()).unwrap();
            if frame.bye.is_some() {
                self.cut(index, true);
            } else if frame.tick > 0 {
                onlooker.judge(&frame, things);
            }
        }
    }

    /// All acknowledged and ticked: each holds what exists for it in its view, to the last.
    fn settle_and_compare(&mut self) {
        // However little fits a frame.
        for round in 0..40 {
            (0..self.onlookers.len()).for_each(|index| self.ack(index));
            if round < 4 {
                self.timer();
            }
            self.tick();
        }
        for onlooker in &self.onlookers {
            onlooker.compare(&self.things);
        }
    }
}
