//! A fast hash for values that only the configuration puts into a table.
//!
//! Requests are looked up and never inserted, so nobody who sends them can make values collide; the
//! standard library's hash, which guards against that, costs several times as much on short names.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<FastHasher>>;
pub(crate) type FastSet<K> = HashSet<K, BuildHasherDefault<FastHasher>>;

/// Digits of pi: any odd number with bits all over would do.
pub(crate) const FACTOR: u64 = 0x2436_6c3f_6a88_85a3;

/// Eight bytes a step: multiply to 128 bits and fold, so that every bit reaches every other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FastHasher(u64);

impl FastHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0.rotate_left(5) ^ word ^ FACTOR)
            .wrapping_mul(u128::from(FACTOR.rotate_left(32) | 1));
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for FastHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last));
        }
        self.mix(bytes.len() as u64);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(bytes: &[u8]) -> u64 {
        let mut hasher = FastHasher::default();
        hasher.write(bytes);
        hasher.finish()
    }

    #[test]
    fn numbered_names_spread_over_high_and_low_bits() {
        let mut low = FastSet::default();
        let mut high = FastSet::default();
        for number in 0..10_000 {
            let hash = hash(format!("method{number:05}").as_bytes());
            low.insert(hash & 0x3fff);
            high.insert(hash >> 50);
        }
        // Balls into 16,384 bins: 10,000 at random hit about 7,480 of them.
        assert!(low.len() > 7_200, "{}", low.len());
        assert!(high.len() > 7_200, "{}", high.len());
    }

    #[test]
    fn what_is_missing_at_the_end_counts() {
        assert_ne!(hash(b"a"), hash(b"a\0"));
        assert_ne!(hash(b""), hash(b"\0"));
    }
}
