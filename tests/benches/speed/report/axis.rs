//! The scale of an axis: where values lie on it, and where its ticks are.

/// From values to a position between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

/// A line across the plot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tick {
    /// The value.
    pub value: f64,
    /// Whether the value is written beside it.
    pub labelled: bool,
}

impl Axis {
    /// A logarithmic axis that shows all of these, as far as they are above 0.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = bounds(values.filter(|value| *value > 0.0)).unwrap_or((1.0, 10.0));
        // A little air, so that no mark lies on the frame; at least from one value to twice that.
        let (low, high) = if high / low < 2.0 { (low / 1.5, high * 1.5) } else { (low, high) };
        let air = (high / low).powf(0.04);
        Self { low: low / air, high: high * air, logarithmic: true }
    }

    /// An axis that begins with 0 and shows all of these.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = bounds(values).unwrap_or((0.0, 1.0));
        let high = if high > 0.0 { high } else { 1.0 };
        let step = step(high - low.min(0.0));
        Self { low: (low.min(0.0) / step).floor() * step, high: (high * 1.02 / step).ceil() * step, logarithmic: false }
    }

    /// Where a value lies, from 0 (the low end) to 1; `None` when it is no number or off the axis.
    pub(super) fn position(&self, value: f64) -> Option<f64> {
        let position = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        (-1e-9..=1.0 + 1e-9).contains(&position).then_some(position)
    }

    /// Its ticks, from low to high.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        if self.logarithmic { self.decades() } else { self.steps() }
    }

    fn steps(&self) -> Vec<Tick> {
        let step = step(self.high - self.low);
        let (first, last) = ((self.low / step).round(), (self.high / step).round());
        let mut ticks = Vec::new();
        let mut index = first;
        while index <= last {
            ticks.push(Tick { value: index * step, labelled: true });
            index += 1.0;
        }
        ticks
    }

    /// 1 to 9 of every power of ten. Of a long axis the powers are written, of a short one 2 and 5, too.
    fn decades(&self) -> Vec<Tick> {
        let short = (self.high / self.low).log10() < 2.5;
        let mut ticks = Vec::new();
        let (mut exponent, last) = (self.low.log10().floor(), self.high.log10().ceil());
        while exponent <= last {
            for digit in 1..10_u8 {
                let value = f64::from(digit) * 10_f64.powf(exponent);
                if self.position(value).is_some() {
                    ticks.push(Tick { value, labelled: digit == 1 || (short && matches!(digit, 2 | 5)) });
                }
            }
            exponent += 1.0;
        }
        ticks
    }
}

/// 1, 2 or 5 of a power of ten, so that there are 4 to 10 steps.
fn step(range: f64) -> f64 {
    let power = 10_f64.powf((range / 4.0).log10().floor());
    let times = range / 4.0 / power;
    power
        * if times >= 5.0 {
            5.0
        } else if times >= 2.0 {
            2.0
        } else {
            1.0
        }
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |bounds, value| {
        let (low, high) = bounds.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}
