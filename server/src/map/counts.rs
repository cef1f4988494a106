//! How many markers a cell of counts has of which kind. Never knows which markers those are.

use super::cells::status_code;
use crate::model::marker::Marker;

/// By status code; 0 counts idle drivers.
pub type StatusCounts = [u32; 13];

/// What a marker is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub status: u8,
    pub late_risk: bool,
}

impl Counted {
    pub fn of(marker: &Marker) -> Self {
        Self { status: status_code(marker), late_risk: marker.late_risk() }
    }
}

/// The counts of one cell. `late <= all`, status by status.
#[derive(Debug, Default)]
pub struct Counts {
    all: StatusCounts,
    /// Those at risk of being late; most cells never had one.
    late: Option<Box<StatusCounts>>,
    markers: u32,
}

impl Counts {
    pub(super) const NONE: Self = Self { all: [0; 13], late: None, markers: 0 };

    pub fn markers(&self) -> u32 {
        self.markers
    }

    pub fn all(&self) -> StatusCounts {
        self.all
    }

    pub fn late(&self) -> StatusCounts {
        self.late.as_deref().copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, Counted { status, late_risk }: Counted) {
        self.all[usize::from(status)] += 1;
        self.markers += 1;
        if late_risk {
            self.late.get_or_insert_default()[usize::from(status)] += 1;
        }
    }

    pub(super) fn remove(&mut self, Counted { status, late_risk }: Counted) {
        self.all[usize::from(status)] -= 1;
        self.markers -= 1;
        if late_risk {
            self.late.get_or_insert_default()[usize::from(status)] -= 1;
        }
    }
}
