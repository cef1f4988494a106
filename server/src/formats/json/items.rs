//! Cuts a request's body into its events without reading them, so that what is wrong inside one stays inside it. Never decodes an event.

use super::super::refusal::{Code, Refusal};
use super::scan::Scanner;
use crate::model::time::UnixMs;

/// The items of a body, not looked into yet: they need be neither JSON nor UTF-8.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Items<'a> {
    /// At most as many as were asked for.
    pub items: Vec<&'a [u8]>,
    /// How many there are.
    pub count: usize,
    pub sent_at: Option<UnixMs>,
    /// The body was one event alone and is answered by its own code.
    pub single: bool,
}

/// Splits `application/json`: an array, `{"events": [..], "sent_at": ..}` or one event. Keeps the first `max` items.
pub fn split(body: &[u8], max: usize) -> Result<Items<'_>, Refusal> {
    let body = body.trim_ascii();
    match body.first() {
        Some(b'[') => split_array(body, max),
        Some(b'{') => split_object(body, max),
        _ => Err(malformed("expected an object or an array")),
    }
}

/// Splits `application/x-ndjson`: one event a line, empty lines skipped. Keeps the first `max` items.
pub fn split_lines(body: &[u8], max: usize) -> Items<'_> {
    let mut items = Items::default();
    for line in body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        items.add(line, max);
    }
    items
}

impl<'a> Items<'a> {
    fn add(&mut self, item: &'a [u8], max: usize) {
        self.count += 1;
        if self.count <= max {
            self.items.push(item);
        }
    }
}

fn split_array(array: &[u8], max: usize) -> Result<Items<'_>, Refusal> {
    let mut items = Items::default();
    let mut rest = array[1..].trim_ascii_start();
    if let Some(after) = rest.strip_prefix(b"]") {
        return if after.is_empty() { Ok(items) } else { Err(malformed("expected the end after the array")) };
    }
    loop {
        let (item, after) = cut(rest);
        if item.is_empty() {
            return Err(malformed("expected an event"));
        }
        items.add(item, max);
        match after.first() {
            Some(b',') => rest = after[1..].trim_ascii_start(),
            Some(b']') if after.len() == 1 => return Ok(items),
            Some(b']') => return Err(malformed("expected the end after the array")),
            _ => return Err(malformed("the array is not closed")),
        }
    }
}

fn split_object(object: &[u8], max: usize) -> Result<Items<'_>, Refusal> {
    let single = Items { items: vec![object], count: 1, sent_at: None, single: true };
    let (mut events, mut sent_at) = (None, None);
    let mut rest = object[1..].trim_ascii_start();
    // A member that cannot be told from its neighbours ends the search: as an event, the object will be refused with the reason.
    while rest.first() == Some(&b'"') {
        let (name, after) = cut_string(rest);
        let Some(after) = after.trim_ascii_start().strip_prefix(b":") else { break };
        let (value, after) = cut(after.trim_ascii_start());
        match name {
            b"\"events\"" => events = Some(value),
            b"\"sent_at\"" => sent_at = Some(value),
            _ => {}
        }
        let Some(after) = after.strip_prefix(b",") else {
            // Behind an unclosed or overrun object no batch is read.
            if after != b"}" {
                events = None;
            }
            break;
        };
        rest = after.trim_ascii_start();
    }
    let Some(events) = events else { return Ok(single) };
    if !(events.starts_with(b"[") && events.ends_with(b"]")) {
        return Err(Refusal::new(Code::WrongType, "/events", "must be an array"));
    }
    let sent_at = sent_at.map(time).transpose()?.flatten();
    Ok(Items { sent_at, ..split_array(events, max)? })
}

fn time(value: &[u8]) -> Result<Option<UnixMs>, Refusal> {
    let text = std::str::from_utf8(value).map_err(|_bytes| Refusal::new(Code::InvalidTime, "/sent_at", "is not UTF-8"))?;
    let mut scanner = Scanner::new(text, 1);
    let time = scanner.time("/sent_at")?;
    scanner.end().map(|()| time)
}

