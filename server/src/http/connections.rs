//! The open connections: how many there may be, in all and of one address, and the sweep that ends those which hold a place and do not use it.
//! Knows no bytes and no route.
//!
//! A place is refused by closing the socket at once: an answer would cost more than what is refused. When all are taken, a newcomer gets the place of
//! one who waits for its client, slow heads first: who only holds places cannot keep others out. The sweep works by what each connection says
//! of itself (`Pulse`), in ticks, so that no request reads a clock or sets a timer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::http::pulse::{Cut, Patience, Pulse};
use crate::slots::{Slot, Slots};

/// Between two looks at all connections; a connection outlives its time by at most this much.
pub const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Sweeps between two lines that tell how many were refused and cut.
const SWEEPS_A_REPORT: u32 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub total: usize,
    pub of_address: usize,
}

/// Why a connection was refused its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    Total,
    Address,
}

#[derive(Debug)]
pub struct Connections {
    caps: Caps,
    patience: Patience,
    ticks: Arc<AtomicU32>,
    places: Mutex<Places>,
    refused: [AtomicU32; 2],
}

#[derive(Debug, Default)]
struct Places {
    pulses: Slots<Arc<Pulse>>,
    open: usize,
    /// By `host`. At most as many as places.
    of_address: HashMap<IpAddr, usize>,
    /// Who goes when somebody comes and all places are taken, the first last; made by the sweep while places are short.
    dispensable: Vec<Arc<Pulse>>,
}

/// Between two sweeps at most so many make room; more newcomers are refused.
const MAX_DISPENSABLE: usize = 256;

/// One connection's place, given back when its socket goes.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    slot: Slot,
    /// Whom it is counted by.
    host: IpAddr,
    pulse: Arc<Pulse>,
}

impl Connections {
    pub fn new(caps: Caps, patience: Patience) -> Arc<Self> {
        Arc::new(Self { caps, patience, ticks: Arc::default(), places: Mutex::default(), refused: Default::default() })
    }

    pub fn open(&self) -> usize {
        self.places.lock().open
    }

