//! Panics that a test asks for: by how it names an event. Never part of the program.

use std::cell::Cell;

use crate::model::event::Event;

thread_local! {
    static MENDED: Cell<bool> = const { Cell::new(false) };
}

/// From here on this thread's program is one without the fault.
pub(crate) fn mend() {
    MENDED.set(true);
}

/// Panics when the event's id begins with `panic-` and the name of this point.
pub(crate) fn strike(point: &str, event: &Event) {
    let id = event.id.to_string();
    assert!(MENDED.get() || !id.strip_prefix("panic-").is_some_and(|rest| rest.starts_with(point)), "asked for by {id}");
}
