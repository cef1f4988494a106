//! What of an address may be logged: its path without keys, and the names of its parameters without their values. Pure.

use std::fmt::Write as _;

/// Stands where something was struck out.
const STRUCK: &str = "***";
/// How keys of ours begin.
const KEY: &str = "wpk_";
/// Apps that can set nothing but a URL carry their key behind this segment.
const KEY_FOLLOWS: &str = "k";
/// Longest told.
const MAX_BYTES: usize = 256;
/// What is longer is nothing that a log needs, and is not looked at.
const MAX_READ_BYTES: usize = 4096;

/// An address as it may stand in a log. A key in the path is struck wherever it stands, also in paths that no route knows: a typing error next to a
/// key must not publish it. Values of parameters are positions, searches and secrets as often as not, so that only their names are kept.
pub fn struck(path: &str, query: Option<&str>) -> String {
    let read = |text: &str| text.len() <= MAX_READ_BYTES;
    let (path, query) = (if read(path) { path } else { STRUCK }, query.map(|query| if read(query) { query } else { STRUCK }));
    let mut told = String::new();
    let mut key_follows = false;
    for (index, segment) in path.split('/').enumerate() {
        if told.len() > MAX_BYTES {
            break;
        }
        if index > 0 {
            told.push('/');
        }
        let plain = unescaped(segment);
        let secret = key_follows && !plain.is_empty() || looks_secret(&plain);
        told.push_str(if secret { STRUCK } else { segment });
        key_follows = plain.eq_ignore_ascii_case(KEY_FOLLOWS) || key_follows && plain.is_empty();
    }
    for (index, parameter) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        if told.len() > MAX_BYTES {
            break;
        }
        let name = parameter.split_once('=').map(|(name, _)| name);
        // Without a `=` the whole may be a value.
        let name = name.filter(|name| !looks_secret(&unescaped(name)) && name.len() <= 32).unwrap_or(STRUCK);
        let mark = if index == 0 { '?' } else { '&' };
        write!(told, "{mark}{name}={STRUCK}").expect("memory takes it");
    }
    told.truncate(told.floor_char_boundary(MAX_BYTES));
    told.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// A key of ours, or what may be a token of somebody: long, and of letters and digits that mean nothing. An id with dashes (a UUID) is none.
fn looks_secret(segment: &str) -> bool {
    let longest = |is_part: fn(char) -> bool| segment.split(|character| !is_part(character)).map(str::len).max().unwrap_or(0);
    let letters = longest(|character| character.is_ascii_alphanumeric());
    let base64url = longest(|character| character.is_ascii_alphanumeric() || character == '-' || character == '_');
    segment.to_ascii_lowercase().contains(KEY) || letters >= 24 || base64url >= 40
}

/// With its percent signs resolved, once.
fn unescaped(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let resolved = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(resolved.unwrap_or(*first));
        rest = if resolved.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    const SECRET: &str = "wpk_0011223344556677_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE";

    #[test]
    fn keys_are_struck_wherever_they_stand_and_ids_stay() {
        let table = [
            (format!("/v1/in/k/{SECRET}/osmand"), Some("id=7&lat=57.7&lon=11.9"), "/v1/in/k/***/osmand?id=***&lat=***&lon=***"),
            ("/v1/in/k/short/osmand".to_owned(), None, "/v1/in/k/***/osmand"),
            ("/v1/in/K//short/x".to_owned(), None, "/v1/in/K//***/x"),
            ("/v1/in/%6b/short".to_owned(), None, "/v1/in/%6b/***"),
            (format!("/v1/events/{SECRET}"), Some(SECRET), "/v1/events/***?***=***"),
            ("/v1/deliveries/order-1042".to_owned(), Some("bbox=1,2,3,4"), "/v1/deliveries/order-1042?bbox=***"),
            ("/v1/drivers/0192f0c1-2345-7abc-8def-0123456789ab".to_owned(), None, "/v1/drivers/0192f0c1-2345-7abc-8def-0123456789ab"),
        ];
        for (path, query, expected) in table {
            assert_eq!(struck(&path, query), expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_surrounds_it_a_key_of_ours_never_shows(before in "[a-z/%]{0,20}", after in "[ -~]{0,20}", in_query in any::<bool>()) {
            let path = format!("/{before}{SECRET}{after}");
            let told = if in_query { struck("/x", Some(&path)) } else { struck(&path, None) };
            assert!(!told.contains("Zm9vYmFy"), "{told}");
        }
    }
}
