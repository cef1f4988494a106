//! The live messages as JSON (`waypost.v1.json`): the proto field names, cells and epochs as hex strings, the rest as numbers. Never the binary ones.

use serde_json::{Map, Value, json};

use crate::model::id::Handle;
use crate::wire;
use crate::wire::client_message::Kind;

/// A frame without its cells.
pub fn header(frame: &wire::Frame) -> String {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("tick", json!(frame.tick));
    if frame.tick > 0 {
        put("age_ms", json!(frame.age_ms));
        put("view_id", json!(frame.view_id));
        put("dropped", frame.dropped.iter().map(|cell| hex(*cell)).collect());
        put("reset", json!(frame.reset));
    }
    if let Some(level) = &frame.level {
        put("level", json!({"h3_resolution": level.h3_resolution, "counts": level.counts, "coarsened": level.coarsened}));
    }
    if let Some(hello) = &frame.hello {
        let (version, time) = (&hello.server_version, hello.server_time_ms);
        put(
            "hello",
            json!({"epoch": hex(hello.epoch), "tick_ms": hello.tick_ms, "ping_s": hello.ping_s, "server_version": version, "server_time_ms": time}),
        );
    }
    if let Some(lag) = &frame.lag {
        put("lag", json!({"behind": lag.behind, "merged_ticks": lag.merged_ticks}));
    }
    if let Some(bye) = &frame.bye {
        put("bye", json!({"code": bye.code, "reason": bye.reason, "reconnect_in_ms": bye.reconnect_in_ms}));
    }
    if let Some(followed) = &frame.followed {
        let mut value = enter(followed);
        value["lat_e7"] = json!(followed.lat_e7);
        value["lng_e7"] = json!(followed.lng_e7);
        put("followed", value);
    }
    if let Some(wire::FollowedDelivery { delivery, status, late_risk, eta_ms, promised_by_ms, gone }) = &frame.followed_delivery {
        put(
            "followed_delivery",
            json!({"delivery": delivery, "status": status, "late_risk": late_risk, "eta_ms": eta_ms, "promised_by_ms": promised_by_ms, "gone": gone}),
        );
    }
    Value::Object(out).to_string()
}

/// An element of `cells`.
pub fn cell(cell: &wire::Cell) -> String {
    let mut out = json!({"cell": hex(cell.cell), "whole": cell.whole});
    if let (Some(lat), Some(lng)) = (cell.origin_lat_e7, cell.origin_lng_e7) {
        out["origin_lat_e7"] = json!(lat);
        out["origin_lng_e7"] = json!(lng);
    }
    if !cell.enters.is_empty() {
        out["enters"] = cell.enters.iter().map(enter).collect();
    }
    if !cell.moves.is_empty() {
        out["moves"] = moves(&cell.moves);
    }
    if !cell.leaves.is_empty() {
        out["leaves"] = cell.leaves.iter().map(|leave| json!({"handle": leave.handle, "ended": leave.ended, "gone": leave.gone})).collect();
    }
    if !cell.counts.is_empty() {
        out["counts"] = cell.counts.iter().map(|count| json!({"status": count.status, "markers": count.markers})).collect();
    }
    if let (Some(entries), Some(checksum)) = (cell.entries, cell.checksum) {
        out["entries"] = json!(entries);
        out["checksum"] = json!(checksum);
    }
    out.to_string()
}

/// The packed numbers as columns, with whole handles.
fn moves(packed: &[u64]) -> Value {
    let (mut handle, mut dlat, mut dlng, mut meta) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut counter = 0;
    for marker in packed.chunks_exact(5) {
        counter += marker[0];
        handle.push(marker[1] << Handle::COUNTER_BITS | counter);
        dlat.push(zagzig(marker[2]));
        dlng.push(zagzig(marker[3]));
        meta.push(marker[4]);
    }
    json!({"handle": handle, "dlat_e7": dlat, "dlng_e7": dlng, "meta": meta})
}

