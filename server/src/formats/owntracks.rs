//! One message of `OwnTracks` in HTTP mode: a `location` becomes a location, a `transition` is kept, what else it says is nothing to store.
//!
//! Required are `_type`, `lat`, `lon` and `tst` (Unix seconds); `acc`, `alt` in metres, `vel` in kilometres an hour, `cog` in degrees, `batt` in
//! percent. `_id` is the event's id. Whose phone it is say the address, headers, the `topic` (`owntracks/user/device`), the login, or the `tid`. A
//! `transition` (a fence entered or left) is the event `owntracks.transition` with the message as its payload. Whatever else is said is kept.

use serde::{Deserialize, Serialize};

use super::checks::LooseLocation;
use super::json::Others;
use super::json::scan::{Name, Scanner};
use super::phone::{self, Heard, Item, Report, Words};
use super::refusal::Refusal;
use crate::model::event::Body;
use crate::model::speed::SpeedUnit;
use crate::model::time::UnixMs;

/// Who the request says it comes from, besides its body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The user name of its credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

/// Reads a request's body.
pub fn decode(body: &[u8], origin: &Origin) -> Heard {
    let body = body.trim_ascii();
    // The app asks by an empty message now and then whether there is something for it.
    if body.is_empty() {
        return Heard::nothing();
    }
    let mut device = None;
    match read(body, origin, &mut device).transpose() {
        Some(read) => Heard::one(Item { device, read: read.map(Some), place: None }),
        None => Heard::nothing(),
    }
}

fn read(body: &[u8], origin: &Origin, device: &mut Option<Vec<String>>) -> Result<Option<Report>, Refusal> {
    let text = phone::utf8(body)?;
    // What the others mean depends on the type, wherever it stands.
    let mut kind = None;
    Scanner::new(text, 0).whole_object("", |name, scanner| {
        if name.text == "_type" {
            kind = scanner.string("/_type")?;
            return Ok(());
        }
        scanner.raw().map(drop)
    })?;
    let transition = match kind.as_deref() {
        Some("location") => false,
        Some("transition") => true,
        Some(_) => return Ok(None),
        None => return Err(Refusal::missing("/_type")),
    };
    let mut loose = Loose::default();
    Scanner::new(text, 0).whole_object("", |name, scanner| loose.member(&name, scanner))?;
    *device = Some(loose.device(origin));
    let body = if transition { kept(text) } else { loose.location()? };
    let unknown = if transition { None } else { phone::in_payload(std::mem::take(&mut loose.others).into_object()) };
    let time = loose.time.ok_or_else(|| Refusal::missing("/tst"))?;
    let words = Words { event_id: "/_id".into(), time: "/tst".into() };
    Ok(Some(Report { event_id: loose.id, time: Some(time), body, unknown, words }))
}

fn kept(message: &str) -> Body {
    Body::Other { name: "owntracks.transition".into(), payload: message.as_bytes().to_vec().into() }
}

#[derive(Debug, Default)]
struct Loose {
    id: Option<String>,
    topic: Option<String>,
    tracker: Option<String>,
    time: Option<UnixMs>,
    lat: Option<f64>,
    lng: Option<f64>,
    accuracy: Option<f64>,
    altitude: Option<f64>,
    kmh: Option<f64>,
    heading: Option<f64>,
    battery_percent: Option<f64>,
    others: Others,
}

