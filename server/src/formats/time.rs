//! Times as outsiders write them: RFC 3339 text, or integers of Unix milliseconds. Never reads a clock.

use std::borrow::Cow;

use crate::model::time::UnixMs;

/// The years 1 to 9999: what RFC 3339 can write, and far from where arithmetic on times would overflow.
const FIRST: i64 = -62_135_596_800_000;
const LAST: i64 = 253_402_300_799_999;

/// Takes Unix milliseconds from outside; nothing when they lie outside the years 1 to 9999.
pub fn from_ms(ms: i64) -> Option<UnixMs> {
    (FIRST..=LAST).contains(&ms).then_some(UnixMs(ms))
}

/// Reads `2026-11-24T09:30:00.123+01:00`: an offset is required, any is taken; what is finer than a millisecond is cut off.
pub fn parse(text: &str) -> Option<UnixMs> {
    let time: jiff::Timestamp = strict(text)?.parse().ok()?;
    from_ms(time.as_millisecond())
}

/// Writes a time as UTC with a `Z`; empty outside the years that RFC 3339 can write, which nothing taken by `from_ms` is.
pub fn print(time: UnixMs) -> String {
    jiff::Timestamp::from_millisecond(time.0).map_or_else(|_out_of_range| String::new(), |time| time.to_string())
}

/// Holds a text against the grammar of RFC 3339, which is narrower than what jiff reads. Digits beyond the ninth after the point are dropped.
fn strict(text: &str) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    let zone = match bytes.last()? {
        b'Z' | b'z' => bytes.len() - 1,
        _ => bytes.len().checked_sub(6).filter(|at| matches!(bytes[*at], b'+' | b'-') && bytes[at + 3] == b':')?,
    };
    let fraction = bytes.get(19..zone)?;
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let date_and_time = matches!(bytes[10], b'T' | b't') && separators.iter().all(|(at, separator)| bytes[*at] == *separator);
    let digits = fraction.strip_prefix(b".").unwrap_or(fraction);
    let seconds = fraction.is_empty() || (digits.len() < fraction.len() && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
    if !(date_and_time && seconds) {
        return None;
    }
    if digits.len() <= 9 {
        return Some(Cow::Borrowed(text));
    }
    Some(Cow::Owned(format!("{}{}", text.get(..29)?, text.get(zone..)?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn any_offset_is_read_and_what_is_finer_than_a_millisecond_is_cut_off() {
        let cases = [
            ("2026-11-24T09:30:00.123+01:00", 1_795_509_000_123),
            ("2026-11-24T08:30:00.123999999999Z", 1_795_509_000_123),
            ("2026-11-24t08:30:00z", 1_795_509_000_000),
            ("2026-11-23T20:30:00-12:00", 1_795_509_000_000),
            ("1969-12-31T23:59:59Z", -1_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
        ];
        for (text, ms) in cases {
            assert_eq!(parse(text), Some(UnixMs(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_not_rfc_3339_is_no_time() {
        let cases = [
            "",
            "Z",
            "now",
            "2026-11-24",
            "2026-11-24T09:30:00",
            "2026-11-24 09:30:00Z",
            "2026-11-24T09:30Z",
            "20261124T093000Z",
            "2026-11-24T09:30:00,5Z",
            "2026-11-24T09:30:00.Z",
            "2026-11-24T09:30:00+01",
            "2026-11-24T09:30:00+01:00[Europe/Paris]",
            "2026-02-30T09:30:00Z",
            "2026-11-24T25:30:00Z",
            "+002026-11-24T09:30:00Z",
            "2026-11-24T09:30:00é+01:00",
        ];
        for text in cases {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(from_ms(i64::MAX), None);
        assert_eq!(from_ms(LAST + 1), None);
    }

    proptest! {
        #[test]
        fn a_time_survives_its_text(ms in FIRST..=LAST) {
            prop_assert_eq!(parse(&print(UnixMs(ms))), Some(UnixMs(ms)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", tail in "[0-9T:.Z+-]{0,34}") {
            parse(&text);
            parse(&tail);
        }
    }
}
