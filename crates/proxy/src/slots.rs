//! Objects by number, with a generation that tells an old number from a new one.

/// Names one object for as long as it lives; afterwards it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Id {
    /// Names nothing, ever.
    pub(crate) const NONE: Self = Self {
        index: u32::MAX,
        generation: 0,
    };

    pub(crate) fn is_none(self) -> bool {
        self.index == u32::MAX
    }

    /// As a number for the kernel to give back; the top bit stays free.
    pub(crate) fn token(self) -> u64 {
        (u64::from(self.generation & 0x7fff_ffff) << 32) | u64::from(self.index)
    }

    pub(crate) fn from_token(token: u64) -> Self {
        Self {
            index: token as u32,
            generation: ((token >> 32) & 0x7fff_ffff) as u32,
        }
    }
}

struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// A growing array of objects whose places are used again.
pub(crate) struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The id that the next [`Slots::insert`] will give.
    pub(crate) fn insert(&mut self, value: T) -> Id {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 0,
                value: None,
            });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        entry.generation = (entry.generation + 1) & 0x7fff_ffff;
        entry.value = Some(value);
        Id {
            index,
            generation: entry.generation,
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        let entry = self.entries.get(id.index as usize)?;
        if entry.generation == id.generation {
            entry.value.as_ref()
        } else {
            None
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let entry = self.entries.get_mut(id.index as usize)?;
        if entry.generation == id.generation {
            entry.value.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        let entry = self.entries.get_mut(id.index as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        let value = entry.value.take()?;
        self.free.push(id.index);
        Some(value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }

    pub(crate) fn ids(&self) -> Vec<Id> {
        let live = |(index, entry): (usize, &Entry<T>)| {
            entry.value.as_ref()?;
            Some(Id {
                index: index as u32,
                generation: entry.generation,
            })
        };
        self.entries.iter().enumerate().filter_map(live).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_nothing_after_its_object_is_gone_though_the_place_is_used_again() {
        let mut slots = Slots::new();
        let first = slots.insert("a");
        assert_eq!(slots.remove(first), Some("a"));
        let second = slots.insert("b");
        assert_eq!(first.index, second.index);
        assert!(slots.get(first).is_none());
        assert_eq!(slots.get(second), Some(&"b"));
        assert_eq!(Id::from_token(second.token()), second);
    }
}
