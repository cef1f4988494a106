//! How a thread with milliseconds of work before it lets others in between. Never waits longer than they need.

use std::cell::Cell;

/// Things worked off between two offers of the core: some hundred microseconds.
const THINGS: usize = 512;

thread_local! {
    static SINCE_OFFERED: Cell<usize> = const { Cell::new(0) };
}

/// Call it after each small piece of a long work, with how many things (facts, markers, changes) the piece was. Now and then it offers the core to
/// whoever wants it. A scheduler lets who runs run for a few milliseconds, and on its way to an acknowledgement an event changes threads four times.
pub fn worked(things: usize) {
    SINCE_OFFERED.with(|since| {
        let sum = since.get() + things;
        since.set(if sum < THINGS { sum } else { 0 });
        if sum >= THINGS {
            std::thread::yield_now();
        }
    });
}
