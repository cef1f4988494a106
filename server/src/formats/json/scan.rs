//! Reads JSON text (RFC 8259) in one pass, member by member, borrowing what it can. Knows no member's meaning.
//!
//! Strict: what it takes, any JSON parser takes. Bounded: values nest at most `MAX_DEPTH` deep, so nothing that reads a kept value later
//! can be driven down its stack.

#![expect(clippy::inline_always, reason = "a token is a few bytes: calling to read it costs as much as reading it")]

use std::borrow::Cow;

use super::super::refusal::{Code, Refusal};
use super::super::time;
use super::numeral::Numeral;
use crate::model::time::UnixMs;

/// How deep an event may nest, itself included.
pub const MAX_DEPTH: usize = 32;

/// A cursor into one JSON text.
#[derive(Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// A member's name, and how it was spelled with its quotes.
#[derive(Debug)]
pub struct Name<'a> {
    pub text: Cow<'a, str>,
    pub raw: &'a str,
}

impl<'a> Scanner<'a> {
    /// `depth` is how deep `text` stands inside the event already.
    pub fn new(text: &'a str, depth: usize) -> Self {
        Self { text, at: 0, depth }
    }

    /// Reads the object that is the whole text, handing each member's name to `member`, which must consume its value.
    pub fn whole_object(mut self, pointer: &str, member: impl FnMut(Name<'a>, &mut Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.required_object(pointer, member)?;
        self.end()
    }

    /// Reads an object.
    pub fn required_object(&mut self, pointer: &str, member: impl FnMut(Name<'a>, &mut Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.object(pointer, member)?.ok_or_else(|| Refusal::new(Code::WrongType, pointer, "must be an object"))
    }

    /// Reads an object; nothing when it is `null`.
    pub fn object(&mut self, pointer: &str, mut member: impl FnMut(Name<'a>, &mut Self) -> Result<(), Refusal>) -> Result<Option<()>, Refusal> {
        if self.peek() != Some(b'{') {
            return self.none_or_wrong(pointer, "must be an object");
        }
        self.descend()?;
        if self.peek() != Some(b'}') {
            loop {
                let name = self.name()?;
                member(name, self)?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => break,
                    _ => return Err(self.malformed("expected , or }")),
                }
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(Some(()))
    }

    /// Reads a string; nothing when it is `null`.
    pub fn string(&mut self, pointer: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        if self.peek() == Some(b'"') { self.quoted().map(Some) } else { self.none_or_wrong(pointer, "must be a string") }
    }

    /// Reads a number; nothing when it is `null`. One too large for an `f64` is infinite.
    pub fn number(&mut self, pointer: &str) -> Result<Option<f64>, Refusal> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.numeral().map(|numeral| Some(numeral.value())),
            _ => self.none_or_wrong(pointer, "must be a number"),
        }
    }

    pub fn boolean(&mut self, pointer: &str) -> Result<Option<bool>, Refusal> {
        match self.peek() {
            Some(b't') => self.word("true").map(|()| Some(true)),
            Some(b'f') => self.word("false").map(|()| Some(false)),
            _ => self.none_or_wrong(pointer, "must be true or false"),
        }
    }

    /// Reads an RFC 3339 string or an integer of Unix milliseconds; nothing when it is `null`.
    pub fn time(&mut self, pointer: &str) -> Result<Option<UnixMs>, Refusal> {
        let read = match self.peek() {
            Some(b'"') => time::parse(&self.quoted()?),
            Some(b'-' | b'0'..=b'9') => self.numeral()?.text.parse().ok().and_then(time::from_ms),
            _ => return self.none_or_wrong(pointer, "must be an RFC 3339 string or an integer of Unix milliseconds"),
        };
        let detail = "must be an RFC 3339 time with an offset or an integer of Unix milliseconds, in the years 1 to 9999";
        read.map(Some).ok_or_else(|| Refusal::new(Code::InvalidTime, pointer, detail))
    }

    /// Reads any value and returns its text; nothing when it is `null`.
    pub fn value(&mut self) -> Result<Option<&'a str>, Refusal> {
        self.raw().map(|raw| Some(raw).filter(|raw| *raw != "null"))
    }

    /// Reads any value and returns its text.
    pub fn raw(&mut self) -> Result<&'a str, Refusal> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Reads a value by `read` and returns what that made of it, and its text; nothing when it was refused, and then stands where it stood.
    pub fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Refusal>) -> Option<(T, &'a str)> {
        self.peek();
        let (start, depth) = (self.at, self.depth);
        let Ok(value) = read(self) else {
            (self.at, self.depth) = (start, depth);
            return None;
        };
        Some((value, &self.text[start..self.at]))
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), Refusal> {
        if self.peek().is_none() { Ok(()) } else { Err(self.malformed("expected the end")) }
    }

