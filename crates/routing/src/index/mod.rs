//! The compiled route index: what makes 10,000 routes cost what one costs.
//!
//! A node sorts its routes by one condition of each: into hash tables by an attribute's exact value
//! (the attribute that tells most routes apart first) or by the mark of a lane in it, into sorted
//! tables by a prefix, and the rest into a list in order. Behind each value or prefix stands a node for the conditions that are still
//! open. A lookup follows every branch that the request's values lead to, keeps the smallest ordinal,
//! and leaves out what can only hold larger ones. So routes that agree in one attribute are told apart
//! by the next, and the order of a route's conditions does not matter.

mod group;
mod marks;
mod values;

use std::sync::Arc;

use group::{Key, group, keyed};
use marks::MarkTable;
use values::Values;

use crate::Attributes;
use crate::matcher::{Condition, Test};

/// Below, looking at each route is as fast as a lookup, and takes less memory. Not so for marks, where
/// each look reads the header.
const FEW: usize = 4;

/// Levels of nodes. A route that has more conditions than that has them checked in order.
const DEPTH: usize = 16;

/// What has conditions that all have to hold: a route, and everything else that holds for some requests.
pub(crate) trait Compiled {
    /// Its conditions; none: it holds for every request.
    fn conditions(&self) -> &[Condition];
}

/// The routes of one table, arranged for lookup.
#[derive(Debug)]
pub(crate) struct Index {
    root: Node,
}

/// What stands behind a value. One route is by far the most frequent, so it takes no memory of its own.
#[derive(Clone, Debug)]
enum Node {
    One(Candidate),
    /// Shared with the index that this one was made from.
    Several(Arc<Branches>),
}

#[derive(Clone, Debug, Default)]
struct Branches {
    /// The smallest ordinal in here.
    first: u32,
    exact: Box<[ExactTable]>,
    marks: Box<[MarkTable]>,
    prefix: Box<[PrefixTable]>,
    rest: Box<[Candidate]>,
}

/// A route whose conditions so far hold.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    ordinal: u32,
    /// Which of the route's conditions still have to be checked, a bit each. The last bit stands for
    /// [`MASKED`] and all behind it. None open: the route need not be looked at.
    open: u64,
}

/// Conditions that have a bit of their own; what comes behind is checked in order.
const MASKED: u32 = 63;

#[derive(Clone, Debug)]
struct ExactTable {
    attribute: Arc<str>,
    first: u32,
    values: Values,
}

/// Prefixes in order. A search compares eight bytes at a time, which lie side by side: following a
/// pointer at each of its steps would cost several times as much.
#[derive(Clone, Debug)]
struct PrefixTable {
    attribute: Arc<str>,
    /// What all prefixes start with.
    common: Arc<[u8]>,
    /// The eight bytes behind it of each entry, as [`key`] makes them.
    keys: Arc<[u64]>,
    entries: Arc<[PrefixEntry]>,
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
    pub(crate) fn new(routes: &[impl Compiled]) -> Self {
        let all = (0..)
            .zip(routes)
            .map(|(ordinal, route)| Candidate::new(ordinal, route))
            .collect();
        Self {
            root: Node::new(all, routes, 0),
        }
    }

    /// The index of `routes`, of which only those at `edited` differ from the routes `before` of this
    /// one; None where it has to be made anew. A copy costs a fraction of that.
    pub(crate) fn edited(
        &self,
        edited: &[usize],
        before: &[impl Compiled],
        routes: &[impl Compiled],
    ) -> Option<Self> {
        let Node::Several(root) = &self.root else {
            return None;
        };
        let mut root = Branches::clone(root);
        for &place in edited {
            root.exchange(place as u32, &before[place], &routes[place])?;
        }
        Some(Self {
            root: Node::Several(Arc::new(root)),
        })
    }

    pub(crate) fn select(
        &self,
        routes: &[impl Compiled],
        attributes: &impl Attributes,
    ) -> Option<usize> {
        let mut best = u32::MAX;
        self.root.select(routes, attributes, &mut best);
        (best != u32::MAX).then_some(best as usize)
    }
}