impl Loose {
    fn member<'a>(&mut self, name: &Name<'a>, scanner: &mut Scanner<'a>) -> Result<(), Refusal> {
        match name.text.as_ref() {
            "_type" => drop(scanner.string("/_type")?),
            "_id" => self.id = phone::text_or_number(scanner, "/_id")?,
            "topic" => self.topic = phone::text_or_number(scanner, "/topic")?,
            "tid" => self.tracker = phone::text_or_number(scanner, "/tid")?,
            "tst" => self.time = phone::moment(scanner, "/tst")?,
            "lat" => self.lat = scanner.number("/lat")?,
            "lon" => self.lng = scanner.number("/lon")?,
            "acc" => self.accuracy = scanner.number("/acc")?,
            "alt" => self.altitude = scanner.number("/alt")?,
            "vel" => self.kmh = scanner.number("/vel")?,
            "cog" => self.heading = scanner.number("/cog")?,
            "batt" => self.battery_percent = scanner.number("/batt")?,
            _ => self.others.keep(name, scanner)?,
        }
        Ok(())
    }

    fn location(&self) -> Result<Body, Refusal> {
        let loose = LooseLocation {
            lat: self.lat.ok_or_else(|| Refusal::missing("/lat"))?,
            lng: self.lng.ok_or_else(|| Refusal::missing("/lon"))?,
            accuracy_m: phone::known(self.accuracy),
            speed_mps: phone::known(self.kmh.map(|kmh| SpeedUnit::Kmh.to_mps(kmh))),
            heading_deg: phone::known(self.heading),
            altitude_m: self.altitude.map(phone::narrow),
            battery: phone::known(self.battery_percent.map(|percent| percent / 100.0)),
        };
        phone::location(loose, |member| word(member).to_owned())
    }

    /// A user may have several devices: `user/device` is the more particular name, and stands for the user's driver unless it is mapped to another.
    fn device(&self, origin: &Origin) -> Vec<String> {
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let mut topic = self.topic.as_deref().unwrap_or("").split('/').skip(1).filter(|word| !word.is_empty());
        let (topic_user, topic_device) = (topic.next().map(str::to_owned), topic.next().map(str::to_owned));
        let (user, device) = match (said(&origin.user), topic_user) {
            (Some(user), _) => (Some(user), said(&origin.device).or(topic_device)),
            (None, Some(user)) => (Some(user), topic_device),
            (None, None) => (said(&origin.login).or_else(|| self.tracker.clone()), said(&origin.device)),
        };
        let both = user.as_ref().zip(device).map(|(user, device)| format!("{user}/{device}"));
        both.into_iter().chain(user).collect()
    }
}

