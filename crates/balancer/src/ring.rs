//! A hash ring (ketama), the same as Envoy's for the same endpoints.

use std::io::Write;

use xxhash_rust::xxh64::xxh64;

use crate::Endpoint;
use crate::hashed::Part;

/// Hashes in order, and whose they are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    hashes: Box<[u64]>,
    owners: Box<[u32]>,
}

impl Ring {
    /// Each of `parts` (of `endpoints`) is there in proportion to its part: so many places that
    /// the lightest has a whole number of them and all have `min`, at most `max`. A place is the hash
    /// of `ADDRESS:PORT_N`.
    pub(crate) fn new(endpoints: &[Endpoint], parts: &[Part], min: u64, max: u64) -> Self {
        let lightest = parts.iter().map(|(_, part)| *part).fold(1.0, f64::min);
        let scale = ((lightest * min as f64).ceil() / lightest).min(max as f64);
        let mut places = Vec::with_capacity(scale.ceil() as usize);
        let mut key = Vec::new();
        // Shares are seldom whole numbers: the sum decides, so that nothing is lost by rounding.
        let (mut placed, mut due) = (0.0, 0.0);
        for &(index, part) in parts {
            due += scale * part;
            let mut number = 0_u64;
            key.clear();
            let _ = write!(key, "{}_", endpoints[index as usize].address);
            let stem = key.len();
            while placed < due {
                key.truncate(stem);
                let _ = write!(key, "{number}");
                places.push((xxh64(&key, 0), index));
                number += 1;
                placed += 1.0;
            }
        }
        places.sort_by_key(|(hash, _)| *hash);
        let (hashes, owners): (Vec<u64>, Vec<u32>) = places.into_iter().unzip();
        Self {
            hashes: hashes.into(),
            owners: owners.into(),
        }
    }

    /// The endpoints from `hash` on, once around.
    pub(crate) fn from(&self, hash: u64) -> impl Iterator<Item = u32> {
        let start = self.hashes.partition_point(|place| *place < hash);
        let (before, behind) = self.owners.split_at(start);
        behind.iter().chain(before).copied()
    }
}
