//! Candidates sorted by the value of one condition of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::values::Values;
use super::{Candidate, Compiled, MASKED, Node};
use crate::hash::{FastMap, FastSet};
use crate::matcher::Condition;

/// Candidates by the value of one of their conditions: nearly always a single one, whose node is then
/// in its place already.
pub(super) struct Group {
    nodes: Values,
    /// Those that came for a value behind its first one.
    further: FastMap<Arc<[u8]>, Vec<Candidate>>,
}

impl Group {
    fn for_values(count: usize) -> Self {
        Self {
            nodes: Values::for_count(count),
            further: FastMap::default(),
        }
    }

    fn push(&mut self, value: &Arc<[u8]>, candidate: Candidate) {
        if !self.nodes.insert(value, candidate) {
            let further = self.further.entry(Arc::clone(value));
            further.or_default().push(candidate);
        }
    }

    /// What stands behind each value, at this depth.
    pub(super) fn into_nodes(self, routes: &[impl Compiled], depth: usize) -> Values {
        let Self { mut nodes, further } = self;
        for (value, further) in further {
            if let Some(node) = nodes.get_mut(&value)
                && let Node::One(first) = *node
            {
                let all = [vec![first], further].concat();
                *node = Node::new(all, routes, depth);
            }
        }
        nodes
    }
}

/// Groups candidates by attribute and by the value that `key` finds in a condition, each candidate in
/// one group, with that condition no longer open. Second are those that are in no group. Candidates
/// stay in order.
pub(super) fn group(
    candidates: Vec<Candidate>,
    routes: &[impl Compiled],
    key: Key,
) -> (BTreeMap<Arc<str>, Group>, Vec<Candidate>) {
    let ranks = ranks(&candidates, routes, key);
    // The attribute that tells most routes apart comes first.
    let rank = |name: &str| ranks.get(name).copied().unwrap_or_default();
    let mut groups: BTreeMap<Arc<str>, Group> = BTreeMap::new();
    let mut others = Vec::new();
    for candidate in candidates {
        let best = keyed(candidate, routes, key)
            .max_by(|(_, a, _), (_, b, _)| rank(a).cmp(&rank(b)).then_with(|| b.cmp(a)));
        let Some((place, name, value)) = best else {
            others.push(candidate);
            continue;
        };
        let group = match groups.get_mut(name) {
            Some(group) => group,
            None => {
                let empty = Group::for_values(rank(name));
                groups.entry(Arc::clone(name)).or_insert(empty)
            }
        };
        group.push(value, candidate.without(place));
    }
    (groups, others)
}

/// How many values the routes name of each attribute; of an only one, which needs no rank, at most
/// how many.
fn ranks<'r>(
    candidates: &[Candidate],
    routes: &'r [impl Compiled],
    key: Key,
) -> FastMap<&'r str, usize> {
    let all = candidates.iter();
    let mut names =
        all.flat_map(|candidate| keyed(*candidate, routes, key).map(|(_, name, _)| name));
    if let Some(first) = names.next()
        && names.all(|name| name == first)
    {
        return FastMap::from_iter([(&**first, candidates.len())]);
    }
    let mut values: FastMap<&str, FastSet<&[u8]>> = FastMap::default();
    for candidate in candidates {
        for (_, name, value) in keyed(*candidate, routes, key) {
            values.entry(name).or_default().insert(value);
        }
    }
    values
        .into_iter()
        .map(|(name, values)| (name, values.len()))
        .collect()
}

/// The value by which a condition can be looked up, where it has one.
pub(super) type Key = fn(&Condition) -> Option<&Arc<[u8]>>;

/// The open conditions of a candidate in which `key` finds a value: place, attribute, value.
pub(super) fn keyed(
    candidate: Candidate,
    routes: &[impl Compiled],
    key: Key,
) -> impl Iterator<Item = (u32, &Arc<str>, &Arc<[u8]>)> {
    let conditions = routes[candidate.ordinal as usize].conditions();
    (0..MASKED)
        .zip(conditions)
        .filter_map(move |(place, condition)| {
            let is_open = candidate.open >> place & 1 == 1;
            let value = is_open.then(|| key(condition)).flatten()?;
            Some((place, &condition.name, value))
        })
}
