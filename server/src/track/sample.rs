//! Random events, a picture of what changes say, and a brute-force model, for the tests of this folder. Never part of the program.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::sync::mpsc;

use crate::log::block::{Block, BlockNumber, Entry, EntryKind};
use crate::log::prepare::Batch;
use crate::log::records::Records;
use crate::log::{AppendError, Appended, EventLog, LogReader, ReadError};
use crate::model::change::{Carrier, DutyFact, FactChange, FactKind, Fix};
use crate::model::event::{Body, Created, Event, Location, Proof, Stamp, StatusChange};
use crate::model::id::{DeliveryId, DriverId, EventId, Handle, Offset, PartitionId, TenantId};
use crate::model::position::Position;
use crate::model::status::Status;
use crate::model::tags::Attributes;
use crate::model::terms::Boarding;
use crate::model::time::UnixMs;
use crate::track::roster::Limits;
use crate::track::state::PartitionState;

pub(crate) const LIMITS: Limits = Limits { entities_per_tenant: 1000, tombstones: 1000 };

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) offset: Offset,
    pub(crate) ingest_time: UnixMs,
    pub(crate) event: Event,
}

pub(crate) fn event(id: &str, time: i64, actor: Option<&str>, delivery: Option<&str>, body: Body) -> Event {
    Event {
        id: EventId::parse(id).unwrap(),
        tenant: TenantId::parse("acme").unwrap(),
        actor: actor.map(|actor| DriverId::parse(actor).unwrap()),
        delivery: delivery.map(|delivery| DeliveryId::parse(delivery).unwrap()),
        event_time: UnixMs(time),
        schema_version: 1,
        body,
        stamp: Stamp { effective_time: UnixMs(time), ..Stamp::default() },
        unknown: None,
    }
}

pub(crate) fn location(lat: f64) -> Body {
    let position = Position::from_degrees(lat, 11.0).unwrap();
    Body::Location(Location { position, accuracy_m: Some(5.0), speed_mps: None, heading_deg: Some(90.0), altitude_m: None, battery: None })
}

pub(crate) fn status(status: Status) -> Body {
    let proof = (status == Status::Delivered).then(|| Proof { sha256: "ab".repeat(32).into(), url: "https://x".into() });
    Body::Status(Box::new(StatusChange { status, reason: (status == Status::Failed).then(|| "nobody home".into()), proof }))
}

fn body(kind: u8, value: u8) -> Body {
    let position = Position::from_degrees(f64::from(value) / 10.0 + 1.0, 12.0).unwrap();
    match kind {
        0..=3 => location(f64::from(value) / 10.0 + 1.0),
        4 => Body::Created(Box::new(Created {
            pickup: (!value.is_multiple_of(3)).then_some(position),
            destination: Some(position),
            promised_by: (!value.is_multiple_of(2)).then_some(UnixMs(i64::from(value))),
            recipient_ref: (value.is_multiple_of(5)).then(|| "ref".into()),
            attributes: Attributes::new(vec![("size".into(), value.to_string().into())]),
        })),
        5 => Body::Assigned { driver: DriverId::parse(["ann", "bob", "eve"][usize::from(value) % 3]).unwrap() },
        6..=7 => status(Status::ALL[usize::from(value) % 12]),
        8 => Body::Eta { eta: UnixMs(i64::from(value)) },
        9 => Body::Duty { on: value.is_multiple_of(2) },
        _ => Body::Other { name: "vendor.thing".into(), payload: b"{}".to_vec().into() },
    }
}

/// Records in log order: ids unique, two tenants, a few drivers and deliveries, `gap_ms` at most between two ingest times.
pub(crate) fn records(most: usize, gap_ms: i64) -> impl Strategy<Value = Vec<Record>> {
    let one = (0_u8..11, any::<u8>(), 0_usize..3, 0_usize..5, 0_i64..40, 0..=gap_ms, any::<(bool, bool, bool)>());
    prop::collection::vec(one, 1..most).prop_map(|drawn| {
        let mut ingest_time = 1_000_000_000;
        let record = |(index, (kind, value, actor, delivery, time, gap, (uuid, late, tenant)))| {
            ingest_time += gap;
            let body = body(kind, value);
            let names_delivery = match body {
                Body::Location(_) => delivery < 3,
                Body::Duty { .. } | Body::Other { .. } => false,
                _ => true,
            };
            let id = if uuid { format!("0192f0c1-2345-7abc-8def-{index:012x}") } else { format!("e{index}") };
            let delivery = names_delivery.then(|| ["d0", "d1", "d2", "d3", "d4"][delivery]);
            let mut event = event(&id, time, Some(["ann", "bob", "eve"][actor]), delivery, body);
            event.stamp.late = late;
            if tenant && value.is_multiple_of(4) {
                event.tenant = TenantId::parse("globex").unwrap();
            }
            Record { offset: Offset(u64::try_from(index).unwrap()), ingest_time: UnixMs(ingest_time), event }
        };
        (0_usize..).zip(drawn).map(record).collect()
    })
}

