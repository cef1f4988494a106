//! One row of a trace and the mapping of its columns. Never reads files.

use std::str::FromStr;

use crate::geodesy::Place;

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Hash of the row's bytes and its number: the event id.
    pub id: String,
    pub actor: String,
    /// As in the file: part of a delivery's id.
    pub time_text: String,
    pub time_ms: i64,
    pub place: Place,
    pub trip: Option<bool>,
    pub speed_mps: Option<f32>,
    pub heading_deg: Option<f32>,
    pub accuracy_m: Option<f32>,
    pub altitude_m: Option<f32>,
}

/// What a column means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Actor,
    Time,
    Lat,
    Lng,
    Trip,
    Speed,
    Heading,
    Accuracy,
    Altitude,
}

impl Field {
    pub const ALL: [(&str, Self); 9] = [
        ("actor", Self::Actor),
        ("time", Self::Time),
        ("lat", Self::Lat),
        ("lng", Self::Lng),
        ("trip", Self::Trip),
        ("speed", Self::Speed),
        ("heading", Self::Heading),
        ("accuracy", Self::Accuracy),
        ("altitude", Self::Altitude),
    ];
}

/// `header=field,..`; actor, time, lat and lng are required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(pub Vec<(String, Field)>);

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pairs: Vec<(String, Field)> = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (header, word) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not of the form HEADER=FIELD"))?;
            let known = Field::ALL.iter().find(|(name, _)| *name == word.trim());
            let field = known.ok_or_else(|| {
                let names: Vec<&str> = Field::ALL.iter().map(|(name, _)| *name).collect();
                format!("`{word}` is none of {}", names.join(", "))
            })?;
            if pairs.iter().any(|(_, mapped)| *mapped == field.1) {
                return Err(format!("more than one column is mapped to `{}`", field.0));
            }
            pairs.push((header.trim().to_owned(), field.1));
        }
        for (name, field) in &Field::ALL[..4] {
            if !pairs.iter().any(|(_, mapped)| mapped == field) {
                return Err(format!("no column is mapped to `{name}`"));
            }
        }
        Ok(Self(pairs))
    }
}

/// The fields of a row by meaning, as text.
#[derive(Debug, Default)]
pub struct Texts<'a>(pub Vec<(Field, &'a str)>);

impl Texts<'_> {
    fn get(&self, field: Field) -> Option<&str> {
        self.0.iter().find(|(mapped, _)| *mapped == field).map(|(_, text)| text.trim()).filter(|text| !text.is_empty())
    }

    fn number(&self, field: Field) -> Option<f32> {
        self.get(field).and_then(|text| text.parse().ok())
    }

    /// The row, or in words what it lacks.
    pub fn row(&self, raw: &[u8], number: u64) -> Result<Row, String> {
        let actor = self.get(Field::Actor).ok_or("no actor")?.to_owned();
        let time_text = self.get(Field::Time).ok_or("no time")?.to_owned();
        let time_ms = parse_time(&time_text).ok_or("no time")?;
        let degrees = |field| self.get(field).and_then(|text| text.parse::<f64>().ok());
        let lat = degrees(Field::Lat).ok_or("no latitude")?;
        let lng = degrees(Field::Lng).ok_or("no longitude")?;
        let trip = match self.get(Field::Trip) {
            Some("1" | "true" | "yes") => Some(true),
            Some("0" | "false" | "no") => Some(false),
            _ => None,
        };
        Ok(Row {
            id: row_id(raw, number),
            actor,
            time_text,
            time_ms,
            place: Place { lat, lng },
            trip,
            speed_mps: self.number(Field::Speed),
            heading_deg: self.number(Field::Heading),
            accuracy_m: self.number(Field::Accuracy),
            altitude_m: self.number(Field::Altitude),
        })
    }
}

/// 32 hex digits of the row's bytes and its number.
fn row_id(raw: &[u8], number: u64) -> String {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(raw);
    hasher.update(&number.to_le_bytes());
    format!("{:032x}", hasher.digest128())
}

/// Unix seconds, Unix milliseconds (from 1e11 on), or ISO 8601; without an offset it is UTC.
fn parse_time(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<f64>() {
        let ms = if number.abs() >= 1e11 { number } else { number * 1000.0 };
        return (ms.is_finite() && ms.abs() < 1e15).then(|| ms.round() as i64);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_millisecond());
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_as_seconds_milliseconds_or_iso_8601() {
        assert_eq!(parse_time("1212735600"), Some(1_212_735_600_000));
        assert_eq!(parse_time("1212735600500"), Some(1_212_735_600_500));
        assert_eq!(parse_time("2017-03-21T00:00:31-05:00"), Some(1_490_072_431_000));
        assert_eq!(parse_time("2017-03-21 05:00:31"), Some(1_490_072_431_000));
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn an_id_depends_on_the_bytes_and_on_the_number() {
        assert_eq!(row_id(b"a", 1), row_id(b"a", 1));
        assert_ne!(row_id(b"a", 1), row_id(b"a", 2));
        assert_ne!(row_id(b"a", 1), row_id(b"b", 1));
    }

    #[test]
    fn columns_must_be_known_and_complete() {
        assert!("a=actor,t=time,x=lat,y=lng".parse::<Columns>().is_ok());
        assert!("a=actor,t=time,x=lat".parse::<Columns>().is_err());
        assert!("a=actor,t=time,x=lat,y=lng,z=zip".parse::<Columns>().is_err());
        assert!("actor".parse::<Columns>().is_err());
        assert!("a=actor,t=time,x=lat,y=lng,z=lng".parse::<Columns>().is_err());
    }
}
