//! One status event after the other as bits: ids, times and statuses, each as the difference to what those before let expect. Never says whose they are.

use super::PACKED;
use crate::model::event::{OrderKey, Proof};
use crate::model::id::EventId;
use crate::model::status::Status;
use crate::model::time::UnixMs;
use crate::track::bits::{BitReader, BitWriter, Widths};
use crate::track::status::{StampFlags, StatusDetail, StatusFact};

/// What came before: all is told as the difference to what it lets expect. A moment that an id names, as the one before; when it was, as much after that
/// moment; when it was heard, as much later; the status, the next one.
pub(super) struct Before {
    time: i64,
    after_named: i64,
    lag: i64,
    status: Option<Status>,
}

impl Before {
    /// Of the first nothing is known but that it was at some time since then, or before.
    pub(super) fn any(epoch: UnixMs) -> Self {
        Self { time: epoch.0, after_named: 0, lag: 0, status: None }
    }

    pub(super) fn put_fact(&mut self, bits: &mut BitWriter, fact: &StatusFact) {
        let StatusFact { order, status, detail, ingest_time, flags } = fact;
        let form = Form::of(&order.event_id);
        let is_plain = form == Form::Named && Some(*status) == self.next_status() && detail.is_none() && *flags == StampFlags::default();
        bits.put_flag(is_plain);
        if !is_plain {
            bits.put(form as u64, FORM_BITS);
            bits.put(u64::from(status.code()), 4);
            for flag in [flags.skewed, flags.late, detail.is_some()] {
                bits.put_flag(flag);
            }
        }
        self.put_order(bits, order);
        self.put_heard(bits, *ingest_time);
        self.status = Some(*status);
        if let Some(StatusDetail { reason, proof }) = detail.as_deref() {
            let texts = [reason.as_deref(), proof.as_ref().map(|proof| &*proof.sha256), proof.as_ref().map(|proof| &*proof.url)];
            bits.put_flag(reason.is_some());
            bits.put_flag(proof.is_some());
            texts.into_iter().flatten().for_each(|text| bits.put_str(text));
        }
    }

    pub(super) fn take_fact(&mut self, bits: &mut BitReader<'_>) -> StatusFact {
        let (mut form, mut status, mut flags, mut has_detail) = (Form::Named, self.next_status(), StampFlags::default(), false);
        if !bits.take_flag() {
            form = Form::from_code(bits.take(FORM_BITS));
            status = u8::try_from(bits.take(4)).ok().and_then(Status::from_code);
            flags = StampFlags { skewed: bits.take_flag(), late: bits.take_flag() };
            has_detail = bits.take_flag();
        }
        let order = self.take_order(bits, form);
        let ingest_time = self.take_heard(bits);
        self.status = status;
        let detail = has_detail.then(|| {
            let (has_reason, has_proof) = (bits.take_flag(), bits.take_flag());
            let mut text = || bits.take_string().into();
            Box::new(StatusDetail { reason: has_reason.then(&mut text), proof: has_proof.then(|| Proof { sha256: text(), url: text() }) })
        });
        StatusFact { order, status: status.expect(PACKED), detail, ingest_time, flags }
    }

    /// An order that is no status event's.
    pub(super) fn put_apart(&mut self, bits: &mut BitWriter, order: &OrderKey) {
        bits.put(Form::of(&order.event_id) as u64, FORM_BITS);
        self.put_order(bits, order);
    }

    pub(super) fn take_apart(&mut self, bits: &mut BitReader<'_>) -> OrderKey {
        let form = Form::from_code(bits.take(FORM_BITS));
        self.take_order(bits, form)
    }

    fn put_order(&mut self, bits: &mut BitWriter, order: &OrderKey) {
        let id = &order.event_id;
        let named = match (Form::of(id), id.uuid()) {
            (Form::Named, Some(uuid)) => {
                let number = u128::from_be_bytes(uuid);
                let named = i64::try_from(number >> 80).expect("48 bits");
                self.put_named(bits, named);
                bits.put(low_bits(number >> 64, 12), 12);
                bits.put(low_bits(number, 62), 62);
                Some(named)
            }
            (_, Some(uuid)) => {
                bits.put_bytes(&uuid);
                None
            }
            (_, None) => {
                id.with_str(|text| bits.put_str(text));
                None
            }
        };
        self.put_time(bits, order.effective_time, named);
    }

