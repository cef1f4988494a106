//! What a phone's next ping is worth: who is looked at and who is near a stop, as the stages behind the log say it about once a second, for the way in to read. Decides nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::model::id::{DriverId, TenantId};

/// Published whole and swapped, so that nobody who reads holds up who writes.
#[derive(Debug)]
pub struct Attention {
    watched: RwLock<Arc<Watched>>,
    /// Of each marker shard.
    near_stops: Box<[RwLock<Arc<NearStops>>]>,
}

/// The cells that live sessions look at, by tenant; H3 indexes of any resolution.
#[derive(Debug, Default)]
pub struct Watched {
    tenants: HashMap<TenantId, HashSet<u64>>,
    cells: usize,
    /// There were more cells than are kept: everything counts as looked at.
    everything: bool,
}

/// Drivers that carry something and are close to where it goes next, by `driver_key`.
pub type NearStops = HashSet<u64>;

impl Attention {
    pub fn new(shards: usize) -> Self {
        Self { watched: RwLock::default(), near_stops: (0..shards).map(|_| RwLock::default()).collect() }
    }

    pub fn set_watched(&self, watched: Watched) {
        *self.watched.write() = Arc::new(watched);
    }

    pub fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.watched.read())
    }

    pub fn set_near_stops(&self, shard: usize, drivers: NearStops) {
        if let Some(place) = self.near_stops.get(shard) {
            *place.write() = Arc::new(drivers);
        }
    }

    pub fn is_near_stop(&self, driver: u64) -> bool {
        self.near_stops.iter().any(|drivers| drivers.read().contains(&driver))
    }
}

impl Watched {
    /// Kept at most, of all tenants.
    pub const MAX_CELLS: usize = 1 << 16;

    pub fn add(&mut self, tenant: TenantId, cells: impl Iterator<Item = u64>) {
        for cell in cells {
            if self.cells >= Self::MAX_CELLS {
                self.everything = true;
                return;
            }
            self.cells += usize::from(self.tenants.entry(tenant).or_default().insert(cell));
        }
    }

    /// Whether anybody of this tenant looks at anything.
    pub fn is_any(&self, tenant: TenantId) -> bool {
        self.everything || self.tenants.contains_key(&tenant)
    }

    pub fn holds(&self, tenant: TenantId, cell: u64) -> bool {
        self.everything || self.tenants.get(&tenant).is_some_and(|cells| cells.contains(&cell))
    }
}

/// What a driver goes by here. Two whose keys meet are taken for one another, which costs a ping more or less.
pub fn driver_key(tenant: TenantId, driver: &DriverId) -> u64 {
    xxh3_64_with_seed(driver.as_str().as_bytes(), xxh3_64_with_seed(tenant.as_str().as_bytes(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_cells_than_are_kept_count_as_everything() {
        let [acme, globex] = ["acme", "globex"].map(|tenant| TenantId::parse(tenant).unwrap());
        let mut watched = Watched::default();
        watched.add(acme, 0..10);
        assert!(watched.holds(acme, 9) && !watched.holds(acme, 10) && !watched.holds(globex, 9) && !watched.is_any(globex));
        watched.add(acme, 0..=Watched::MAX_CELLS as u64);
        assert!(watched.holds(globex, 1 << 40));
        assert_eq!(watched.cells, Watched::MAX_CELLS);
    }

    #[test]
    fn a_driver_is_near_a_stop_as_long_as_its_shard_says_so() {
        let attention = Attention::new(2);
        let driver = driver_key(TenantId::parse("acme").unwrap(), &DriverId::parse("ann").unwrap());
        attention.set_near_stops(1, [driver].into());
        attention.set_near_stops(7, [driver].into());
        assert!(attention.is_near_stop(driver) && !attention.is_near_stop(driver + 1));
        attention.set_near_stops(1, NearStops::new());
        assert!(!attention.is_near_stop(driver));
    }
}
