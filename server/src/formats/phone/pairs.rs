//! Names and values of a query string or a form, as simple senders write their reports. Knows no name's meaning.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{check_size, known, location, narrow, time, utf8};
use crate::formats::checks::LooseLocation;
use crate::formats::json::scan::Scanner;
use crate::formats::refusal::{Code, Refusal};
use crate::model::event::Body;
use crate::model::time::UnixMs;

/// The pairs that nobody has taken yet, in their order.
#[derive(Debug, Default)]
pub struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// A value, and the JSON pointer of the name that its sender gave it.
#[derive(Debug)]
pub struct Taken<'a> {
    pub value: Cow<'a, str>,
    pub pointer: String,
}

/// A number as it was said, and the JSON pointer of its name.
pub type Said = (f64, String);

/// The names under which a format says what belongs to a fix; each list in the order in which they count.
#[derive(Clone, Copy, Debug)]
pub struct FixNames {
    pub lat: &'static [&'static str],
    pub lng: &'static [&'static str],
    pub accuracy_m: &'static [&'static str],
    pub heading_deg: &'static [&'static str],
    pub altitude_m: &'static [&'static str],
    pub battery_percent: &'static [&'static str],
}

/// Of one report; a sender with more says nothing that we could keep.
const MAX_PAIRS: usize = 128;

impl<'a> Pairs<'a> {
    /// Takes a query string (without its `?`) or a form apart.
    pub fn parse(text: &'a [u8]) -> Result<Self, Refusal> {
        check_size(text)?;
        Self::of(form_urlencoded::parse(text))
    }

    /// Takes a flat JSON object apart: texts, numbers and booleans; what is nested stands as its text.
    pub fn parse_json(text: &'a [u8]) -> Result<Self, Refusal> {
        let text = utf8(text)?;
        let mut pairs = Vec::new();
        Scanner::new(text, 0).whole_object("", |name, scanner| {
            let Some(raw) = scanner.value()? else { return Ok(()) };
            let value = if raw.starts_with('"') { Scanner::new(raw, 0).string("")?.unwrap_or_default() } else { Cow::Borrowed(raw) };
            pairs.push((name.text, value));
            Ok(())
        })?;
        Self::of(pairs.into_iter())
    }

    fn of(mut all: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Result<Self, Refusal> {
        let pairs = Self(all.by_ref().take(MAX_PAIRS).collect());
        if all.next().is_some() {
            return Err(Refusal::new(Code::TooLarge, "", format!("a report has at most {MAX_PAIRS} names")));
        }
        Ok(pairs)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what stands under any of these names, of which the first that says something counts; an empty text says nothing.
    pub fn take(&mut self, names: &[&str]) -> Option<Taken<'a>> {
        let mut taken = None;
        for name in names {
            while let Some(at) = self.0.iter().position(|(known, _)| known.eq_ignore_ascii_case(name)) {
                let (name, value) = self.0.remove(at);
                if taken.is_none() && !value.trim().is_empty() {
                    taken = Some(Taken { value, pointer: pointer(&name) });
                }
            }
        }
        taken
    }

    /// Whether anything is said under one of these names.
    pub fn has(&self, names: &[&str]) -> bool {
        let said =
            |(known, value): &(Cow<'_, str>, Cow<'_, str>)| !value.trim().is_empty() && names.iter().any(|name| known.eq_ignore_ascii_case(name));
        self.0.iter().any(said)
    }

    /// These and then those.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub fn text(&mut self, names: &[&str]) -> Option<String> {
        self.take(names).map(|taken| taken.value.trim().to_owned())
    }

    pub fn number(&mut self, names: &[&str]) -> Result<Option<Said>, Refusal> {
        self.take(names).map(Taken::number).transpose()
    }

    pub fn time(&mut self, names: &[&str]) -> Result<Option<(UnixMs, String)>, Refusal> {
        let Some(taken) = self.take(names) else { return Ok(None) };
        let detail = "must be Unix seconds or milliseconds, ISO 8601 with an offset, or yyyy-MM-dd HH:mm:ss";
        let time = time::parse(&taken.value).ok_or_else(|| Refusal::new(Code::InvalidTime, taken.pointer.clone(), detail))?;
        Ok(Some((time, taken.pointer)))
    }

    /// Takes latitude and longitude; none when neither is said.
    pub fn place(&mut self, names: &FixNames) -> Result<Option<(Said, Said)>, Refusal> {
        match (self.number(names.lat)?, self.number(names.lng)?) {
            (Some(lat), Some(lng)) => Ok(Some((lat, lng))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Refusal::missing(pointer(names.lng[0]))),
            (None, Some(_)) => Err(Refusal::missing(pointer(names.lat[0]))),
        }
    }