/// Cuts off one value by counting brackets: returns it, without white space around it, and what follows from the delimiter on.
fn cut(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += cut_string(&bytes[at..]).0.len();
                continue;
            }
            b'{' | b'[' => depth += 1,
            b',' if depth == 0 => break,
            b'}' | b']' => match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => break,
            },
            _ => {}
        }
        at += 1;
    }
    (bytes[..at].trim_ascii_end(), &bytes[at..])
}

/// Cuts off the string that starts here, or all when it does not end.
fn cut_string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = bytes[1..].iter();
    loop {
        match rest.next() {
            Some(b'\\') => drop(rest.next()),
            Some(b'"') | None => return bytes.split_at(bytes.len() - rest.len()),
            Some(_) => {}
        }
    }
}

fn malformed(detail: &str) -> Refusal {
    Refusal::new(Code::MalformedJson, "", detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    fn texts(body: &str) -> Vec<String> {
        let items = split(body.as_bytes(), 100).expect("splits");
        items.items.into_iter().map(|item| String::from_utf8_lossy(item).into_owned()).collect()
    }

    #[test]
    fn every_kind_of_body_is_cut_into_its_events() {
        assert_eq!(texts(r#" [ {"a":"],\"[{"} , 7,[1,[2]] ] "#), [r#"{"a":"],\"[{"}"#, "7", "[1,[2]]"]);
        assert_eq!(texts("[]"), Vec::<String>::new());
        assert_eq!(texts("[01, nul, {\"a\":}]"), ["01", "nul", "{\"a\":}"], "what is wrong inside an item stays there");
        let batch = split(br#"{"sent_at": 5, "events": [{"x":1}, {}], "by": {"events": 1}}"#, 100).expect("splits");
        assert_eq!((batch.items, batch.sent_at, batch.single), (vec![br#"{"x":1}"#.as_slice(), b"{}"], Some(UnixMs(5)), false));
        assert!(split(br#"{"event_id":"e","payload":{"events":[]}}"#, 100).expect("splits").single);
        let lines = split_lines(b"\n{\"a\":1}\r\n  \n\xff\n7", 100);
        assert_eq!(lines.items, [b"{\"a\":1}".as_slice(), b"\xff", b"7"]);
    }

    #[test]
    fn a_body_that_cannot_be_cut_is_refused_whole() {
        for (body, code) in [
            ("", Code::MalformedJson),
            ("7", Code::MalformedJson),
            ("[1", Code::MalformedJson),
            ("[1,]", Code::MalformedJson),
            ("[,1]", Code::MalformedJson),
            ("[1]2", Code::MalformedJson),
            ("[1}", Code::MalformedJson),
            (r#"{"events":7}"#, Code::WrongType),
            (r#"{"events":null}"#, Code::WrongType),
            (r#"{"events":[],"sent_at":"noon"}"#, Code::InvalidTime),
        ] {
            assert_eq!(split(body.as_bytes(), 100).expect_err(body).code, code, "{body}");
        }
    }

    #[test]
    fn more_items_than_asked_for_are_counted_and_not_kept() {
        let body = format!("[0{}]", ",0".repeat(99_999));
        let items = split(body.as_bytes(), 10).expect("splits");
        assert_eq!((items.items.len(), items.count), (10, 100_000));
        let lines = split_lines("0\n".repeat(1000).as_bytes(), 10).count;
        assert_eq!(lines, 1000);
    }

    proptest! {
        #[test]
        fn an_array_of_any_values_is_cut_as_serde_json_cuts_it(values in prop::collection::vec((".{0,8}", any::<i64>()), 0..6)) {
            let values: Vec<_> = values.into_iter().map(|(text, number)| serde_json::json!({&text: [text, number]})).collect();
            let body = serde_json::to_string_pretty(&values).expect("JSON");
            let cut: Vec<serde_json::Value> = split(body.as_bytes(), 100).expect("splits").items.into_iter().map(|item| serde_json::from_slice(item).expect("JSON")).collect();
            prop_assert_eq!(cut, values);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop::sample::select(b"[]{}\",:\\ \nae\xff".to_vec()), 0..40)) {
            drop(split(&bytes, 3));
            split_lines(&bytes, 3);
        }
    }
}