    /// A place for a connection from `address`.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, NoPlace> {
        let taken = self.try_take(host(address));
        if let Err(refused) = &taken {
            let reason = match refused {
                NoPlace::Total => "total",
                NoPlace::Address => "address",
            };
            counter!("waypost_connections_refused_total", "reason" => reason).increment(1);
            self.refused[*refused as usize].fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn try_take(self: &Arc<Self>, host: IpAddr) -> Result<Place, NoPlace> {
        let mut places = self.places.lock();
        if places.of_address.get(&host).is_some_and(|count| *count >= self.caps.of_address) {
            return Err(NoPlace::Address);
        }
        // Those who made room are about to close; until they have, there is one more for each.
        if places.open >= self.caps.total && !places.make_room(self.ticks.load(Ordering::Relaxed)) {
            return Err(NoPlace::Total);
        }
        *places.of_address.entry(host).or_default() += 1;
        places.open += 1;
        let pulse = Arc::new(Pulse::new(Arc::clone(&self.ticks)));
        let slot = places.pulses.insert(Arc::clone(&pulse));
        gauge!("waypost_connections").set(f64::from(u32::try_from(places.open).unwrap_or(u32::MAX)));
        Ok(Place { connections: Arc::clone(self), slot, host, pulse })
    }

    /// Sweeps until `done`.
    pub async fn sweep(&self, done: CancellationToken) {
        let mut every = tokio::time::interval(SWEEP_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut since_report = Report::default();
        loop {
            tokio::select! { () = done.cancelled() => return, _ = every.tick() => {} }
            let now = self.ticks.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            for cut in self.sweep_once(now) {
                since_report.cut[cut as usize] += 1;
            }
            if now.is_multiple_of(SWEEPS_A_REPORT) {
                since_report.say(self);
                since_report = Report::default();
            }
        }
    }

    fn sweep_once(&self, now: u32) -> Vec<Cut> {
        let mut places = self.places.lock();
        let cut: Vec<Cut> = places.pulses.iter().filter_map(|pulse| pulse.judge(now, &self.patience)).collect();
        let short_of_places = places.open >= self.caps.total - self.caps.total / 8;
        places.dispensable = if short_of_places { places.most_dispensable(now) } else { Vec::new() };
        drop(places);
        for cut in &cut {
            counter!("waypost_connections_cut_total", "reason" => cut.as_str()).increment(1);
        }
        cut
    }
}

impl Places {
    fn most_dispensable(&self, now: u32) -> Vec<Arc<Pulse>> {
        let mut found: Vec<_> = self.pulses.iter().filter_map(|pulse| Some((pulse.dispensable(now)?, Arc::clone(pulse)))).collect();
        found.sort_unstable_by_key(|(order, _)| *order);
        found.truncate(MAX_DISPENSABLE);
        found.into_iter().rev().map(|(_, pulse)| pulse).collect()
    }

    /// Sends one away who waits for a client that has not been heard for a while; `false` when there is none.
    fn make_room(&mut self, now: u32) -> bool {
        while let Some(pulse) = self.dispensable.pop() {
            if pulse.make_room(now) {
                counter!("waypost_connections_cut_total", "reason" => Cut::MadeRoom.as_str()).increment(1);
                return true;
            }
        }
        false
    }
}

/// By what the connections of an address are counted: the address, but of IPv6 its /64, for one host has all addresses of such a network. One that says IPv4
/// in the words of IPv6 counts as what it says.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// What an operator is told of connections that came to nothing: numbers, now and then.
#[derive(Debug, Default)]
struct Report {
    cut: [u32; 4],
}

impl Report {
    fn say(&self, connections: &Connections) {
        let [total, address] = [NoPlace::Total, NoPlace::Address].map(|reason| connections.refused[reason as usize].swap(0, Ordering::Relaxed));
        if total + address > 0 {
            tracing::info!(all_places_taken = total, of_one_address = address, open = connections.open(), "connections were refused");
        }
        let (slow_head, stalled) = (self.cut[Cut::SlowHead as usize], self.cut[Cut::StalledAnswer as usize]);
        if slow_head + stalled > 0 {
            tracing::info!(slow_head, stalled_answer = stalled, "connections were cut");
        }
    }
}

impl Place {
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.connections.places.lock();
        places.pulses.remove(self.slot);
        places.open -= 1;
        if let Some(of_address) = places.of_address.get_mut(&self.host) {
            *of_address -= 1;
            if *of_address == 0 {
                places.of_address.remove(&self.host);
            }
        }
        gauge!("waypost_connections").set(f64::from(u32::try_from(places.open).unwrap_or(u32::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { head_ticks: 4, idle_ticks: 12, answer_ticks: 8 };

    fn connections(total: usize, of_address: usize) -> Arc<Connections> {
        Connections::new(Caps { total, of_address }, PATIENCE)
    }

    #[test]
    fn an_address_has_its_share_and_all_together_have_theirs() {
        let connections = connections(3, 2);
        let [one, other] = [1, 2].map(|last| IpAddr::from([127, 0, 0, last]));
        let first = connections.take(one).expect("room");
        let _second = connections.take(one).expect("room");
        assert_eq!(connections.take(one).expect_err("a third"), NoPlace::Address);
        assert_eq!(connections.take("::ffff:127.0.0.1".parse().expect("an address")).expect_err("the same in other words"), NoPlace::Address);
        let third = connections.take(other).expect("room for another");
        assert_eq!(connections.take(other).expect_err("full"), NoPlace::Total);
        drop((first, third));
        let _fourth = connections.take(one).expect("its place came back");
        assert_eq!((connections.open(), connections.places.lock().of_address.len()), (2, 1), "an address without a connection is forgotten");
    }

    #[test]
    fn a_host_that_has_a_whole_network_of_addresses_has_one_share() {
        let connections = connections(10, 2);
        let take = |address: &str| connections.take(address.parse().expect("an address"));
        let _held = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2"].map(|address| take(address).expect("room"));
        assert_eq!(take("2001:db8:0:1:2:3:4:5").expect_err("the same network"), NoPlace::Address);
        let _next = take("2001:db8:0:2::1").expect("the network beside it");
        let _mapped =
            ["::ffff:192.0.2.1", "::ffff:192.0.2.2", "::ffff:192.0.2.2"].map(|address| take(address).expect("each is an address of its own"));
        assert_eq!(take("192.0.2.2").expect_err("the same in other words"), NoPlace::Address);
    }

    #[test]
    fn who_only_holds_places_makes_room_for_who_comes_and_who_is_at_work_does_not() {
        let patience = Patience { head_ticks: 40, ..PATIENCE };
        let connections = Connections::new(Caps { total: 3, of_address: 3 }, patience);
        let [holder, comer] = [1, 2].map(|last| IpAddr::from([127, 0, 0, last]));
        let held: Vec<_> = (0..3).map(|_| connections.take(holder).expect("room")).collect();
        held[2].pulse().began();
        let sweep = |now| {
            connections.ticks.store(now, Ordering::Relaxed);
            connections.sweep_once(now)
        };
        sweep(1);
        assert_eq!(connections.take(comer).expect_err("nobody has waited for long"), NoPlace::Total);
        sweep(6);
        let comers: Vec<_> = (0..2).map(|_| connections.take(comer).expect("a place is made")).collect();
        assert_eq!(connections.take(comer).expect_err("the last one is at work"), NoPlace::Total);
        drop((held, comers));
        assert_eq!(connections.open(), 0);
    }

    #[test]
    fn the_sweep_cuts_each_that_is_over_its_time_once() {
        let connections = connections(10, 10);
        let places: Vec<_> = (0..3).map(|_| connections.take(IpAddr::from([127, 0, 0, 1])).expect("room")).collect();
        places[1].pulse().began();
        assert_eq!(connections.sweep_once(3), []);
        assert_eq!(connections.sweep_once(4), [Cut::SlowHead, Cut::SlowHead]);
        assert_eq!(connections.sweep_once(5), [], "who is told to go is not told again");
    }
}
