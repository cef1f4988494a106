//! The drivers of a shard that are near a stop, as the way in wants to know them. Asks each driver when its marker is settled; never looks for one.

use super::entry::Entry;
use crate::attention::{NearStops, driver_key};

#[derive(Debug, Default)]
pub(super) struct Nearby {
    drivers: NearStops,
    /// They are others than at the last `take`.
    changed: bool,
}

/// Drivers of one shard that are known to be near a stop; of more, nobody says so.
const MAX_DRIVERS: usize = 100_000;

impl Nearby {
    /// Looks again at a carrier that was settled.
    pub(super) fn note(&mut self, entry: &mut Entry) {
        let Some(driver) = entry.facts.driver() else { return };
        let was_near = entry.near_stop();
        // Most carry nothing, and then nothing is looked up.
        if entry.facts.aboard_count() == 0 && !was_near {
            return;
        }
        let near = entry.is_near_stop() && (was_near || self.drivers.len() < MAX_DRIVERS);
        if near != was_near {
            let key = driver_key(entry.facts.tenant(), driver);
            entry.set_near_stop(near);
            self.changed = true;
            let _was_there = if near { self.drivers.insert(key) } else { self.drivers.remove(&key) };
        }
    }

    /// All of them, if they are others than at the last call.
    pub(super) fn take(&mut self) -> Option<NearStops> {
        std::mem::take(&mut self.changed).then(|| self.drivers.clone())
    }
}
