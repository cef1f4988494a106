//! What a credential is for, as JSON: `{"drivers":[..],"deliveries":[..],"areas":[[west,south,east,north],..]}`; `bbox` is one more area. What is
//! absent is no bound. Knows no credential.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::id::{DeliveryId, DriverId};
use crate::model::scope::{Area, Scope};

/// As it is written down, or claimed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScopeWords {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drivers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Vec<String>>,
    /// West, south, east, north in degrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bbox: Option<[f64; 4]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<[f64; 4]>,
}

/// Which of the words is no scope, by its JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{pointer}: {detail}")]
pub struct InvalidWord {
    pub pointer: String,
    pub detail: String,
}

/// Areas that are written in one place.
const MAX_AREAS: usize = 8;

impl ScopeWords {
    pub fn of(scope: &Scope) -> Self {
        Self {
            drivers: scope.drivers().map(|ids| ids.iter().map(|id| id.as_str().to_owned()).collect()),
            deliveries: scope.deliveries().map(|ids| ids.iter().map(|id| id.as_str().to_owned()).collect()),
            bbox: None,
            areas: scope.areas().iter().map(Area::degrees).collect(),
        }
    }

    /// How many bytes a scope takes up when it is written down, at most: without writing it, for a letter is asked more than once.
    pub fn bytes_of(scope: &Scope) -> usize {
        /// Four numbers of up to 12 characters, and what stands around them.
        const AREA_BYTES: usize = 56;
        /// Braces and the members' names.
        const FRAME_BYTES: usize = 48;
        if scope.is_all() {
            return 0;
        }
        let drivers = scope.drivers().unwrap_or_default().iter().map(|id| quoted_bytes(&id.as_str()));
        let deliveries = scope.deliveries().unwrap_or_default().iter().map(|id| quoted_bytes(&id.as_str()));
        FRAME_BYTES + drivers.chain(deliveries).map(|bytes| bytes + 1).sum::<usize>() + scope.areas().len() * AREA_BYTES
    }

    pub fn read(&self) -> Result<Scope, InvalidWord> {
        if self.areas.len() + usize::from(self.bbox.is_some()) > MAX_AREAS {
            return Err(InvalidWord { pointer: "/areas".to_owned(), detail: format!("at most {MAX_AREAS} areas, `bbox` among them") });
        }
        self.read_stored()
    }

    /// Reads what `of` wrote. Who makes a credential within its own adds areas to those, so here they are as many as there are.
    pub fn read_stored(&self) -> Result<Scope, InvalidWord> {
        let drivers = self.drivers.as_ref().map(|ids| list(ids, "drivers", DriverId::parse)).transpose()?;
        let deliveries = self.deliveries.as_ref().map(|ids| list(ids, "deliveries", DeliveryId::parse)).transpose()?;
        let areas = self.areas.iter().enumerate().map(|(index, area)| (format!("/areas/{index}"), area));
        let areas = areas.chain(self.bbox.as_ref().map(|area| ("/bbox".to_owned(), area)));
        let ids = Scope::new(drivers, deliveries, None).map_err(|invalid| InvalidWord { pointer: String::new(), detail: invalid.to_string() })?;
        areas.into_iter().try_fold(ids, |scope, (pointer, [west, south, east, north])| {
            let area = Area::new(*west, *south, *east, *north).and_then(|area| Scope::new(None, None, Some(area)));
            area.map(|area| scope.within(&area)).map_err(|invalid| InvalidWord { pointer, detail: invalid.to_string() })
        })
    }
}

/// What a text takes up as a JSON string.
pub fn quoted_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

fn list<T, E: std::fmt::Display>(ids: &[String], name: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, InvalidWord> {
    if ids.len() > Scope::MAX_LISTED {
        return Err(InvalidWord { pointer: format!("/{name}"), detail: format!("at most {} ids", Scope::MAX_LISTED) });
    }
    let one =
        |(index, id): (usize, &String)| parse(id).map_err(|invalid| InvalidWord { pointer: format!("/{name}/{index}"), detail: invalid.to_string() });
    ids.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_the_same_read_back_and_what_is_absent_is_no_bound() {
        for text in
            ["{}", r#"{"drivers":[]}"#, r#"{"drivers":["a","b"],"deliveries":["p"],"areas":[[11.0,57.0,12.0,58.0],[170.0,-10.0,-170.0,10.0]]}"#]
        {
            let words: ScopeWords = serde_json::from_str(text).expect("words");
            let scope = words.read().expect("a scope");
            assert_eq!(serde_json::to_string(&ScopeWords::of(&scope)).expect("JSON"), text);
            assert_eq!(scope.is_all(), text == "{}");
            assert!(scope.is_all() || (text.len()..text.len() + 100).contains(&ScopeWords::bytes_of(&scope)), "{text}");
        }
        let boxed: ScopeWords = serde_json::from_str(r#"{"bbox":[11,57,12,58]}"#).expect("words");
        assert_eq!(boxed.read().expect("a scope").areas().len(), 1);
        // What is made within another's areas has more of them than anybody may say, and is read again all the same.
        let nine = ScopeWords {
            bbox: Some([0.0, 0.0, 1.0, 1.0]),
            areas: (1..9).map(|west| [f64::from(west), 0.0, 20.0, 1.0]).collect(),
            ..ScopeWords::default()
        };
        assert_eq!(nine.read().expect_err("too many").pointer, "/areas");
        let scope = nine.read_stored().expect("as many as there are");
        assert_eq!((scope.areas().len(), ScopeWords::of(&scope).read_stored().expect("stored")), (9, scope.clone()));
    }

    #[test]
    fn what_is_no_scope_is_named() {
        let many = serde_json::json!({"deliveries": (0..257).map(|n| n.to_string()).collect::<Vec<_>>()}).to_string();
        for (text, pointer) in [
            (r#"{"drivers":["a",""]}"#, "/drivers/1"),
            (r#"{"deliveries":["\u0000"]}"#, "/deliveries/0"),
            (r#"{"bbox":[1,2,3,400]}"#, "/bbox"),
            (r#"{"areas":[[0,0,1,1],[0,3,1,2]]}"#, "/areas/1"),
            (&many, "/deliveries"),
        ] {
            let words: ScopeWords = serde_json::from_str(text).expect("words");
            assert_eq!(words.read().expect_err(text).pointer, pointer);
        }
    }
}
