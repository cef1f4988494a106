//! Times as outsiders write them: RFC 3339 text, or integers of Unix milliseconds. Never reads a clock.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::model::time::UnixMs;

/// The years 1 to 9999: what RFC 3339 can write, and far from where arithmetic on times would overflow.
const FIRST: i64 = -62_135_596_800_000;
/// 26 hours before the end of 9999: later moments are no time of that year in every zone, and jiff has none of them.
const LAST: i64 = 253_402_207_200_000;

/// Takes Unix milliseconds from outside; nothing when they lie outside the years 1 to 9999.
pub fn from_ms(ms: i64) -> Option<UnixMs> {
    (FIRST..=LAST).contains(&ms).then_some(UnixMs(ms))
}

/// Reads `2026-11-24T09:30:00.123+01:00`: an offset is required, any is taken; what is finer than a millisecond is cut off.
pub fn parse(text: &str) -> Option<UnixMs> {
    usual(text.as_bytes()).or_else(|| any(text))
}

/// Reads the form that nearly all senders write, `2026-11-24T08:30:00.123Z` with or without milliseconds. Judges no other.
fn usual(text: &[u8]) -> Option<UnixMs> {
    let (seconds, ms) = match text.split_first_chunk::<19>()? {
        (seconds, b"Z") => (seconds, 0),
        (seconds, [b'.', ms @ .., b'Z']) if ms.len() == 3 => (seconds, digits(ms)?),
        _ => return None,
    };
    let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', i0, i1, b':', s0, s1] = seconds else { return None };
    let (year, month, day) = (digits(&[y0, y1, y2, y3])?, digits(&[m0, m1])?, digits(&[d0, d1])?);
    let (hour, minute, second) = (digits(&[h0, h1])?, digits(&[i0, i1])?, digits(&[s0, s1])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let exists = year >= 1 && (1..=12).contains(&month) && (1..=days).contains(&day) && hour <= 23 && minute <= 59 && second <= 59;
    // Days since 1970-01-01, counted in years that begin in March, so that a leap day is a year's last (H. Hinnant, "days_from_civil").
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    exists.then_some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms).and_then(from_ms)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

fn any(text: &str) -> Option<UnixMs> {
    let time: jiff::Timestamp = strict(text)?.parse().ok()?;
    from_ms(time.as_millisecond())
}

/// Writes a time as UTC with a `Z`; empty outside the years that RFC 3339 can write, which nothing taken by `from_ms` is.
pub fn print(time: UnixMs) -> String {
    String::from_utf8(text_of(time).as_slice().to_vec()).expect("digits and letters")
}

/// The longest: `2026-11-24T08:30:00.123Z`.
type Text = SmallVec<[u8; 24]>;

/// As `print`, in place: an answer of a thousand deliveries says some thousand times.
pub(super) fn text_of(time: UnixMs) -> Text {
    if !(FIRST..=LAST).contains(&time.0) {
        return jiff::Timestamp::from_millisecond(time.0)
            .map_or_else(|_out_of_range| Text::new(), |time| Text::from_slice(time.to_string().as_bytes()));
    }
    let (days, ms) = (time.0.div_euclid(86_400_000), time.0.rem_euclid(86_400_000));
    // The other way round than in `usual` (H. Hinnant, "civil_from_days").
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (year, month, day) =
        (year + era * 400 + i64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 }, day - (153 * month + 2) / 5 + 1);
    let mut text = Text::from_slice(b"0000-00-00T00:00:00.000Z");
    for (at, number) in [(2, year), (5, month), (8, day), (11, ms / 3_600_000), (14, ms / 60_000 % 60), (17, ms / 1_000 % 60)] {
        put_two(&mut text, at, number);
    }
    put_two(&mut text, 0, year / 100);
    text[20] = last_digit(ms / 100);
    put_two(&mut text, 21, ms);
    // Milliseconds end with their last digit that says something, and are not there when none does.
    let zeros = text[20..23].iter().rev().take_while(|digit| **digit == b'0').count();
    let end = if zeros == 3 { 19 } else { 23 - zeros };
    text.truncate(end);
    text.push(b'Z');
    text
}

/// The last two digits of a number.
fn put_two(text: &mut Text, at: usize, number: i64) {
    text[at] = last_digit(number / 10);
    text[at + 1] = last_digit(number);
}

fn last_digit(number: i64) -> u8 {
    b'0' + u8::try_from(number % 10).expect("what is not negative has such a last digit")
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
    use proptest::prelude::{Just, prop_assert_eq, prop_oneof, proptest};

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
    fn what_is_taken_can_be_written_again_to_the_last_moment() {
        assert_eq!(parse("9999-12-31T00:00:00Z"), None);
        assert_eq!(from_ms(LAST + 1), None);
        for ms in [FIRST, LAST] {
            assert_eq!(from_ms(ms).and_then(|time| parse(&print(time))), Some(UnixMs(ms)));
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
        fn a_time_is_written_as_others_write_it(ms in FIRST - 1_000..=LAST, coarser in prop_oneof![Just(1_i64), Just(10), Just(100), Just(1_000), Just(86_400_000)]) {
            let ms = ms / coarser * coarser;
            prop_assert_eq!(print(UnixMs(ms)), jiff::Timestamp::from_millisecond(ms).expect("in range").to_string());
        }

        #[test]
        fn a_time_survives_its_text(ms in FIRST..=LAST) {
            prop_assert_eq!(parse(&print(UnixMs(ms))), Some(UnixMs(ms)));
        }

        #[test]
        fn the_usual_form_is_read_as_any_other_is(ms in FIRST..=LAST, text in "(0000|0001|1900|2000|2023|2024|9999)-(0[0-3]|1[0-3]|[a2]2)-(0[01]|2[89]|3[0-2])T(00|2[0-4]):(00|59|60):(00|5[89]|6[01])(\\.[0-9a]{0,4})?Z?") {
            for text in [text, print(UnixMs(ms)), print(UnixMs(ms / 1000 * 1000))] {
                if let Some(time) = usual(text.as_bytes()) {
                    prop_assert_eq!(any(&text), Some(time), "{}", text);
                }
                prop_assert_eq!(parse(&text), any(&text), "{}", text);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", tail in "[0-9T:.Z+-]{0,34}") {
            parse(&text);
            parse(&tail);
        }
    }
}
