//! The last good state of the resources of one type.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::Rejected;
use crate::fingerprint::Fingerprint;
use crate::invalid::Invalid;

/// Resources of one type by name, each as compiled from the last bytes that were good.
#[derive(Debug)]
pub(crate) struct Held<T> {
    by_name: HashMap<Arc<str>, Entry<T>>,
}

#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) value: T,
    bytes: Fingerprint,
    /// The server took it away, but it is still in use.
    pub(crate) removed: bool,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
        }
    }
}

impl<T> Held<T> {
    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.by_name.get(name).map(|entry| &entry.value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &T)> {
        self.by_name
            .iter()
            .map(|(name, entry)| (name, &entry.value))
    }

    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.by_name.remove(name).is_some()
    }

    /// Notes that the server took `name` away; [`Held::sweep`] drops it.
    pub(crate) fn mark_removed(&mut self, name: &str) {
        if let Some(entry) = self.by_name.get_mut(name) {
            entry.removed = true;
        }
    }

    /// Drops what was taken away and is not `used` any more; says whether there was any.
    pub(crate) fn sweep(&mut self, used: &HashSet<&str>) -> bool {
        let before = self.by_name.len();
        self.by_name
            .retain(|name, entry| !entry.removed || used.contains(&**name));
        self.by_name.len() != before
    }

    /// Takes in each resource whose bytes are new and that `compile` accepts; a refused one stays what it
    /// was. `compile` is given what holds so far; `same` tells values apart where the bytes differ. Returns the names whose value changed.
    pub(crate) fn apply(
        &mut self,
        resources: &[(&str, &[u8])],
        rejected: &mut Vec<Rejected>,
        mut compile: impl FnMut(&str, &[u8], Option<&T>) -> Result<T, Invalid>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Vec<Arc<str>> {
        let mut changed = Vec::new();
        let twice = named_twice(resources, rejected);
        for &(name, bytes) in resources.iter().filter(|(name, _)| !twice.contains(name)) {
            let fingerprint = Fingerprint::of(bytes);
            if let Some(entry) = self.by_name.get_mut(name) {
                entry.removed = false;
                if entry.bytes == fingerprint {
                    continue;
                }
            }
            let before = self.by_name.get(name).map(|entry| &entry.value);
            match compile(name, bytes, before) {
                Err(invalid) => {
                    rejected.push(Rejected {
                        name: name.to_owned(),
                        reason: invalid.to_string(),
                    });
                }
                Ok(value) => {
                    if let Some(key) = self.put(name, value, fingerprint, &same) {
                        changed.push(key);
                    }
                }
            }
        }
        changed
    }

    fn put(
        &mut self,
        name: &str,
        value: T,
        bytes: Fingerprint,
        same: impl Fn(&T, &T) -> bool,
    ) -> Option<Arc<str>> {
        if let Some(entry) = self
            .by_name
            .get_mut(name)
            .filter(|entry| same(&entry.value, &value))
        {
            entry.bytes = bytes;
            return None;
        }
        let key = self
            .by_name
            .get_key_value(name)
            .map_or_else(|| name.into(), |(key, _)| Arc::clone(key));
        self.by_name.insert(
            Arc::clone(&key),
            Entry {
                value,
                bytes,
                removed: false,
            },
        );
        Some(key)
    }
}

/// Compiles each version from nothing: what it was before does not matter.
pub(crate) fn anew<T>(
    compile: impl Fn(&str, &[u8]) -> Result<T, Invalid>,
) -> impl FnMut(&str, &[u8], Option<&T>) -> Result<T, Invalid> {
    move |name, bytes, _| compile(name, bytes)
}

/// Which of the two would hold is not defined, so neither does.
fn named_twice<'n>(
    resources: &[(&'n str, &[u8])],
    rejected: &mut Vec<Rejected>,
) -> HashSet<&'n str> {
    let mut seen = HashSet::with_capacity(resources.len());
    let mut twice = HashSet::new();
    for (name, _) in resources {
        if !seen.insert(*name) && twice.insert(*name) {
            let reason = "is in the response twice".to_owned();
            rejected.push(Rejected {
                name: (*name).to_owned(),
                reason,
            });
        }
    }
    twice
}