fn word(member: &str) -> &'static str {
    match member {
        "/lng" => "/lon",
        "/accuracy_m" => "/acc",
        "/speed_mps" => "/vel",
        "/heading_deg" => "/cog",
        "/altitude_m" => "/alt",
        "/battery" => "/batt",
        _ => "/lat",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::json;
    use crate::formats::phone::tests::{as_json, event, refusal, tenant};
    use crate::formats::refusal::Code;

    const SENT: &str = r#"{"_type":"location","BSSID":"b8:27:eb:00:00:01","acc":13,"alt":45,"batt":81,"bs":1,"cog":270,"conn":"w",
        "created_at":1795509005,"lat":57.7089,"lon":11.9746,"m":1,"t":"u","tid":"an","topic":"owntracks/anna/phone","tst":1795509000,"vac":3,"vel":36}"#;

    fn names(message: &str, origin: &Origin) -> Vec<String> {
        decode(message.as_bytes(), origin).items.remove(0).device.expect("read")
    }

    #[test]
    fn what_the_app_sends_is_the_event_that_json_gives() {
        let payload = r#"{"lat":57.7089,"lng":11.9746,"accuracy_m":13,"altitude_m":45,"battery":0.81,"heading_deg":270,"speed_mps":10,
            "BSSID":"b8:27:eb:00:00:01","bs":1,"conn":"w","created_at":1795509005,"m":1,"t":"u","vac":3}"#;
        assert_eq!(event(decode(SENT.as_bytes(), &Origin::default())), as_json("anna/phone", "anna", 1_795_509_000_000, payload));
        let with_id = SENT.replace("\"acc\"", "\"_id\":\"5c2a91f0\",\"acc\"");
        assert_eq!(event(decode(with_id.as_bytes(), &Origin::default())).id.to_string(), "5c2a91f0");
    }

    #[test]
    fn a_phone_is_known_by_its_address_then_its_topic_then_its_login_then_its_tracker_id() {
        let said = |user: &str, device: &str, login: &str| Origin {
            user: Some(user.to_owned()),
            device: Some(device.to_owned()),
            login: Some(login.to_owned()),
        };
        assert_eq!(names(SENT, &said("bo", "tablet", "x")), ["bo/tablet", "bo"]);
        assert_eq!(names(SENT, &said("", "", "x")), ["anna/phone", "anna"]);
        let bare = SENT.replace(r#""topic":"owntracks/anna/phone","#, "");
        assert_eq!(names(&bare, &said("", "", "carl")), ["carl"]);
        assert_eq!(names(&bare, &said("", "tablet", "carl")), ["carl/tablet", "carl"]);
        assert_eq!(names(&bare, &Origin::default()), ["an"]);
        assert!(names(&bare.replace(r#""tid":"an","#, ""), &Origin::default()).is_empty());
    }

    #[test]
    fn a_transition_is_kept_as_it_came() {
        let message = r#"{"_type":"transition","wtst":1795500000,"lat":57.7089,"lon":11.9746,"tst":1795509000,"acc":15,"tid":"an","event":"enter","desc":"Depot","rid":"6da9cf","t":"c","topic":"owntracks/anna/phone/event","_id":"77ab"}"#;
        let same =
            format!(r#"{{"event_id":"77ab","event_name":"owntracks.transition","actor_id":"anna","event_time":1795509000000,"payload":{message}}}"#);
        assert_eq!(event(decode(message.as_bytes(), &Origin::default())), json::decode(same.as_bytes(), &tenant()).expect("valid"));
        let (enter, leave) = (message.replace(r#","_id":"77ab""#, ""), message.replace(r#","_id":"77ab""#, "").replace("enter", "leave"));
        let id = |message: &str| event(decode(message.as_bytes(), &Origin::default())).id;
        assert_eq!(id(&enter), id(&enter));
        assert_ne!(id(&enter), id(&leave), "two fences may be crossed at once");
    }

    #[test]
    fn other_messages_and_empty_ones_are_nothing_to_store() {
        for message in
            ["", "  \n", r#"{"_type":"lwt","tst":1}"#, r#"{"_type":"waypoints","waypoints":[{"lat":"x"}]}"#, r#"{"_type":"encrypted","data":"x"}"#]
        {
            assert_eq!(decode(message.as_bytes(), &Origin::default()), Heard::nothing(), "{message}");
        }
    }

    #[test]
    fn minus_one_is_unknown_and_each_wrong_field_is_named_as_the_app_names_it() {
        let bare = r#"{"_type":"location","lat":57.7,"lon":11.9,"tst":1795509000,"vel":-1,"cog":-1,"acc":-1,"batt":-1}"#;
        assert_eq!(event(decode(bare.as_bytes(), &Origin::default())), as_json("", "van-1", 1_795_509_000_000, r#"{"lat":57.7,"lng":11.9}"#));
        let cases = [
            ("\"lat\":57.7089", "\"lat\":-91", Code::OutOfRange, "/lat"),
            ("\"lon\":11.9746,", "", Code::MissingField, "/lon"),
            ("57.7089,\"lon\":11.9746", "0,\"lon\":0", Code::NullIsland, "/lat"),
            ("\"vel\":36", "\"vel\":99999", Code::OutOfRange, "/vel"),
            ("\"vel\":36", "\"vel\":\"fast\"", Code::WrongType, "/vel"),
            ("\"batt\":81", "\"batt\":810", Code::OutOfRange, "/batt"),
            ("\"tst\":1795509000,", "", Code::MissingField, "/tst"),
            ("\"tst\":1795509000", "\"tst\":true", Code::WrongType, "/tst"),
            ("\"_type\":\"location\",", "", Code::MissingField, "/_type"),
            ("\"m\":1", "\"m\":}", Code::MalformedJson, ""),
        ];
        for (from, to, code, pointer) in cases {
            let text = SENT.replace(from, to);
            assert_ne!(text, SENT);
            let refused = refusal(decode(text.as_bytes(), &Origin::default()));
            assert_eq!((refused.code, refused.pointer.as_str()), (code, pointer), "{to}");
        }
    }
}