    fn take_order(&mut self, bits: &mut BitReader<'_>, form: Form) -> OrderKey {
        let (event_id, named) = match form {
            Form::Named => {
                let named = self.take_named(bits);
                let head = named.cast_unsigned() << 16 | 7 << 12 | bits.take(12);
                let number = u128::from(head) << 64 | u128::from(2 << 62 | bits.take(62));
                (EventId::of_uuid(number.to_be_bytes()), Some(named))
            }
            Form::Uuid => (EventId::of_uuid(bits.take_array()), None),
            Form::Text => (EventId::parse(&bits.take_string()).expect(PACKED), None),
        };
        OrderKey { effective_time: self.take_time(bits, named), event_id }
    }

    fn put_named(&mut self, bits: &mut BitWriter, named: i64) {
        bits.put_step(named.wrapping_sub(self.time.wrapping_sub(self.after_named)), &AWAY);
    }

    fn take_named(&mut self, bits: &mut BitReader<'_>) -> i64 {
        self.time.wrapping_sub(self.after_named).wrapping_add(bits.take_step(&AWAY))
    }

    fn put_time(&mut self, bits: &mut BitWriter, time: UnixMs, named: Option<i64>) {
        match named {
            Some(named) => bits.put_step(time.0.wrapping_sub(named.wrapping_add(self.after_named)), &BESIDE),
            None => bits.put_step(time.0.wrapping_sub(self.time), &AWAY),
        }
        self.note(time.0, named);
    }

    fn take_time(&mut self, bits: &mut BitReader<'_>, named: Option<i64>) -> UnixMs {
        let time = match named {
            Some(named) => named.wrapping_add(self.after_named).wrapping_add(bits.take_step(&BESIDE)),
            None => self.time.wrapping_add(bits.take_step(&AWAY)),
        };
        self.note(time, named);
        UnixMs(time)
    }

    fn note(&mut self, time: i64, named: Option<i64>) {
        self.time = time;
        self.after_named = named.map_or(self.after_named, |named| time.wrapping_sub(named));
    }

    /// When what happened last was heard.
    fn put_heard(&mut self, bits: &mut BitWriter, heard: UnixMs) {
        let lag = heard.0.wrapping_sub(self.time);
        bits.put_step(lag.wrapping_sub(self.lag), &LAG);
        self.lag = lag;
    }

    fn take_heard(&mut self, bits: &mut BitReader<'_>) -> UnixMs {
        self.lag = self.lag.wrapping_add(bits.take_step(&LAG));
        UnixMs(self.time.wrapping_add(self.lag))
    }

    /// The status that mostly comes after the one before.
    fn next_status(&self) -> Option<Status> {
        Status::from_code(self.status.map_or(0, Status::code) + 1)
    }
}

/// Of times that lie minutes or days apart.
const AWAY: Widths = Widths { chosen_by: 3, widths: &[4, 17, 20, 23, 26, 30, 38, 44, 48, 54, 64] };
/// How far a time is from the one that its id names: mostly not at all.
const BESIDE: Widths = Widths { chosen_by: 2, widths: &[0, 5, 18, 24, 30, 44, 64] };
/// How much later than the one before it was heard.
const LAG: Widths = Widths { chosen_by: 2, widths: &[4, 11, 18, 24, 30, 44, 64] };

/// How an event's id is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A UUID of version 7: it begins with Unix milliseconds, and six of its bits say what it is.
    Named,
    Uuid,
    Text,
}

const FORM_BITS: u32 = 2;

impl Form {
    fn of(id: &EventId) -> Self {
        id.uuid().map_or(Self::Text, |bytes| if bytes[6] >> 4 == 7 && bytes[8] >> 6 == 2 { Self::Named } else { Self::Uuid })
    }

    fn from_code(code: u64) -> Self {
        [Self::Named, Self::Uuid].into_iter().find(|form| *form as u64 == code).unwrap_or(Self::Text)
    }
}

fn low_bits(number: u128, count: u32) -> u64 {
    u64::try_from(number & ((1 << count) - 1)).expect("fewer than 64 bits")
}
