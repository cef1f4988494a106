//! Numbers of a marker in two bytes each, as fine as anybody can measure them: there are millions. Never what decides which of two facts stands.

use super::maybe::Maybe;

/// Up to 327.67 m/s in hundredths, from there on in tenths up to 3,276.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoarseSpeed(u16);

/// 0.00..360.00 degrees in hundredths; none is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoarseHeading(u16);

/// Up to 327.67 m in hundredths, from there on in steps of four metres up to 131,064. None is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoarseAccuracy(u16);

/// Set where it is not hundredths but steps that are counted.
const FAR: u16 = 1 << 15;

impl CoarseSpeed {
    pub fn of(mps: f32) -> Self {
        let near = nearest(mps * 100.0);
        Self(if near < FAR { near } else { FAR | nearest(mps * 10.0).min(FAR - 2) })
    }

    pub fn mps(self) -> f32 {
        if self.0 < FAR { f32::from(self.0) / 100.0 } else { f32::from(self.0 & !FAR) / 10.0 }
    }
}

impl CoarseHeading {
    pub const NONE: Self = Self(u16::MAX);
    const ROUND: u16 = 36_000;

    pub fn of(degrees: Maybe<f32>) -> Self {
        degrees.get().map_or(Self::NONE, |degrees| Self(nearest(degrees * 100.0) % Self::ROUND))
    }

    pub fn degrees(self) -> Maybe<f32> {
        if self == Self::NONE { Maybe::NONE } else { Maybe::some(f32::from(self.0) / 100.0) }
    }
}

impl CoarseAccuracy {
    const NONE: Self = Self(u16::MAX);
    const STEP_M: f32 = 4.0;

    pub fn of(metres: Maybe<f32>) -> Self {
        let Some(metres) = metres.get() else { return Self::NONE };
        let near = nearest(metres * 100.0);
        Self(if near < FAR { near } else { FAR | nearest(metres / Self::STEP_M).min(FAR - 2) })
    }

    pub fn metres(self) -> Maybe<f32> {
        match self.0 {
            near @ ..FAR => Maybe::some(f32::from(near) / 100.0),
            _ if self == Self::NONE => Maybe::NONE,
            far => Maybe::some(f32::from(far & !FAR) * Self::STEP_M),
        }
    }
}

/// The nearest whole number, a half upwards; the greatest of what is greater.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn nearest(value: f32) -> u16 {
    (value + 0.5) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_two_digits_after_the_point_comes_back_as_it_was() {
        for hundredths in 0..36_000_u16 {
            let value = f32::from(hundredths) / 100.0;
            assert_eq!(CoarseHeading::of(Maybe::some(value)).degrees(), Maybe::some(value));
            if hundredths < FAR {
                assert_eq!(CoarseSpeed::of(value).mps().to_bits(), value.to_bits());
                assert_eq!(CoarseAccuracy::of(Maybe::some(value)).metres(), Maybe::some(value));
            }
        }
    }

    #[test]
    fn none_is_none_and_what_is_out_of_range_is_the_greatest() {
        assert_eq!((CoarseHeading::of(Maybe::NONE).degrees(), CoarseAccuracy::of(Maybe::NONE).metres()), (Maybe::NONE, Maybe::NONE));
        assert_eq!(CoarseHeading::of(Maybe::some(359.996)).degrees(), Maybe::some(0.0));
        for (mps, coarse) in [(327.68, 327.7_f32), (1_000.0, 1_000.0), (f32::MAX, 3_276.6)] {
            assert_eq!(CoarseSpeed::of(mps).mps().to_bits(), coarse.to_bits());
        }
        assert_eq!(CoarseAccuracy::of(Maybe::some(f32::MAX)).metres(), Maybe::some(131_064.0));
    }

    proptest! {
        #[test]
        fn all_are_close(mps in 0.0..1_000.0_f32, degrees in 0.0..359.99_f32, metres in 0.0..100_000.0_f32) {
            let finest = if mps < 327.0 { 0.005_1 } else { 0.050_1 };
            prop_assert!((CoarseSpeed::of(mps).mps() - mps).abs() <= finest);
            prop_assert!((CoarseHeading::of(Maybe::some(degrees)).degrees().get().unwrap() - degrees).abs() <= 0.005_1);
            let accuracy = CoarseAccuracy::of(Maybe::some(metres)).metres().get().unwrap();
            prop_assert!((accuracy - metres).abs() <= (0.007 * metres).max(0.005_1), "{metres} {accuracy}");
        }
    }
}
