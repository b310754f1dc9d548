//! Latency histogram: logarithmic buckets, each power of two split in 128, so a value is off by less
//! than 0.4 % at any size.

const SPLIT_BITS: u32 = 7;
const SPLIT: u64 = 1 << SPLIT_BITS;
const BUCKETS: usize = (64 - SPLIT_BITS as usize + 1) << SPLIT_BITS;

/// Counts of values from 0 to `u64::MAX`.
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS].into_boxed_slice(),
            count: 0,
            sum: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Adds one value.
    pub fn add(&mut self, value: u64) {
        self.buckets[bucket_of(value)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// Values added.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The largest, exactly.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The mean; 0 when empty.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a mean needs no more than 52 bits"
    )]
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum as f64 / self.count as f64
        }
    }

    /// The value below which `per_mille` of 1,000 values lie; 0 when empty.
    #[must_use]
    pub fn per_mille(&self, per_mille: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(per_mille) / 1000) as u64;
        let rank = rank.min(self.count.saturating_sub(1));
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen > rank {
                return middle_of(index).min(self.max);
            }
        }
        self.max
    }
}

const fn bucket_of(value: u64) -> usize {
    if value < SPLIT {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - SPLIT_BITS;
    (((shift as u64 + 1) << SPLIT_BITS) + ((value >> shift) - SPLIT)) as usize
}

const fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SPLIT {
        return bucket;
    }
    let shift = (bucket >> SPLIT_BITS) - 1;
    let lowest = ((bucket & (SPLIT - 1)) + SPLIT) << shift;
    lowest + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_within_half_a_percent() {
        let mut value = 1u64;
        while value < u64::MAX / 2 {
            let back = middle_of(bucket_of(value));
            assert!(
                value.abs_diff(back) as f64 <= value as f64 * 0.004,
                "{value} became {back}"
            );
            value += 1 + value / 37;
        }
        assert!(bucket_of(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_of_a_line_are_on_the_line() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000 {
            histogram.add(value);
        }
        for per_mille in [500, 900, 990, 999] {
            let want = per_mille as f64 * 100.0;
            let got = histogram.per_mille(per_mille) as f64;
            assert!(
                (got / want - 1.0).abs() < 0.01,
                "{per_mille}: {got} instead of {want}"
            );
        }
        assert_eq!(histogram.max(), 100_000);
        assert!((histogram.mean() - 50_000.5).abs() < 0.01);
        assert_eq!(histogram.count(), 100_000);
    }

    #[test]
    fn an_empty_one_says_zero() {
        let histogram = Histogram::default();
        assert_eq!((histogram.per_mille(990), histogram.max()), (0, 0));
        assert!(histogram.mean().abs() < f64::EPSILON);
    }
}
