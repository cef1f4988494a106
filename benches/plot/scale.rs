//! From values to places along an axis, and which values are written there. Draws nothing.

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// From zero.
    Linear,
    /// Each decade as long as the next; what is not above zero is left out.
    Log,
}

#[derive(Clone, Debug)]
pub(crate) struct Scale {
    spread: Spread,
    low: f64,
    high: f64,
    pub(crate) ticks: Vec<f64>,
}

impl Scale {
    /// Holds all `values`, and ends at round ones.
    pub(crate) fn over(spread: Spread, values: impl Iterator<Item = f64>) -> Self {
        let usable = values.filter(|value| value.is_finite() && (spread == Spread::Linear || *value > 0.0));
        let (low, high) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Self { spread, low: 1.0, high: 10.0, ticks: vec![1.0, 10.0] };
        }
        match spread {
            Spread::Linear => linear(high),
            Spread::Log => log(low, high),
        }
    }

    /// Where a value stands: 0 at the axis' beginning, 1 at its end; absent where it has no place.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        let share = match self.spread {
            Spread::Linear => (value - self.low) / (self.high - self.low),
            Spread::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        share.is_finite().then_some(share)
    }
}

fn linear(high: f64) -> Scale {
    let high = if high > 0.0 { high } else { 1.0 };
    let rough = high / 5.0;
    let decade = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|times| times * decade).find(|step| *step >= rough * 0.999).unwrap_or(rough);
    let mut ticks = vec![0.0];
    while ticks.last().is_some_and(|last| *last < high * 0.999) {
        #[expect(clippy::cast_precision_loss, reason = "a handful of ticks")]
        ticks.push(step * ticks.len() as f64);
    }
    Scale { spread: Spread::Linear, low: 0.0, high: ticks.last().copied().unwrap_or(high), ticks }
}

fn log(low: f64, high: f64) -> Scale {
    /// Up to this many decades, 2 and 5 are written as well.
    const FEW: f64 = 2.6;
    let steps: &[f64] = if (high / low).log10() <= FEW { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let mut all = Vec::new();
    let mut decade = 10.0_f64.powf(low.log10().floor());
    while decade <= high * 10.0 {
        all.extend(steps.iter().map(|step| step * decade));
        decade *= 10.0;
    }
    let first = all.iter().rposition(|tick| *tick <= low * 1.001).unwrap_or(0);
    let last = all.iter().position(|tick| *tick >= high * 0.999).unwrap_or(all.len() - 1).max(first + 1);
    let ticks = all[first..=last].to_vec();
    Scale { spread: Spread::Log, low: ticks[0], high: ticks[ticks.len() - 1], ticks }
}
