//! Times as phones write them: seconds or milliseconds in one field, offsets without a colon, dates without a `T`. Never reads a clock.

use crate::formats::time;
use crate::model::time::UnixMs;

/// Numbers below this are seconds: as milliseconds they would lie in January 1970.
const SECONDS_BELOW: i64 = 1 << 31;

/// Takes Unix seconds or milliseconds.
pub fn from_number(number: i64) -> Option<UnixMs> {
    if number < SECONDS_BELOW { number.checked_mul(1000).and_then(time::from_ms) } else { time::from_ms(number) }
}

/// Reads a number of seconds or milliseconds, ISO 8601 with an offset (with or without its colon), or `2026-11-24 09:30:00` in UTC.
pub fn parse(text: &str) -> Option<UnixMs> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return from_number(number);
    }
    if text.as_bytes().get(10) == Some(&b' ') {
        return plain(text);
    }
    time::parse(text).or_else(|| time::parse(&with_colon(text)?))
}

/// A date and a time between which stands a space: UTC unless it ends in an offset of its own.
fn plain(text: &str) -> Option<UnixMs> {
    let (date, clock) = text.split_once(' ')?;
    let zoned = clock.contains(['Z', 'z', '+', '-']);
    parse(&format!("{date}T{clock}{}", if zoned { "" } else { "Z" }))
}

/// Writes the offset as RFC 3339 wants it: `-0700` and `-07` become `-07:00`. A space is a plus that was not escaped in an address.
fn with_colon(text: &str) -> Option<String> {
    let at = text.rfind(['+', '-', ' ']).filter(|at| *at > 10)?;
    let (clock, offset) = text.split_at(at);
    let sign = if offset.starts_with('-') { '-' } else { '+' };
    let digits = &offset[1..];
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 | 5 => (digits.get(..2)?, digits.get(digits.len() - 2..)?),
        _ => return None,
    };
    (digits.len() < 5 || digits.as_bytes()[2] == b':').then(|| format!("{clock}{sign}{hours}:{minutes}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    #[test]
    fn a_time_is_read_in_every_form_that_phones_use() {
        let cases = [
            ("1795509000", 1_795_509_000_000),
            ("1795509000123", 1_795_509_000_123),
            ("2147483647", 2_147_483_647_000),
            ("2147483648", 2_147_483_648),
            ("2026-11-24T08:30:00Z", 1_795_509_000_000),
            ("2026-11-24T09:30:00.123+0100", 1_795_509_000_123),
            ("2026-11-24T01:30:00-0700", 1_795_509_000_000),
            ("2026-11-24T01:30:00-07", 1_795_509_000_000),
            ("2026-11-24T09:30:00+01:00", 1_795_509_000_000),
            ("2026-11-24T09:30:00 01:00", 1_795_509_000_000),
            ("2026-11-24T09:30:00 0100", 1_795_509_000_000),
            ("2026-11-24 08:30:00", 1_795_509_000_000),
            ("2026-11-24 08:30:00.5Z", 1_795_509_000_500),
            (" 1795509000 ", 1_795_509_000_000),
        ];
        for (text, ms) in cases {
            assert_eq!(parse(text), Some(UnixMs(ms)), "{text}");
        }
    }

    #[test]
    fn what_leaves_the_moment_open_is_no_time() {
        for text in ["", "noon", "2026-11-24T08:30:00", "2026-11-24", "08:30", "%TIME", "99999999999999999", "2026-11-24T08:30:00+1", "1795509000.5"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", tail in "[0-9T:.Z+ -]{0,34}") {
            parse(&text);
            parse(&tail);
            parse(&format!("2026-11-24T{text}"));
        }
    }
}
