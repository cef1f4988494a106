//! One number of JSON: where it ends, and its value, correctly rounded. Never judges a range.

/// A number as it stands in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numeral<'a> {
    pub(super) text: &'a str,
    /// Its digits without sign and point; meaningless when there are more than `EXACT_DIGITS` of them or an exponent.
    digits: u64,
    /// How many digits stand behind the point.
    decimals: usize,
    plain: bool,
}

/// So many decimal digits always fit a `u64`.
const EXACT_DIGITS: usize = 19;

/// The powers of ten that an `f64` holds exactly.
const POWERS: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

impl<'a> Numeral<'a> {
    /// Takes the number that `text` begins with, by JSON's grammar.
    #[inline]
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut digits = 0_u64;
        let mut run = |from: usize| {
            let mut end = from;
            while let Some(digit) = bytes.get(end).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
                digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit));
                end += 1;
            }
            end
        };
        let whole = usize::from(bytes.first() == Some(&b'-'));
        let mut end = run(whole);
        let mut well_formed = end > whole && (bytes[whole] != b'0' || end == whole + 1);
        let (mut count, mut decimals) = (end - whole, 0);
        if bytes.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = run(fraction);
            decimals = end - fraction;
            count += decimals;
            well_formed &= decimals > 0;
        }
        let mut plain = count <= EXACT_DIGITS;
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let exponent = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            end = run(exponent);
            well_formed &= end > exponent;
            plain = false;
        }
        well_formed.then(|| Self { text: &text[..end], digits, decimals, plain })
    }

    /// The nearest `f64`; infinite when it is too large for one.
    #[inline]
    pub(super) fn value(&self) -> f64 {
        let power = POWERS.get(self.decimals).filter(|_power| self.plain && self.digits <= 1 << f64::MANTISSA_DIGITS);
        let Some(power) = power else { return self.text.parse().expect("JSON's numbers are a part of Rust's") };
        // Both are exact, so the one division rounds once (W. Clinger, "How to Read Floating Point Numbers Accurately", 1990).
        #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
        let value = self.digits as f64 / power;
        if self.text.starts_with('-') { -value } else { value }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, prop_oneof, proptest};
    use proptest::strategy::Strategy as _;

    use super::*;

    #[test]
    fn a_number_is_read_at_the_edges_of_what_is_exact() {
        for text in
            ["0", "-0", "-0.0", "9007199254740992", "9007199254740993", "9007199254740993.0", "0.0000000000000000000001", "1e400", "-1e400", "5e-324"]
        {
            let (value, expected) = (Numeral::read(text).expect(text).value(), text.parse::<f64>().expect(text));
            assert_eq!(value.to_bits(), expected.to_bits(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_what_the_standard_library_reads(
            text in prop_oneof![
                "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?",
                "-?(0|[1-9][0-9]{0,2})\\.[0-9]{1,8}",
                "-?[1-9][0-9]{14,18}",
                any::<f64>().prop_filter("JSON has none", |number| number.is_finite()).prop_map(|number| number.to_string()),
                any::<f32>().prop_filter("JSON has none", |number| number.is_finite()).prop_map(|number| number.to_string()),
            ],
            after in "[,}\\] ]?",
        ) {
            let followed = format!("{text}{after}");
            let numeral = Numeral::read(&followed).expect("a number");
            prop_assert_eq!(numeral.text, &text);
            prop_assert_eq!(numeral.value().to_bits(), text.parse::<f64>().expect("a number").to_bits());
        }
    }
}
