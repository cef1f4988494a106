//! The units in which senders say a speed. Inside, every speed is metres a second.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpeedUnit {
    /// Nautical miles an hour.
    #[default]
    Knots,
    /// Metres a second.
    Mps,
    /// Kilometres an hour.
    Kmh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be knots, mps or kmh")]
pub struct UnknownSpeedUnit;

impl SpeedUnit {
    pub fn to_mps(self, speed: f64) -> f64 {
        match self {
            // A nautical mile is exactly 1852 m.
            Self::Knots => speed * 1852.0 / 3600.0,
            Self::Mps => speed,
            Self::Kmh => speed / 3.6,
        }
    }
}

impl FromStr for SpeedUnit {
    type Err = UnknownSpeedUnit;

    fn from_str(text: &str) -> Result<Self, UnknownSpeedUnit> {
        match text {
            "knots" => Ok(Self::Knots),
            "mps" => Ok(Self::Mps),
            "kmh" => Ok(Self::Kmh),
            _ => Err(UnknownSpeedUnit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_six_kmh_are_ten_metres_a_second_and_as_many_knots_are_more() {
        for (unit, mps) in [("kmh", 10.0), ("mps", 36.0), ("knots", 18.52)] {
            let speed = unit.parse::<SpeedUnit>().expect("a unit").to_mps(36.0);
            assert!((speed - mps).abs() < 1e-9, "{unit}: {speed}");
        }
        assert_eq!("KMH".parse::<SpeedUnit>(), Err(UnknownSpeedUnit));
    }
}
