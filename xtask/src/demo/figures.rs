//! The figures of a demonstration, and the marks they are held to.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_tests::lab::HttpReport;

use crate::mark::Mark;

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// Whether every mark was met.
    pub(crate) passed: bool,
    /// How long it took, from an empty machine to the summary, without building.
    pub(crate) seconds: f64,
    /// Phase 1.
    pub(crate) spread: Spread,
    /// Phase 2.
    pub(crate) weight: Weight,
    /// Phase 3.
    pub(crate) membership: Membership,
    /// Phase 4.
    pub(crate) limit: Limit,
    /// For the message when a mark was missed.
    #[serde(skip)]
    pub(crate) log_tail: String,
}

impl Figures {
    /// Every mark, in the order of the phases.
    pub(crate) fn marks(&self) -> Vec<&Mark> {
        let Self { spread, weight, membership, limit, .. } = self;
        let mut marks = vec![&spread.mark, &weight.edit, &weight.spread.mark];
        marks.extend([&membership.gone, &membership.moved, &membership.back]);
        marks.extend([&limit.admitted, &limit.bystander]);
        marks
    }
}

/// How requests were spread, held to the weights.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Spread {
    /// How many requests were answered.
    pub(crate) answered: u64,
    /// How many failed, by why.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Requests a second.
    pub(crate) rate_per_s: f64,
    /// Half of the requests took no longer, in milliseconds.
    pub(crate) median_ms: f64,
    /// 99 of 100 requests took no longer, in milliseconds.
    pub(crate) p99_ms: f64,
    /// Each backend's part.
    pub(crate) backends: Vec<Share>,
    /// The largest distance of a share from its weight's, and that nothing failed.
    pub(crate) mark: Mark,
}

/// One backend's part of the requests.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Share {
    /// The backend.
    pub(crate) backend: String,
    /// Its weight.
    pub(crate) weight: u16,
    /// How many requests it answered.
    pub(crate) answered: u64,
    /// In per cent of all that were answered.
    pub(crate) percent: f64,
    /// What its weight makes it, in per cent.
    pub(crate) expected_percent: f64,
}

impl Spread {
    /// Holds a report to weights: no share further than `points` from its weight's.
    pub(crate) fn new(what: &'static str, report: &HttpReport, weights: &BTreeMap<String, u16>, points: f64) -> Self {
        let total: f64 = weights.values().copied().map(f64::from).sum();
        let backends: Vec<Share> = weights
            .iter()
            .map(|(backend, weight)| Share {
                backend: backend.clone(),
                weight: *weight,
                answered: report.answers.get(backend).copied().unwrap_or_default(),
                percent: 100.0 * report.share(backend),
                expected_percent: 100.0 * f64::from(*weight) / total,
            })
            .collect();
        let worst = backends.iter().map(|share| (share.percent - share.expected_percent).abs()).fold(0.0, f64::max);
        let strangers = report.answers.keys().filter(|name| !weights.contains_key(*name)).count();
        let failed = failures(&[report]);
        let milliseconds = |part| 1_000.0 * report.latency(part).unwrap_or_default().as_secs_f64();
        Self {
            answered: report.answered(),
            errors: report.errors.clone(),
            rate_per_s: report.answered() as f64 / report.elapsed.as_secs_f64().max(f64::EPSILON),
            median_ms: milliseconds(0.5),
            p99_ms: milliseconds(0.99),
            mark: Mark {
                what,
                found: format!("{} requests, worst share {worst:.2} points off, {failed}", report.answered()),
                wanted: format!("at most {points} points off, none failed"),
                passed: worst <= points && report.failed() == 0 && strangers == 0,
            },
            backends,
        }
    }
}

/// A weight was edited.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Weight {
    /// Which backend's.
    pub(crate) backend: String,
    /// From.
    pub(crate) from: u16,
    /// To.
    pub(crate) to: u16,
    /// From each edit's rename into place until `weir backends` showed it in the kernel, in milliseconds.
    pub(crate) edits_ms: Vec<f64>,
    /// Their median held to the mark.
    pub(crate) edit: Mark,
    /// The requests after the last edit.
    pub(crate) spread: Spread,
}

impl Weight {
    pub(crate) fn passed(&self) -> bool {
        self.edit.passed && self.spread.mark.passed
    }
}

/// A backend was removed and added again.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Membership {
    /// Which backend.
    pub(crate) backend: String,
    /// How long its removal took to reach the kernel, in milliseconds.
    pub(crate) removed_ms: f64,
    /// How long its return took, in milliseconds.
    pub(crate) added_ms: f64,
    /// While it was away, nothing went to it and nothing failed.
    pub(crate) gone: Mark,
    /// Flows of the others that changed backend when it went.
    pub(crate) moved: Mark,
    /// When it was back, every flow was where it had been.
    pub(crate) back: Mark,
}

impl Membership {
    pub(crate) fn passed(&self) -> bool {
        self.gone.passed && self.moved.passed && self.back.passed
    }
}

/// A client offered more than its limit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Limit {
    /// Packets a second that each source may send.
    pub(crate) rate_per_s: u32,
    /// How many at once.
    pub(crate) burst: u32,
    /// What the greedy client offered.
    pub(crate) offered: u64,
    /// What of it arrived at backends.
    pub(crate) arrived: u64,
    /// What the other client sent meanwhile.
    pub(crate) bystander_sent: u64,
    /// What it got answered.
    pub(crate) bystander_answered: u64,
    /// What arrived held to rate and burst.
    pub(crate) admitted: Mark,
    /// The other client lost nothing.
    pub(crate) bystander: Mark,
}

impl Limit {
    pub(crate) fn passed(&self) -> bool {
        self.admitted.passed && self.bystander.passed
    }
}

/// `none failed`, or how many did and why most of them.
pub(crate) fn failures(reports: &[&HttpReport]) -> String {
    let failed: u64 = reports.iter().map(|report| report.failed()).sum();
    match reports.iter().find_map(|report| report.commonest_error()) {
        None => "none failed".to_owned(),
        Some(error) => format!("{failed} failed ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> BTreeMap<String, u16> {
        [("a".to_owned(), 100), ("b".to_owned(), 300)].into()
    }

    fn report(a: u64, b: u64) -> HttpReport {
        HttpReport { answers: [("a".to_owned(), a), ("b".to_owned(), b)].into(), ..HttpReport::default() }
    }

    #[test]
    fn a_share_is_held_to_its_weight() {
        let spread = Spread::new("x", &report(260, 740), &weights(), 1.5);
        assert_eq!((spread.backends[0].percent, spread.backends[0].expected_percent), (26.0, 25.0));
        assert!(spread.mark.passed, "{:?}", spread.mark);
        assert!(!Spread::new("x", &report(270, 730), &weights(), 1.5).mark.passed);
    }

    #[test]
    fn a_failure_or_a_stranger_misses_the_mark() {
        let failed = HttpReport { errors: [("refused".to_owned(), 1)].into(), ..report(250, 750) };
        assert!(!Spread::new("x", &failed, &weights(), 1.5).mark.passed);
        let mut strange = report(2_500, 7_500);
        strange.answers.insert("c".to_owned(), 1);
        assert!(!Spread::new("x", &strange, &weights(), 1.5).mark.passed);
    }
}