pub(crate) fn apply(state: &mut PartitionState, records: &[Record], picture: &mut Picture) {
    for record in records {
        state.apply(record.offset, record.ingest_time, &record.event, &mut |change| picture.apply(change));
    }
}

/// What a marker stage holds after all changes it was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Picture {
    pub(crate) carriers: BTreeMap<(TenantId, Carrier), CarrierPicture>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CarrierPicture {
    pub(crate) own: Option<(Fix, Handle)>,
    pub(crate) duty: Option<(Arc<[DutyFact]>, Handle)>,
    pub(crate) aboard: BTreeMap<DeliveryId, Boarding>,
}

impl Picture {
    pub(crate) fn of(state: &PartitionState) -> Self {
        let mut picture = Self::default();
        state.announcements().for_each(|change| picture.apply(change));
        picture
    }

    pub(crate) fn apply(&mut self, change: FactChange) {
        let key = (change.tenant, change.carrier);
        let carrier = self.carriers.entry(key.clone()).or_default();
        match change.kind {
            FactKind::OwnFix { fix, handle } => {
                assert!(carrier.own.as_ref().is_none_or(|(kept, _)| kept.order < fix.order), "a stale ping was told");
                carrier.own = Some((fix, handle));
            }
            FactKind::Duty { duty, own_event, handle } => {
                assert!(carrier.own.as_ref().is_none_or(|(fix, _)| fix.order.event_id == own_event), "another ping's name was told");
                carrier.duty = Some((duty, handle));
            }
            FactKind::Board(boarding) => drop(carrier.aboard.insert(boarding.delivery.clone(), boarding)),
            FactKind::AboardFix { delivery, fix } => carrier.aboard.get_mut(&delivery).expect("it boarded before").fix = Some(Box::new(fix)),
            FactKind::Alight { delivery, .. } => drop(carrier.aboard.remove(&delivery).expect("it boarded before")),
            FactKind::Heard => {}
            FactKind::Forget => (carrier.own, carrier.duty) = (None, None),
        }
        if *carrier == CarrierPicture::default() {
            self.carriers.remove(&key);
        }
    }
}

/// A log that only notes what is asked of it.
#[derive(Debug, Default)]
pub(crate) struct NotingLog {
    pub(crate) durable: Mutex<Option<BlockNumber>>,
    pub(crate) released: Mutex<Vec<BlockNumber>>,
    pub(crate) clocks: Mutex<Vec<Vec<PartitionId>>>,
}

/// Reads what a test sends, and ends when the test drops the sender.
pub(crate) struct SentBlocks(pub(crate) mpsc::Receiver<Arc<Block>>);

impl LogReader for SentBlocks {
    async fn next(&mut self) -> Result<Option<Arc<Block>>, ReadError> {
        Ok(self.0.recv().await)
    }
}

impl EventLog for NotingLog {
    type Reader = SentBlocks;

    fn partitions(&self) -> u16 {
        2
    }

    async fn append(&self, _batch: Batch) -> Result<Vec<Appended>, AppendError> {
        Err(AppendError::Closing)
    }

    async fn append_clock(&self, partitions: Vec<PartitionId>) -> Result<(), AppendError> {
        self.clocks.lock().unwrap().push(partitions);
        Ok(())
    }

    fn read(&self, _after: Option<BlockNumber>) -> Result<SentBlocks, ReadError> {
        Ok(SentBlocks(mpsc::channel(1).1))
    }

    fn durable(&self) -> Option<BlockNumber> {
        *self.durable.lock().unwrap()
    }

    fn release(&self, block: BlockNumber) {
        self.released.lock().unwrap().push(block);
    }
}

/// The records as blocks of at most `most` events for `partitions` partitions, numbered from 1.
pub(crate) fn blocks(records: &[Record], most: usize, partitions: u16) -> Vec<Arc<Block>> {
    let mut next_offsets = vec![0; usize::from(partitions)];
    let block = |(number, records): (u64, &[Record])| {
        let mut entries: Vec<(PartitionId, Offset, Vec<Event>)> = Vec::new();
        for Record { event, .. } in records {
            let partition = event.partition(partitions);
            let next = &mut next_offsets[partition.index()];
            match entries.iter_mut().find(|(of, ..)| *of == partition) {
                Some((_, _, events)) => events.push(event.clone()),
                None => entries.push((partition, Offset(*next), vec![event.clone()])),
            }
            *next += 1;
        }
        let ingest_time = records.last().expect("a chunk is never empty").ingest_time;
        let entry =
            |(partition, first_offset, events): (_, _, Vec<_>)| Entry { partition, first_offset, kind: EntryKind::Events(Records::of(&events)) };
        Arc::new(Block { number: BlockNumber(number), ingest_time, entries: entries.into_iter().map(entry).collect() })
    };
    (1..).zip(records.chunks(most)).map(block).collect()
}
