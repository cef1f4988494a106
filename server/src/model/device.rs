//! What a phone or a tracker is called by its app. Which driver that is, a tenant's table of devices says.

use super::id::Id;

pub type DeviceId = Id<Device>;

/// Marks an id as a device's.
#[derive(Debug)]
pub enum Device {}
