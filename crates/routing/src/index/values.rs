//! What stands behind each value of an attribute, in parts that indexes share.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::{Candidate, Node, key};
use crate::hash::{FACTOR, FastMap};

/// Values of one part: so few that an edit copies little, so many that the parts cost little memory.
const OF_A_PART: usize = 128;

/// Nodes by value. A clone shares all of its parts, and copies the ones that it changes.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// As many as a power of two.
    parts: Box<[Arc<Part>]>,
}

type Part = FastMap<Arc<[u8]>, Node>;

impl Values {
    /// For so many values.
    pub(super) fn for_count(count: usize) -> Self {
        let parts = count.div_ceil(OF_A_PART).next_power_of_two();
        let each = count.div_ceil(parts);
        let part = || Arc::new(Part::with_capacity_and_hasher(each, Default::default()));
        Self {
            parts: (0..parts).map(|_| part()).collect(),
        }
    }

    /// The part of a value: by its first and its last eight bytes, since hashing the whole of it once
    /// more would make a lookup half as long again. Where values differ only between, they share a
    /// part, and an edit copies more.
    #[inline]
    fn part(&self, value: &[u8]) -> usize {
        let front = key(value);
        let back = value
            .last_chunk()
            .map_or(0, |last| u64::from_le_bytes(*last));
        let mixed = (front ^ back.rotate_left(32)).wrapping_mul(FACTOR);
        (mixed >> 40) as usize & (self.parts.len() - 1)
    }

    fn part_mut(&mut self, value: &[u8]) -> &mut Part {
        let part = self.part(value);
        Arc::make_mut(&mut self.parts[part])
    }

    #[inline]
    pub(super) fn get(&self, value: &[u8]) -> Option<&Node> {
        match &*self.parts {
            [only] => only.get(value),
            parts => parts[self.part(value)].get(value),
        }
    }

    pub(super) fn get_mut(&mut self, value: &[u8]) -> Option<&mut Node> {
        self.part_mut(value).get_mut(value)
    }

    /// Puts a candidate behind a value that has none; false where it has.
    pub(super) fn insert(&mut self, value: &Arc<[u8]>, candidate: Candidate) -> bool {
        match self.part_mut(value).entry(Arc::clone(value)) {
            Entry::Vacant(free) => {
                free.insert(Node::One(candidate));
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    pub(super) fn remove(&mut self, value: &[u8]) {
        self.part_mut(value).remove(value);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<[u8]>, &Node)> {
        self.parts.iter().flat_map(|part| part.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_names_spread_over_the_parts() {
        for name in ["m", "method", "com.example.Service.method"] {
            let mut values = Values::for_count(10_000);
            for number in 0..10_000 {
                let value = format!("{name}{number:05}").into_bytes().into();
                let candidate = Candidate {
                    ordinal: number,
                    open: 0,
                };
                assert!(values.insert(&value, candidate));
            }
            let largest = values.parts.iter().map(|part| part.len()).max();
            assert!(largest < Some(3 * OF_A_PART), "{name}: {largest:?}");
        }
    }
}
