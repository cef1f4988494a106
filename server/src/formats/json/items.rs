//! Takes a request's body apart into its events, so that what is wrong inside one stays inside it. Never decodes an event.

use super::super::refusal::{Code, Refusal};
use super::scan::Scanner;
use crate::model::time::UnixMs;

/// The items of a body, taken off one after the other.
#[derive(Debug)]
pub struct Items<'a> {
    body: &'a [u8],
    /// As much of the body as is UTF-8.
    text: &'a str,
    /// How far the body is read.
    at: usize,
    shape: Shape,
    pub sent_at: Option<UnixMs>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The body is one event alone and is answered by its own code.
    Single,
    /// Stands at an element.
    Array,
    Lines,
    End,
}

/// One item: read already, or cut off without a look inside. Then it need be neither JSON nor UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a, T> {
    Read(T),
    Cut(&'a [u8]),
}

/// Opens `application/json`: an array, `{"events": [..], "sent_at": ..}` or one event.
pub fn open(body: &[u8]) -> Result<Items<'_>, Refusal> {
    let body = body.trim_ascii();
    match body.first() {
        Some(b'[') => open_array(body, None),
        Some(b'{') => open_object(body),
        _ => Err(malformed("expected an object or an array")),
    }
}

/// Opens `application/x-ndjson`: one event a line, empty lines skipped.
pub fn open_lines(body: &[u8]) -> Items<'_> {
    Items { body, text: "", at: 0, shape: Shape::Lines, sent_at: None }
}

impl<'a> Items<'a> {
    pub fn is_single(&self) -> bool {
        self.shape == Shape::Single
    }

