//! A histogram over the bounds that Envoy uses for all of its own.

/// Upper bounds; the last bucket has none. Milliseconds or bytes.
pub(crate) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The same in thousandths, so that microseconds are compared with integers.
const THOUSANDTHS: [u64; 19] = [
    500,
    1000,
    5000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    pub(crate) buckets: [u64; 20],
    /// Thousandths.
    pub(crate) sum: u64,
}

impl Histogram {
    /// Adds one value, given in thousandths (microseconds where the unit is milliseconds).
    #[inline]
    pub(crate) fn record(&mut self, thousandths: u64) {
        let at = THOUSANDTHS.iter().position(|&bound| thousandths <= bound);
        self.buckets[at.unwrap_or(THOUSANDTHS.len())] += 1;
        self.sum = self.sum.wrapping_add(thousandths);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_under_the_first_bound_that_is_not_below_it() {
        for (bound, thousandths) in BOUNDS.iter().zip(THOUSANDTHS) {
            assert_eq!((bound * 1000.0) as u64, thousandths);
            let mut histogram = Histogram::default();
            histogram.record(thousandths);
            histogram.record(thousandths + 1);
            let at = BOUNDS.iter().position(|other| other == bound).unwrap();
            assert_eq!((histogram.buckets[at], histogram.buckets[at + 1]), (1, 1));
            assert_eq!(histogram.count(), 2);
        }
    }
}