impl Node {
    fn new(candidates: Vec<Candidate>, routes: &[impl Compiled], depth: usize) -> Self {
        match candidates[..] {
            [only] => Self::One(only),
            _ => Self::Several(Arc::new(Branches::new(candidates, routes, depth))),
        }
    }

    fn first(&self) -> u32 {
        match self {
            Self::One(candidate) => candidate.ordinal,
            Self::Several(branches) => branches.first,
        }
    }

    fn select(&self, routes: &[impl Compiled], attributes: &impl Attributes, best: &mut u32) {
        match self {
            _ if self.first() >= *best => {}
            Self::One(candidate) => {
                if candidate.matches(routes, attributes) {
                    *best = candidate.ordinal;
                }
            }
            Self::Several(branches) => branches.select(routes, attributes, best),
        }
    }
}

impl Branches {
    fn new(candidates: Vec<Candidate>, routes: &[impl Compiled], depth: usize) -> Self {
        let first = candidates
            .first()
            .map_or(u32::MAX, |candidate| candidate.ordinal);
        let is_marked = |candidate: &Candidate| candidate.has(routes, mark_value);
        let few = candidates.len() <= FEW && !candidates.iter().any(is_marked);
        if few || depth == DEPTH {
            return Self {
                first,
                rest: candidates.into(),
                ..Self::default()
            };
        }
        let (exact, others) = group(candidates, routes, exact_value);
        let (marks, others) = group(others, routes, mark_value);
        let (prefix, rest) = group(others, routes, prefix_value);
        let exact = exact.into_iter().map(|(attribute, group)| {
            ExactTable::new(attribute, group.into_nodes(routes, depth + 1))
        });
        let marks = marks.into_iter().map(|(attribute, group)| {
            let nodes = group.into_nodes(routes, depth + 1);
            MarkTable::new(ExactTable::new(attribute, nodes))
        });
        let prefix = prefix.into_iter().map(|(attribute, group)| {
            let nodes = group.into_nodes(routes, depth + 1);
            let children = nodes
                .iter()
                .map(|(value, node)| (Arc::clone(value), node.clone()));
            PrefixTable::new(attribute, children.collect())
        });
        Self {
            first,
            exact: exact.collect(),
            marks: marks.collect(),
            prefix: prefix.collect(),
            rest: rest.into(),
        }
    }

    /// Puts a route in the place of one that stands alone behind an exact value or a mark; None where
    /// the one or the other does not.
    fn exchange(&mut self, ordinal: u32, old: &impl Compiled, new: &impl Compiled) -> Option<()> {
        let mut exact = self.exact.iter_mut();
        if let Some(done) = exact.find_map(|table| table.exchange(ordinal, old, new, exact_value)) {
            return done;
        }
        let mut marks = self.marks.iter_mut();
        marks.find_map(|table| table.exchange(ordinal, old, new))?
    }

    fn select(&self, routes: &[impl Compiled], attributes: &impl Attributes, best: &mut u32) {
        for table in &self.exact {
            if table.first >= *best {
                continue;
            }
            let Some(value) = attributes.get(&table.attribute) else {
                continue;
            };
            for value in [&value]
                .into_iter()
                .chain(attributes.more(&table.attribute))
            {
                if let Some(node) = table.values.get(value) {
                    node.select(routes, attributes, best);
                }
            }
        }
        for table in &self.marks {
            table.select(routes, attributes, best);
        }
        for table in &self.prefix {
            let Some(value) = attributes.get(&table.attribute) else {
                continue;
            };
            for value in [&value]
                .into_iter()
                .chain(attributes.more(&table.attribute))
            {
                table.select(value, routes, attributes, best);
            }
        }
        let bound = *best;
        let candidates = self
            .rest
            .iter()
            .take_while(|candidate| candidate.ordinal < bound);
        let mut matching = candidates.filter(|candidate| candidate.matches(routes, attributes));
        if let Some(candidate) = matching.next() {
            *best = candidate.ordinal;
        }
    }
}

