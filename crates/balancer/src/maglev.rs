//! Maglev's table (Eisenbud et al., NSDI 2016, listing 1), with weights as Envoy has them.

use xxhash_rust::xxh64::xxh64;

use crate::Endpoint;
use crate::hashed::Part;

/// Whose each place is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Maglev {
    owners: Box<[u32]>,
}

/// No endpoint has this place yet.
const FREE: u32 = u32::MAX;

/// An endpoint while the table is filled.
struct Filling {
    index: u32,
    /// The place that it wants next, and how far it then goes on.
    at: u64,
    skip: u64,
    weight: f64,
    /// It is passed over until the rounds times its weight reach this.
    target: f64,
}

impl Maglev {
    /// A table of `size` places, a prime; each of `parts` (of `endpoints`) has its part.
    pub(crate) fn new(endpoints: &[Endpoint], parts: &[Part], size: u64) -> Self {
        let mut named: Vec<(String, Part)> = parts
            .iter()
            .map(|part| (endpoints[part.0 as usize].address.to_string(), *part))
            .collect();
        // Who is asked first gets what two want: by name, so that the order of a list does not matter.
        named.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut filling: Vec<Filling> = named
            .iter()
            .map(|(name, (index, part))| Filling {
                index: *index,
                at: xxh64(name.as_bytes(), 0) % size,
                skip: xxh64(name.as_bytes(), 1) % size.saturating_sub(1).max(1) + 1,
                weight: *part,
                target: 0.0,
            })
            .collect();
        let heaviest = filling.iter().map(|one| one.weight).fold(0.0, f64::max);
        let mut owners = vec![FREE; size as usize];
        let mut left = if filling.is_empty() { 0 } else { size };
        let mut round = 0.0;
        while left > 0 {
            round += 1.0;
            for one in &mut filling {
                if left == 0 {
                    break;
                }
                if round * one.weight < one.target {
                    continue;
                }
                one.target += heaviest;
                while owners[one.at as usize] != FREE {
                    one.at = (one.at + one.skip) % size;
                }
                owners[one.at as usize] = one.index;
                left -= 1;
            }
        }
        Self {
            owners: owners.into(),
        }
    }

    /// The endpoints from the place of `hash` on, once around.
    pub(crate) fn from(&self, hash: u64) -> impl Iterator<Item = u32> {
        let start = hash % self.owners.len().max(1) as u64;
        let (before, behind) = self.owners.split_at(start as usize);
        behind.iter().chain(before).copied()
    }
}