    /// Takes what else belongs to a fix at this place.
    pub fn fix(&mut self, (lat, lng): &(Said, Said), speed_mps: Option<&Said>, names: &FixNames) -> Result<Body, Refusal> {
        let (accuracy, heading) = (self.number(names.accuracy_m)?, self.number(names.heading_deg)?);
        let (altitude, battery) = (self.number(names.altitude_m)?, self.number(names.battery_percent)?);
        let [accuracy, heading, altitude, battery] = [&accuracy, &heading, &altitude, &battery].map(Option::as_ref);
        let number = |said: Option<&Said>| said.map(|(number, _pointer)| *number);
        let loose = LooseLocation {
            lat: lat.0,
            lng: lng.0,
            accuracy_m: known(number(accuracy)),
            speed_mps: known(number(speed_mps)),
            heading_deg: known(number(heading)),
            altitude_m: number(altitude).map(narrow),
            battery: known(number(battery).map(|percent| percent / 100.0)),
        };
        location(loose, |member| {
            let said = match member {
                "/lng" => return lng.1.clone(),
                "/accuracy_m" => accuracy,
                "/speed_mps" => speed_mps,
                "/heading_deg" => heading,
                "/altitude_m" => altitude,
                "/battery" => battery,
                _ => return lat.1.clone(),
            };
            said.map(|(_number, pointer)| pointer.clone()).unwrap_or_default()
        })
    }

    /// What nobody took, as a JSON object: numbers and booleans as such, names that stand more than once as arrays.
    pub fn rest(self) -> Option<String> {
        let mut members: BTreeMap<Cow<'_, str>, Vec<serde_json::Value>> = BTreeMap::new();
        for (name, value) in self.0 {
            members.entry(name).or_default().push(of_text(&value));
        }
        let one_or_all = |mut values: Vec<_>| if values.len() == 1 { values.remove(0) } else { serde_json::Value::Array(values) };
        let object: serde_json::Map<_, _> = members.into_iter().map(|(name, values)| (name.into_owned(), one_or_all(values))).collect();
        (!object.is_empty()).then(|| serde_json::Value::Object(object).to_string())
    }
}

impl Taken<'_> {
    fn number(self) -> Result<Said, Refusal> {
        let text = self.value.trim();
        let number = text.parse().map_err(|_no_number| Refusal::new(Code::WrongType, self.pointer.clone(), "must be a number"))?;
        Ok((number, self.pointer))
    }
}

/// RFC 6901, section 3.
fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A number only when it is spelled as JSON spells it, and an integer only when it stays what it is: `007` is an id, not seven.
fn of_text(text: &str) -> serde_json::Value {
    let same = |number: &serde_json::Number| text.contains('.') || number.to_string() == text;
    match text {
        "true" => true.into(),
        "false" => false.into(),
        _ => text.parse::<serde_json::Number>().ok().filter(same).map_or_else(|| text.into(), Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_took_is_kept_with_its_kind() {
        let mut pairs = Pairs::parse(b"id=7&a=1&b=2.50&c=true&d=007&e=x%20y&cell=1&cell=2&big=12345678901234567890123&%C3%A9=&lat=").expect("parses");
        assert_eq!(pairs.text(&["id"]).as_deref(), Some("7"));
        assert!(pairs.take(&["lat"]).is_none(), "an empty text says nothing");
        let rest: serde_json::Value = serde_json::from_str(&pairs.rest().expect("some")).expect("JSON");
        let expected = serde_json::json!({
            "a": 1, "b": 2.5, "c": true, "d": "007", "e": "x y", "cell": [1, 2], "big": "12345678901234567890123", "é": "",
        });
        assert_eq!(rest, expected);
    }

    #[test]
    fn the_first_name_that_says_something_counts_and_all_of_them_are_taken() {
        let mut pairs = Pairs::parse(b"longitude=&LON=2&lng=3").expect("parses");
        let (number, pointer) = pairs.number(&["longitude", "lon", "lng"]).expect("a number").expect("there");
        assert_eq!((number, pointer.as_str()), (2.0, "/LON"));
        assert!(pairs.is_empty());
    }

    #[test]
    fn a_flat_object_is_pairs_as_well_and_what_is_too_much_is_refused() {
        let mut pairs = Pairs::parse_json(br#"{"lat":57.5,"id":"x\u0031","ok":true,"none":null,"list":[1,2]}"#).expect("parses");
        assert_eq!(pairs.text(&["id"]).as_deref(), Some("x1"));
        assert_eq!(pairs.number(&["lat"]).expect("a number").map(|(lat, _)| lat), Some(57.5));
        assert_eq!(pairs.rest().as_deref(), Some(r#"{"list":"[1,2]","ok":true}"#));
        assert_eq!(Pairs::parse("a=1&".repeat(129).as_bytes()).expect_err("too many").code, Code::TooLarge);
        assert_eq!(Pairs::parse("a".repeat(40_000).as_bytes()).expect_err("too long").code, Code::TooLarge);
    }
}