    /// The next item. `read` may read it where it stands, at the start of a text, and say how long it is; what it does not read is cut off.
    pub fn next<T>(&mut self, read: impl FnOnce(&'a str) -> Option<(T, usize)>) -> Result<Option<Item<'a, T>>, Refusal> {
        match self.shape {
            Shape::Array => self.element(read).map(Some),
            Shape::Lines => Ok(self.line().map(Item::Cut)),
            Shape::Single => {
                self.shape = Shape::End;
                Ok(Some(Item::Cut(self.body)))
            }
            Shape::End => Ok(None),
        }
    }

    fn element<T>(&mut self, read: impl FnOnce(&'a str) -> Option<(T, usize)>) -> Result<Item<'a, T>, Refusal> {
        let rest = &self.body[self.at..];
        let read = self.text.get(self.at..).and_then(read).map(|(value, length)| (value, rest[length..].trim_ascii_start()));
        let (item, after) = match read {
            Some((value, after)) if matches!(after.first(), Some(b',' | b']')) => (Item::Read(value), after),
            _ => {
                let (item, after) = cut(rest);
                (Item::Cut(item), after)
            }
        };
        if matches!(item, Item::Cut(item) if item.is_empty()) {
            return Err(malformed("expected an event"));
        }
        match after.first() {
            Some(b',') => self.at = self.body.len() - after[1..].trim_ascii_start().len(),
            Some(b']') if after.len() == 1 => self.shape = Shape::End,
            Some(b']') => return Err(malformed("expected the end after the array")),
            _ => return Err(malformed("the array is not closed")),
        }
        Ok(item)
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.body.get(self.at..)?;
            let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            self.at += length + 1;
            let line = rest[..length].trim_ascii();
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

fn open_array(array: &[u8], sent_at: Option<UnixMs>) -> Result<Items<'_>, Refusal> {
    let text = std::str::from_utf8(array).or_else(|error| std::str::from_utf8(&array[..error.valid_up_to()])).unwrap_or("");
    let rest = array[1..].trim_ascii_start();
    let shape = match rest.strip_prefix(b"]") {
        Some(b"") => Shape::End,
        Some(_) => return Err(malformed("expected the end after the array")),
        None => Shape::Array,
    };
    Ok(Items { body: array, text, at: array.len() - rest.len(), shape, sent_at })
}

fn open_object(object: &[u8]) -> Result<Items<'_>, Refusal> {
    let [events, sent_at] = members(object, [b"\"events\"", b"\"sent_at\""]);
    let Some(events) = events else {
        return Ok(Items { body: object, text: "", at: 0, shape: Shape::Single, sent_at: None });
    };
    check_array(events, "/events")?;
    let sent_at = sent_at.map(time).transpose()?.flatten();
    open_array(events, sent_at)
}

/// Opens an object whose member `name` (in its quotes) is an array of items; nothing when it has no such member.
pub fn open_member<'a>(object: &'a [u8], name: &'static [u8], pointer: &str) -> Result<Option<Items<'a>>, Refusal> {
    let object = object.trim_ascii();
    if !(object.len() >= 2 && object.starts_with(b"{") && object.ends_with(b"}")) {
        return Err(malformed("expected an object"));
    }
    let [list] = members(object, [name]);
    list.map(|list| check_array(list, pointer).and_then(|()| open_array(list, None))).transpose()
}

fn check_array(value: &[u8], pointer: &str) -> Result<(), Refusal> {
    if value.starts_with(b"[") && value.ends_with(b"]") { Ok(()) } else { Err(Refusal::new(Code::WrongType, pointer, "must be an array")) }
}

/// Cuts off the values of an object's members of these names (in their quotes), of each the last. The first is nothing when the object does not end well.
pub fn members<'a, const N: usize>(object: &'a [u8], names: [&'static [u8]; N]) -> [Option<&'a [u8]>; N] {
    let mut found = [None; N];
    let mut rest = object.get(1..).unwrap_or_default().trim_ascii_start();
    // A member that cannot be told from its neighbours ends the search: as an event, the object will be refused with the reason.
    while rest.first() == Some(&b'"') {
        let (name, after) = cut_string(rest);
        let Some(after) = after.trim_ascii_start().strip_prefix(b":") else { break };
        let (value, after) = cut(after.trim_ascii_start());
        if let Some(at) = names.iter().position(|known| *known == name) {
            found[at] = Some(value);
        }
        let Some(after) = after.strip_prefix(b",") else {
            // Behind an unclosed or overrun object no batch is read.
            if after != b"}" {
                found[0] = None;
            }
            break;
        };
        rest = after.trim_ascii_start();
    }
    found
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
        cut_all(open(body.as_bytes()).expect("opens")).expect("splits").into_iter().map(|item| String::from_utf8_lossy(item).into_owned()).collect()
    }

    /// All items, none of them read.
    fn cut_all(mut items: Items<'_>) -> Result<Vec<&[u8]>, Refusal> {
        let mut all = Vec::new();
        while let Some(item) = items.next(|_text| None::<((), usize)>)? {
            let Item::Cut(item) = item else { continue };
            all.push(item);
        }
        Ok(all)
    }

    #[test]
    fn every_kind_of_body_is_cut_into_its_events() {
        assert_eq!(texts(r#" [ {"a":"],\"[{"} , 7,[1,[2]] ] "#), [r#"{"a":"],\"[{"}"#, "7", "[1,[2]]"]);
        assert_eq!(texts("[]"), Vec::<String>::new());
        assert_eq!(texts("[01, nul, {\"a\":}]"), ["01", "nul", "{\"a\":}"], "what is wrong inside an item stays there");
        let batch = open(br#"{"sent_at": 5, "events": [{"x":1}, {}], "by": {"events": 1}}"#).expect("opens");
        assert_eq!((batch.sent_at, batch.is_single()), (Some(UnixMs(5)), false));
        assert_eq!(cut_all(batch).expect("splits"), vec![br#"{"x":1}"#.as_slice(), b"{}"]);
        assert!(open(br#"{"event_id":"e","payload":{"events":[]}}"#).expect("opens").is_single());
        let lines = cut_all(open_lines(b"\n{\"a\":1}\r\n  \n\xff\n7")).expect("splits");
        assert_eq!(lines, [b"{\"a\":1}".as_slice(), b"\xff", b"7"]);
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
            assert_eq!(open(body.as_bytes()).and_then(cut_all).expect_err(body).code, code, "{body}");
        }
    }

    #[test]
    fn an_item_is_read_where_it_stands_if_it_ends_there() {
        let two = |text: &str| text.starts_with("{}").then_some(((), 2));
        let mut items = open(b"[{} ,{}x,7,{}\xff,{}]").expect("opens");
        for expected in [Item::Read(()), Item::Cut(b"{}x".as_slice()), Item::Cut(b"7"), Item::Cut(b"{}\xff"), Item::Cut(b"{}")] {
            assert_eq!(items.next(two).expect("splits"), Some(expected));
        }
        assert_eq!(items.next(two).expect("splits"), None);
        assert!(open(b"[{}}]").expect("opens").next(two).is_err());
    }

    proptest! {
        #[test]
        fn an_array_of_any_values_is_cut_as_serde_json_cuts_it(values in prop::collection::vec((".{0,8}", any::<i64>()), 0..6)) {
            let values: Vec<_> = values.into_iter().map(|(text, number)| serde_json::json!({&text: [text, number]})).collect();
            let body = serde_json::to_string_pretty(&values).expect("JSON");
            let cut: Vec<serde_json::Value> = cut_all(open(body.as_bytes()).expect("opens")).expect("splits").into_iter().map(|item| serde_json::from_slice(item).expect("JSON")).collect();
            prop_assert_eq!(cut, values);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop::sample::select(b"[]{}\",:\\ \nae\xff".to_vec()), 0..40)) {
            drop(open(&bytes).and_then(cut_all));
            drop(cut_all(open_lines(&bytes)));
        }
    }
}
