//! The compiled route index: what makes 10,000 routes cost what one costs.
//!
//! A node sorts its routes by one condition of each: into hash tables by an attribute's exact value
//! (the attribute that tells most routes apart first), into sorted tables by a prefix, and the rest
//! into a list in order. Behind each value or prefix stands a node for the conditions that are still
//! open. A lookup follows every branch that the request's values lead to, keeps the smallest ordinal,
//! and leaves out what can only hold larger ones. So routes that agree in one attribute are told apart
//! by the next, and the order of a route's conditions does not matter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::Attributes;
use crate::matcher::{Condition, Test};

/// Below, looking at each route is as fast as a lookup, and takes less memory.
const FEW: usize = 4;

/// Levels of nodes. A route that has more conditions than that has them checked in order.
const DEPTH: usize = 16;

/// The routes of one table, arranged for lookup.
#[derive(Debug)]
pub(crate) struct Index {
    root: Node,
}

/// What stands behind a value. One route is by far the most frequent, so it takes no memory of its own.
#[derive(Debug)]
enum Node {
    One(Candidate),
    Several(Box<Branches>),
}

#[derive(Debug, Default)]
struct Branches {
    /// The smallest ordinal in here.
    first: u32,
    exact: Box<[ExactTable]>,
    prefix: Box<[PrefixTable]>,
    rest: Box<[Candidate]>,
}

/// A route whose conditions so far hold.
#[derive(Clone, Debug)]
struct Candidate {
    ordinal: u32,
    /// Which of the route's conditions still have to be checked.
    open: Box<[u32]>,
}

#[derive(Debug)]
struct ExactTable {
    attribute: Arc<str>,
    first: u32,
    values: HashMap<Arc<[u8]>, Node>,
}

/// Prefixes in order. A search compares eight bytes at a time, which lie side by side: following a
/// pointer at each of its steps would cost several times as much.
#[derive(Debug)]
struct PrefixTable {
    attribute: Arc<str>,
    /// What all prefixes start with.
    common: Box<[u8]>,
    /// The eight bytes behind it of each entry, as [`key`] makes them.
    keys: Box<[u64]>,
    entries: Box<[PrefixEntry]>,
}

#[derive(Debug)]
struct PrefixEntry {
    prefix: Arc<[u8]>,
    /// The entry with the longest prefix of this prefix.
    parent: Option<u32>,
    /// The smallest ordinal of this entry and its ancestors.
    first: u32,
    node: Node,
}

impl Index {
    pub(crate) fn new(conditions: &[Box<[Condition]>]) -> Self {
        let all = (0..)
            .zip(conditions)
            .map(|(ordinal, of)| Candidate {
                ordinal,
                open: (0..of.len() as u32).collect(),
            })
            .collect();
        Self {
            root: Node::new(all, conditions, 0),
        }
    }

    pub(crate) fn select(
        &self,
        conditions: &[Box<[Condition]>],
        attributes: &impl Attributes,
    ) -> Option<usize> {
        let mut best = u32::MAX;
        self.root.select(conditions, attributes, &mut best);
        (best != u32::MAX).then_some(best as usize)
    }
}

impl Node {
    fn new(mut candidates: Vec<Candidate>, conditions: &[Box<[Condition]>], depth: usize) -> Self {
        if candidates.len() == 1
            && let Some(only) = candidates.pop()
        {
            return Self::One(only);
        }
        Self::Several(Box::new(Branches::new(candidates, conditions, depth)))
    }

    fn first(&self) -> u32 {
        match self {
            Self::One(candidate) => candidate.ordinal,
            Self::Several(branches) => branches.first,
        }
    }

    fn select(
        &self,
        conditions: &[Box<[Condition]>],
        attributes: &impl Attributes,
        best: &mut u32,
    ) {
        match self {
            _ if self.first() >= *best => {}
            Self::One(candidate) => {
                if candidate.matches(conditions, attributes) {
                    *best = candidate.ordinal;
                }
            }
            Self::Several(branches) => branches.select(conditions, attributes, best),
        }
    }
}

