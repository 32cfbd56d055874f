//! One figure, measured once a round.

/// The values of interleaved rounds, in their order. What is compared is compared round by round, so that what slowed a
/// whole round down falls out.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Samples(pub Vec<f64>);

impl Samples {
    /// The middle value; of an even number the mean of the two in the middle. `NaN` of none.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    /// The smallest value; infinite of none.
    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest value; infinite of none.
    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Round by round, this divided by the other.
    pub(crate) fn over(&self, other: &Self) -> Self {
        self.with(other, |own, others| own / others)
    }

    /// Round by round, this less the other.
    pub(crate) fn less(&self, other: &Self) -> Self {
        self.with(other, |own, others| own - others)
    }

    fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, others)| f(*own, *others)).collect())
    }
}
