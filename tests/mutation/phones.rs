//! The rows of the phone apps' formats. Their samples are the recordings of what those apps send.

use waypost::formats::phone::Heard;
use waypost::formats::{cloudevents, gpslogger, osmand, overland, owntracks, traccar};
use waypost::model::speed::SpeedUnit;
use waypost::model::time::UnixMs;

use super::parsers::{Parser, tenant, text};
use crate::harness::phone::recording;

const NOW: UnixMs = UnixMs(1_795_509_000_000);

pub(super) fn rows() -> Vec<Parser> {
    let bodies = |names: &[&str]| names.iter().map(|name| body(name)).collect::<Vec<_>>();
    vec![
        text("OsmAnd", vec![query("osmand-app"), query("traccar-client-8"), body("traccar-client-8-form")], |input| {
            // In the address and as a form.
            let asked = said(&osmand::decode(input, b"", SpeedUnit::Knots));
            assert_eq!(asked, said(&osmand::decode(b"", input, SpeedUnit::Knots)), "one text, one reading");
            asked
        }),
        text("Traccar Client, JSON", bodies(&["traccar-client-9"]), |input| said(&traccar::decode(input))),
        text("OwnTracks", bodies(&["owntracks-location", "owntracks-transition", "owntracks-status"]), |input| {
            said(&owntracks::decode(input, &owntracks::Origin::default()))
        }),
        text("Overland", bodies(&["overland-batch"]), |input| overland::decode(input, 1000).is_ok_and(|heard| said(&heard))),
        text("GPSLogger", vec![query("gpslogger-default"), body("gpslogger-all")], |input| said(&gpslogger::decode(input, b""))),
        text("CloudEvents", bodies(&["cloudevents-structured"]), |input| cloudevents::decode(input, &tenant(), NOW).0.is_ok()),
        text("CloudEvents, batch", bodies(&["cloudevents-batch"]), |input| {
            let items = cloudevents::open_batch(input);
            let read = items.and_then(|items| cloudevents::decode_batch(items, 100, &tenant(), NOW));
            read.is_ok_and(|(events, _)| events.iter().any(|((read, _), _)| read.is_ok()))
        }),
    ]
}

/// Whether anything of it could be read.
fn said(heard: &Heard) -> bool {
    heard.items.iter().any(|item| matches!(item.read, Ok(Some(_))))
}

fn query(name: &str) -> Vec<u8> {
    let recorded = recording(name);
    let line = recorded.lines().next().expect("a request line");
    let address = line.split(' ').nth(1).expect("an address");
    address.split_once('?').expect("a query").1.as_bytes().to_vec()
}

fn body(name: &str) -> Vec<u8> {
    let recorded = recording(name);
    let (_, body) = recorded.split_once("\r\n\r\n").or_else(|| recorded.split_once("\n\n")).expect("a body");
    body.as_bytes().to_vec()
}
