//! Traces of requests, sent to a collector as OTLP over HTTP. Only with the feature `otlp`, and only when the environment names a collector.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::{Level, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Filtered, Targets};
use tracing_subscriber::registry::LookupSpan;

/// Either names a collector, as everywhere with OTLP.
const COLLECTOR: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Spans that wait to be sent; a full queue drops them.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

type Spans<S> = Filtered<OpenTelemetryLayer<S, SdkTracer>, Targets, S>;

/// Begins to send, before any runtime runs: the sender has a thread of its own.
pub fn start<S: Subscriber + for<'a> LookupSpan<'a>>() -> (Option<Traces>, Option<Spans<S>>) {
    if !COLLECTOR.iter().any(|name| std::env::var_os(name).is_some()) {
        return (None, None);
    }
    match provider() {
        Ok(provider) => {
            // Ours alone: the sender must not trace itself.
            let ours = Targets::new().with_target("waypost", Level::DEBUG);
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("waypost")).with_filter(ours);
            (Some(Traces(provider)), Some(layer))
        }
        Err(error) => {
            // Nothing is logged yet, and a server without traces is better than none.
            drop(std::io::Write::write_all(&mut std::io::stderr(), format!("no traces are sent: {error}\n").as_bytes()));
            (None, None)
        }
    }
}

fn provider() -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder().with_http().build()?;
    let resource = Resource::builder().with_service_name("waypost").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Traces {
    /// Sends what is left.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::debug!(%error, "the last traces were not sent");
        }
    }
}