impl Candidate {
    fn new(ordinal: u32, route: &impl Compiled) -> Self {
        let open = match route.conditions().len() as u32 {
            count @ 0..=MASKED => (1 << count) - 1,
            _ => u64::MAX,
        };
        Self { ordinal, open }
    }

    #[inline]
    fn matches(self, routes: &[impl Compiled], attributes: &impl Attributes) -> bool {
        self.open == 0 || self.holds(routes, attributes)
    }

    fn holds(self, routes: &[impl Compiled], attributes: &impl Attributes) -> bool {
        let conditions = routes[self.ordinal as usize].conditions();
        (0..).zip(conditions).all(|(place, condition)| {
            self.open >> MASKED.min(place) & 1 == 0 || condition.holds(attributes)
        })
    }

    /// Whether an open condition has a value that `key` finds.
    fn has(self, routes: &[impl Compiled], key: Key) -> bool {
        keyed(self, routes, key).next().is_some()
    }

    fn without(self, place: u32) -> Self {
        Self {
            open: self.open & !(1 << place),
            ..self
        }
    }
}

impl ExactTable {
    /// Puts the route `new` in the place of `old`, which stands alone behind a value of this table; None
    /// where it does not, and where the new one has no value to itself.
    fn exchange(
        &mut self,
        ordinal: u32,
        old: &impl Compiled,
        new: &impl Compiled,
        key: Key,
    ) -> Option<Option<()>> {
        let (_, value) = self.value_of(old, key)?;
        let Node::One(found) = self.values.get(&value)? else {
            return None;
        };
        (found.ordinal == ordinal).then(|| {
            let (place, wanted) = self.value_of(new, key)?;
            self.values.remove(&value);
            let candidate = Candidate::new(ordinal, new).without(place);
            self.values.insert(&wanted, candidate).then_some(())
        })
    }

    /// The value by which this table would find a route, and the place of the condition that says it.
    fn value_of(&self, route: &impl Compiled, key: Key) -> Option<(u32, Arc<[u8]>)> {
        let mut conditions = (0..MASKED).zip(route.conditions());
        conditions.find_map(|(place, condition)| {
            let value = key(condition).filter(|_| condition.name == self.attribute)?;
            Some((place, Arc::clone(value)))
        })
    }

    fn new(attribute: Arc<str>, values: Values) -> Self {
        let nodes = values.iter().map(|(_, node)| node.first());
        let first = nodes.min().unwrap_or(u32::MAX);
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
        let common: Arc<[u8]> = match (children.first(), children.last()) {
            (Some((first, _)), Some((last, _))) => first
                .iter()
                .zip(&**last)
                .take_while(|(a, b)| a == b)
                .map(|(a, _)| *a)
                .collect(),
            _ => Arc::default(),
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
    fn entries(children: Vec<(Arc<[u8]>, Node)>) -> Arc<[PrefixEntry]> {
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
        routes: &[impl Compiled],
        attributes: &impl Attributes,
        best: &mut u32,
    ) {
        let mut place = self.up_to(value).checked_sub(1);
        while let Some(entry) = place.map(|place| &self.entries[place]) {
            if entry.first >= *best {
                return;
            }
            if value.starts_with(&entry.prefix) {
                entry.node.select(routes, attributes, best);
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
        Test::Exact(value) if condition.is_positive() => Some(value),
        _ => None,
    }
}

fn mark_value(condition: &Condition) -> Option<&Arc<[u8]>> {
    match &condition.test {
        Test::Mark(mark) if condition.is_positive() => mark.indexed(),
        _ => None,
    }
}

fn prefix_value(condition: &Condition) -> Option<&Arc<[u8]>> {
    match &condition.test {
        Test::Prefix(value) if condition.is_positive() => Some(value),
        _ => None,
    }
}