    #[inline(always)]
    fn name(&mut self) -> Result<Name<'a>, Refusal> {
        if self.peek() != Some(b'"') {
            return Err(self.malformed("expected a member's name"));
        }
        let start = self.at;
        let text = self.quoted()?;
        let raw = &self.text[start..self.at];
        if self.peek() != Some(b':') {
            return Err(self.malformed("expected :"));
        }
        self.at += 1;
        Ok(Name { text, raw })
    }

    /// Skips one value of any kind. Recursion is bounded by `MAX_DEPTH`.
    fn skip(&mut self) -> Result<(), Refusal> {
        match self.peek() {
            Some(b'"') => self.quoted().map(drop),
            Some(b'-' | b'0'..=b'9') => self.numeral().map(drop),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'{') => self.object("", |_name, scanner| scanner.skip()).map(drop),
            Some(b'[') => self.skip_array(),
            _ => Err(self.malformed("expected a value")),
        }
    }

    fn skip_array(&mut self) -> Result<(), Refusal> {
        self.descend()?;
        if self.peek() != Some(b']') {
            loop {
                self.skip()?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => break,
                    _ => return Err(self.malformed("expected , or ]")),
                }
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// Steps over an opening bracket.
    fn descend(&mut self) -> Result<(), Refusal> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Refusal::new(Code::TooDeep, "", format!("an event nests at most {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    /// Reads the string that starts here; borrowed unless it holds an escape.
    #[inline(always)]
    fn quoted(&mut self) -> Result<Cow<'a, str>, Refusal> {
        let start = self.at + 1;
        let end = start + plain(&self.text.as_bytes()[start..]);
        if self.text.as_bytes().get(end) != Some(&b'"') {
            return self.escaped();
        }
        self.at = end + 1;
        Ok(Cow::Borrowed(&self.text[start..end]))
    }

    /// Reads the string that starts here and holds an escape, or an error.
    #[cold]
    fn escaped(&mut self) -> Result<Cow<'a, str>, Refusal> {
        let start = self.at;
        let mut rest = self.text.as_bytes()[start + 1..].iter();
        loop {
            match rest.next() {
                Some(b'"') => break,
                Some(b'\\') => drop(rest.next()),
                Some(0x20..) => {}
                _ => return Err(self.malformed("unfinished string or a control character inside one")),
            }
        }
        self.at = self.text.len() - rest.len();
        let quoted = &self.text[start..self.at];
        serde_json::from_str(quoted).map(Cow::Owned).map_err(|_escape| self.malformed("invalid escape before here"))
    }

    /// Reads the number that starts here.
    #[inline(always)]
    fn numeral(&mut self) -> Result<Numeral<'a>, Refusal> {
        let numeral = Numeral::read(&self.text[self.at..]).ok_or_else(|| self.malformed("invalid number"))?;
        self.at += numeral.text.len();
        Ok(numeral)
    }

    fn word(&mut self, word: &str) -> Result<(), Refusal> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.malformed("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// For a value that is not of the kind wanted: `null` counts as absent, malformed text is named as such.
    fn none_or_wrong<T>(&mut self, pointer: &str, detail: &str) -> Result<Option<T>, Refusal> {
        match self.value()? {
            None => Ok(None),
            Some(_) => Err(Refusal::new(Code::WrongType, pointer, detail)),
        }
    }

    /// Steps over white space and looks at what follows.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    #[cold]
    fn malformed(&self, what: &str) -> Refusal {
        Refusal::new(Code::MalformedJson, "", format!("{what} at byte {}", self.at))
    }
}

/// How many bytes come before the first quote, backslash or control character; looks at eight at a time.
#[inline(always)]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES << 7;
    // Marks the bytes below `limit`, if below 0x80; above the first of them it may mark others.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let ends = below(word ^ (ONES * u64::from(b'"')), 1) | below(word ^ (ONES * u64::from(b'\\')), 1) | below(word, b' ');
        if ends != 0 {
            return index * 8 + ends.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..b' ')).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn takes(text: &str) -> bool {
        let mut scanner = Scanner::new(text, 0);
        scanner.raw().and_then(|_raw| scanner.end()).is_ok()
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(takes(&nested(MAX_DEPTH)));
        for open in ["[", "{\"a\":"] {
            let refusal = Scanner::new(&open.repeat(100_000), 0).raw().expect_err("too deep");
            assert_eq!(refusal.code, Code::TooDeep);
        }
    }

    /// Texts that are JSON or nearly so.
    fn nearly_json() -> impl Strategy<Value = String> {
        let words =
            ["{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\\", "\\u0031", "\\ud800", "0", "-", "1", ".", "e", "+", "true", "null", " ", "é", "\n"];
        let word = prop_oneof![4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
        prop_oneof![
            prop::collection::vec(word, 0..12).prop_map(|words| words.concat()),
            (any::<f64>(), any::<i64>(), ".{0,6}").prop_map(|(a, b, c)| serde_json::json!({"a": [a, {"b": b}], c: null}).to_string()),
            "-?[01]{1,3}(\\.[01]{0,2})?([eE][+-]?[01]{0,2})?",
            "[-+.eE01]{1,5}",
            r"[\[{][1,\]}]{1,3}",
            r#""[ab\\"\\\\/nu0d8]{0,9}""#,
            "\\{\"a\"[: ]{1,2}(1|true|nul|\\[1,?\\])[,} ]{1,2}",
        ]
    }

    proptest! {
        #[test]
        fn it_takes_what_serde_json_takes_and_nothing_else(text in nearly_json()) {
            let reference: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&text);
            prop_assert_eq!(takes(&text), reference.is_ok(), "{}", text);
        }

        #[test]
        fn a_string_is_read_as_it_was_written(text in prop_oneof![any::<String>(), "[ -~\u{1}\u{1f}\u{7f}\u{80}\u{7ff}\u{ffff}]{0,40}"]) {
            let quoted = serde_json::to_string(&text).expect("JSON");
            prop_assert_eq!(Scanner::new(&quoted, 0).string("").expect("a string").expect("not null").into_owned(), text);
        }

        #[test]
        fn a_string_ends_where_looking_at_each_byte_says(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\"\\ !#[]\x1f\x7f\x80\xa2\xdc".to_vec())], 0..40)) {
            let one_by_one = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' ')).unwrap_or(bytes.len());
            prop_assert_eq!(plain(&bytes), one_by_one);
        }
    }
}
