//! How the server logs: one line an event on stderr, for people or as JSON, with the request it is about. What may be said of an address is `strike`'s.
//!
//! At info and above stands nothing secret and no position; at debug neither secrets nor positions of requests (`tests/logs.rs`).

#[cfg(feature = "otlp")]
pub mod otlp;
pub mod request_id;
pub mod strike;

use std::fmt;
use std::io::IsTerminal as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::shell::LogFormat;
use request_id::RequestId;

/// What needs an end of its own: traces that are not sent yet.
#[derive(Debug, Default)]
pub struct Logging {
    #[cfg(feature = "otlp")]
    traces: Option<otlp::Traces>,
}

/// Logs to stderr from here on, so that stdout carries only what scripts read. `WAYPOST_LOG` says what is logged.
pub fn start(format: LogFormat) -> Logging {
    let filter = EnvFilter::try_from_env("WAYPOST_LOG").unwrap_or_else(|_| "info".into());
    // A reader of stderr that goes away must not take the server along: the default tells of a failed write by a print, which then panics.
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).log_internal_errors(false);
    let lines = match format {
        LogFormat::Pretty => tracing_subscriber::Layer::boxed(lines.event_format(Line)),
        LogFormat::Json => tracing_subscriber::Layer::boxed(lines.event_format(Json)),
    };
    let registry = tracing_subscriber::registry().with(tracing_subscriber::Layer::with_filter(lines, filter));
    std::panic::set_hook(Box::new(tell_panic));
    #[cfg(feature = "otlp")]
    {
        let (traces, layer) = otlp::start();
        registry.with(layer).init();
        Logging { traces }
    }
    #[cfg(not(feature = "otlp"))]
    {
        registry.init();
        Logging::default()
    }
}

impl Logging {
    /// Sends what is not sent yet.
    pub fn end(self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            traces.end();
        }
    }
}

/// Where it happened, and no more: a message may quote what came from outside.
fn tell_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(|place| format!("{}:{}:{}", place.file(), place.line(), place.column())).unwrap_or_default();
    let message = panic.payload().downcast_ref::<&'static str>().copied();
    tracing::error!(place, message, "a bug: a task panicked");
}

/// For people.
#[derive(Debug)]
struct Line;

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N> for Line {
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if writer.has_ansi_escapes() {
            write!(writer, " \x1b[{}m{level:>5}\x1b[0m \x1b[2m{target}:\x1b[0m ", colour(level))?;
        } else {
            write!(writer, " {level:>5} {target}: ")?;
        }
        context.format_fields(writer.by_ref(), event)?;
        if let Some(id) = RequestId::current() {
            write!(writer, " request_id={}", id.as_str())?;
        }
        writeln!(writer)
    }
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// For programs: an object a line with `timestamp`, `level`, `target`, `message`, `request_id` where there is one, and the event's own fields.
#[derive(Debug)]
struct Json;

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N> for Json {
    fn format_event(&self, _context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let Fields(mut line) = fields;
        if let Some(id) = RequestId::current() {
            line.insert("request_id".to_owned(), id.as_str().into());
        }
        line.insert("timestamp".to_owned(), time.into());
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        line.insert("target".to_owned(), event.metadata().target().into());
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged<E>(format: E, what: impl FnOnce()) -> String
    where
        E: FormatEvent<tracing_subscriber::Registry, tracing_subscriber::fmt::format::DefaultFields> + Send + Sync + 'static,
    {
        let paper = Paper::default();
        let made = paper.clone();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || made.clone()).event_format(format);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), what);
        String::from_utf8(paper.0.lock().clone()).expect("text")
    }

    /// What is said meanwhile on this thread, at every level.
    pub(crate) fn said(what: impl FnOnce()) -> String {
        logged(Line, what)
    }

    #[test]
    fn a_line_is_an_object_with_its_fields_and_its_request() {
        let line = logged(Json, || {
            let id = RequestId::given(b"abc").expect("sane");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(id.during(async { tracing::warn!(count = 3, name = "a \"b\"\n", good = true, "it happened") }));
        });
        let told: Value = serde_json::from_str(line.trim_end()).expect("one line of JSON");
        assert_eq!((told["message"].as_str(), told["count"].as_u64(), told["good"].as_bool()), (Some("it happened"), Some(3), Some(true)));
        assert_eq!((told["level"].as_str(), told["request_id"].as_str(), told["name"].as_str()), (Some("WARN"), Some("abc"), Some("a \"b\"\n")));
        assert!(told["target"].as_str().is_some_and(|target| target.starts_with("waypost::logging")), "{told}");
    }

    #[test]
    fn a_line_for_people_says_the_same() {
        let line = logged(Line, || tracing::info!(count = 3, "it happened"));
        assert!(line.contains("  INFO waypost::logging::tests: it happened count=3\n"), "{line}");
    }
}