impl Branches {
    fn new(candidates: Vec<Candidate>, conditions: &[Box<[Condition]>], depth: usize) -> Self {
        let first = candidates
            .first()
            .map_or(u32::MAX, |candidate| candidate.ordinal);
        if candidates.len() <= FEW || depth == DEPTH {
            return Self {
                first,
                rest: candidates.into(),
                ..Self::default()
            };
        }
        let (exact, others) = group(candidates, conditions, exact_value);
        let (prefix, rest) = group(others, conditions, prefix_value);
        let children = |groups: Group| {
            groups
                .into_iter()
                .map(|(value, of)| (value, Node::new(of, conditions, depth + 1)))
        };
        let exact = exact
            .into_iter()
            .map(|(attribute, groups)| ExactTable::new(attribute, children(groups).collect()));
        let prefix = prefix
            .into_iter()
            .map(|(attribute, groups)| PrefixTable::new(attribute, children(groups).collect()));
        Self {
            first,
            exact: exact.collect(),
            prefix: prefix.collect(),
            rest: rest.into(),
        }
    }

    fn select(
        &self,
        conditions: &[Box<[Condition]>],
        attributes: &impl Attributes,
        best: &mut u32,
    ) {
        for table in &self.exact {
            if table.first >= *best {
                continue;
            }
            let value = attributes.get(&table.attribute);
            if let Some(node) = value.and_then(|value| table.values.get(value)) {
                node.select(conditions, attributes, best);
            }
        }
        for table in &self.prefix {
            if let Some(value) = attributes.get(&table.attribute) {
                table.select(value, conditions, attributes, best);
            }
        }
        let bound = *best;
        let candidates = self
            .rest
            .iter()
            .take_while(|candidate| candidate.ordinal < bound);
        let mut matching = candidates.filter(|candidate| candidate.matches(conditions, attributes));
        if let Some(candidate) = matching.next() {
            *best = candidate.ordinal;
        }
    }
}

impl Candidate {
    fn matches(&self, conditions: &[Box<[Condition]>], attributes: &impl Attributes) -> bool {
        let of = &conditions[self.ordinal as usize];
        self.open.iter().all(|place| {
            let condition = &of[*place as usize];
            condition.holds(attributes.get(&condition.name))
        })
    }

    fn without(self, place: u32) -> Self {
        let open = self
            .open
            .iter()
            .copied()
            .filter(|open| *open != place)
            .collect();
        Self {
            ordinal: self.ordinal,
            open,
        }
    }
}

impl ExactTable {
    fn new(attribute: Arc<str>, values: HashMap<Arc<[u8]>, Node>) -> Self {
        let first = values.values().map(Node::first).min().unwrap_or(u32::MAX);
        Self {
            attribute,
            first,
            values,
        }
    }
}

impl PrefixTable {
    fn new(attribute: Arc<str>, mut children: Vec<(Arc<[u8]>, Node)>) -> Self {
        children.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let common: Box<[u8]> = match (children.first(), children.last()) {
            (Some((first, _)), Some((last, _))) => first
                .iter()
                .zip(&**last)
                .take_while(|(a, b)| a == b)
                .map(|(a, _)| *a)
                .collect(),
            _ => Box::default(),
        };
        let keys = children
            .iter()
            .map(|(prefix, _)| key(&prefix[common.len()..]))
            .collect();
        Self {
            attribute,
            common,
            keys,
            entries: Self::entries(children),
        }
    }

    /// Entries with their parents; `children` come in order of the prefix.
    fn entries(children: Vec<(Arc<[u8]>, Node)>) -> Box<[PrefixEntry]> {
        let mut entries: Vec<PrefixEntry> = Vec::with_capacity(children.len());
        let mut ancestors: Vec<u32> = Vec::new();
        for (place, (prefix, node)) in (0..).zip(children) {
            while ancestors
                .last()
                .is_some_and(|last| !prefix.starts_with(&entries[*last as usize].prefix))
            {
                ancestors.pop();
            }
            let parent = ancestors.last().copied();
            let above = parent.map_or(u32::MAX, |parent| entries[parent as usize].first);
            entries.push(PrefixEntry {
                prefix,
                parent,
                first: node.first().min(above),
                node,
            });
            ancestors.push(place);
        }
        entries.into()
    }