fn zagzig(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn enter(enter: &wire::Enter) -> Value {
    json!({
        "handle": enter.handle, "dlat_e7": enter.dlat_e7, "dlng_e7": enter.dlng_e7, "meta": enter.meta, "driver": enter.driver,
        "id": enter.id, "aboard": enter.aboard, "heard_s": enter.heard_s,
    })
}

fn hex(number: u64) -> Value {
    Value::String(format!("{number:x}"))
}

/// A client's message: an object with one member, named as the field of `ClientMessage`. None when it is no such thing.
pub fn client_message(text: &str) -> Option<Kind> {
    let value: Value = serde_json::from_str(text).ok()?;
    let (name, body) = value.as_object().filter(|object| object.len() == 1)?.iter().next()?;
    let text_of = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(match name.as_str() {
        "auth" => Kind::Auth(wire::Auth { token: text_of("token")? }),
        "view" => Kind::View(view(body)?),
        "follow" => Kind::Follow(wire::Follow { delivery: text_of("delivery").unwrap_or_default() }),
        "resume" => Kind::Resume(wire::Resume {
            sources: body.get("sources")?.as_array()?.iter().map(source).collect::<Option<_>>()?,
            view: Some(view(body.get("view")?)?),
            level: number(body.get("level"))?,
        }),
        "ack" => Kind::Ack(wire::Ack { tick: body.get("tick")?.as_u64()? }),
        _ => return None,
    })
}

fn source(value: &Value) -> Option<wire::Source> {
    let epoch = u64::from_str_radix(value.get("epoch")?.as_str()?, 16).ok()?;
    Some(wire::Source { epoch, tick: value.get("tick")?.as_u64()? })
}

fn number(value: Option<&Value>) -> Option<u32> {
    value.map_or(Some(0), |value| value.as_u64().and_then(|number| u32::try_from(number).ok()))
}

fn view(value: &Value) -> Option<wire::View> {
    let degrees = |name: &str| value.get(name).and_then(Value::as_f64);
    let filter = match value.get("filter") {
        None | Some(Value::Null) => None,
        Some(filter) => Some(wire::Filter {
            statuses: list(filter.get("statuses"), status)?,
            drivers: list(filter.get("drivers"), text)?,
            tags: list(filter.get("tags"), text)?,
            late_risk: filter.get("late_risk").map_or(Some(false), Value::as_bool)?,
        }),
    };
    Some(wire::View {
        west: degrees("west")?,
        south: degrees("south")?,
        east: degrees("east")?,
        north: degrees("north")?,
        zoom: degrees("zoom")?,
        filter,
        view_id: number(value.get("view_id"))?,
    })
}

fn list<T>(value: Option<&Value>, item: fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.map_or_else(|| Some(Vec::new()), |value| value.as_array()?.iter().map(item).collect())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// By number, or by name in either case: `EN_ROUTE_PICKUP`, `en_route_pickup`.
fn status(value: &Value) -> Option<i32> {
    match value {
        Value::Number(number) => number.as_i64().and_then(|code| i32::try_from(code).ok()),
        Value::String(name) => wire::Status::from_str_name(&name.to_uppercase()).map(i32::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view_with(text: &str) -> Option<wire::View> {
        let message = format!("{{\"view\":{{\"west\":1,\"south\":1,\"east\":2,\"north\":2,\"zoom\":9,\"filter\":{text}}}}}");
        client_message(&message).and_then(|kind| if let Kind::View(view) = kind { Some(view) } else { None })
    }

    #[test]
    fn a_filter_says_the_same_as_the_binary_one_and_a_wrong_member_is_refused() {
        let filter = |text| view_with(text).unwrap().filter;
        let whole = filter(r#"{"statuses":["picked_up",8],"drivers":["a"],"tags":["size=xl","cold"],"late_risk":true}"#);
        let (drivers, tags) = (vec!["a".to_owned()], vec!["size=xl".to_owned(), "cold".to_owned()]);
        assert_eq!(whole, Some(wire::Filter { statuses: vec![5, 8], drivers, tags, late_risk: true }));
        assert_eq!((filter("null"), filter("{}")), (None, Some(wire::Filter::default())));
        for wrong in
            [r#"{"tags":"cold"}"#, r#"{"tags":[1]}"#, r#"{"tags":null}"#, r#"{"late_risk":1}"#, r#"{"late_risk":"true"}"#, r#"{"late_risk":null}"#]
        {
            assert_eq!(view_with(wrong), None, "{wrong}");
        }
    }
}
