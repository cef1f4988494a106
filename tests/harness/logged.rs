//! What the server logs at WARN and above while it runs in this process: a clean log is part of every test. Prints nothing.

use std::fmt::Write as _;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collector;

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("memory takes it");
    }
}

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN && event.metadata().target().starts_with("waypost") {
            let mut words = Words(format!("{} {}", event.metadata().level(), event.metadata().target()));
            event.record(&mut words);
            LINES.lock().push(words.0);
        }
    }
}

/// Collects from here on, and forgets what was.
pub(crate) fn collect() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Collector)).expect("the only subscriber of the tests");
    });
    LINES.lock().clear();
}

pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut LINES.lock())
}