    /// How many entries stand before where `value` would stand, or at it.
    fn up_to(&self, value: &[u8]) -> usize {
        let Some(rest) = value.strip_prefix(&*self.common) else {
            return 0;
        };
        let key = key(rest);
        let start = self.keys.partition_point(|other| *other < key);
        let same = self.keys[start..].partition_point(|other| *other == key);
        let same = &self.entries[start..start + same];
        start + same.partition_point(|entry| &*entry.prefix <= value)
    }

    /// Every prefix of `value` in the table is the entry before where `value` would stand, or one
    /// of its ancestors.
    fn select(
        &self,
        value: &[u8],
        conditions: &[Box<[Condition]>],
        attributes: &impl Attributes,
        best: &mut u32,
    ) {
        let mut place = self.up_to(value).checked_sub(1);
        while let Some(entry) = place.map(|place| &self.entries[place]) {
            if entry.first >= *best {
                return;
            }
            if value.starts_with(&entry.prefix) {
                entry.node.select(conditions, attributes, best);
            }
            place = entry.parent.map(|parent| parent as usize);
        }
    }
}

/// The first eight bytes as a number that sorts like them; what is missing counts as 0.
fn key(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let count = bytes.len().min(8);
    first[..count].copy_from_slice(&bytes[..count]);
    u64::from_be_bytes(first)
}

fn exact_value(condition: &Condition) -> Option<&Arc<[u8]>> {
    match &condition.test {
        Test::Exact(value) if !condition.invert => Some(value),
        _ => None,
    }
}

fn prefix_value(condition: &Condition) -> Option<&Arc<[u8]>> {
    match &condition.test {
        Test::Prefix(value) if !condition.invert => Some(value),
        _ => None,
    }
}

/// Candidates by the value of one of their conditions.
type Group = HashMap<Arc<[u8]>, Vec<Candidate>>;

/// Groups candidates by attribute and by the value that `key` finds in a condition, each candidate in
/// one group, with that condition no longer open. Second are those that are in no group. Candidates
/// stay in order.
fn group(
    candidates: Vec<Candidate>,
    conditions: &[Box<[Condition]>],
    key: fn(&Condition) -> Option<&Arc<[u8]>>,
) -> (BTreeMap<Arc<str>, Group>, Vec<Candidate>) {
    let mut values: HashMap<&str, HashSet<&[u8]>> = HashMap::new();
    for candidate in &candidates {
        for (_, name, value) in keyed(candidate, conditions, key) {
            values.entry(name).or_default().insert(value);
        }
    }
    // The attribute that tells most routes apart comes first.
    let rank = |name: &str| values.get(name).map_or(0, HashSet::len);
    let mut groups = BTreeMap::new();
    let mut others = Vec::new();
    for candidate in candidates {
        let best = keyed(&candidate, conditions, key)
            .max_by(|(_, a, _), (_, b, _)| rank(a).cmp(&rank(b)).then_with(|| b.cmp(a)));
        let Some((place, name, value)) = best else {
            others.push(candidate);
            continue;
        };
        let group = groups
            .entry(Arc::clone(name))
            .or_insert_with(|| Group::with_capacity(rank(name)));
        group
            .entry(Arc::clone(value))
            .or_default()
            .push(candidate.without(place));
    }
    (groups, others)
}

/// The open conditions of a candidate in which `key` finds a value: place, attribute, value.
fn keyed<'c>(
    candidate: &Candidate,
    conditions: &'c [Box<[Condition]>],
    key: fn(&Condition) -> Option<&Arc<[u8]>>,
) -> impl Iterator<Item = (u32, &'c Arc<str>, &'c Arc<[u8]>)> {
    let of = &conditions[candidate.ordinal as usize];
    candidate.open.iter().filter_map(move |place| {
        let condition = &of[*place as usize];
        Some((*place, &condition.name, key(condition)?))
    })
}
