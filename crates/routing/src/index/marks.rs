//! Routes by the mark that they want: as many lanes as there are, one look at the header.

use std::sync::Arc;

use super::{Compiled, ExactTable, Node, mark_value};
use crate::Attributes;
use crate::mark::{LONGEST, Mark, Member, members};

/// Nodes by `key=value` of a member of the attribute.
#[derive(Clone, Debug)]
pub(super) struct MarkTable {
    table: ExactTable,
    /// The key of all marks, where it is one: other members need not be looked up.
    only_key: Option<Box<[u8]>>,
}

impl MarkTable {
    pub(super) fn new(table: ExactTable) -> Self {
        let key = |(mark, _): (&Arc<[u8]>, _)| Box::from(Mark::key_of(mark));
        let first: Option<Box<[u8]>> = table.values.iter().next().map(key);
        let only_key = first.filter(|first| {
            let mut marks = table.values.iter();
            marks.all(|(mark, _)| Mark::key_of(mark) == &**first)
        });
        Self { table, only_key }
    }

    /// As [`ExactTable::exchange`]; a route that brings another key has no place here.
    pub(super) fn exchange(
        &mut self,
        ordinal: u32,
        old: &impl Compiled,
        new: &impl Compiled,
    ) -> Option<Option<()>> {
        if let (Some(only), Some((_, mark))) =
            (&self.only_key, self.table.value_of(new, mark_value))
            && Mark::key_of(&mark) != &**only
        {
            return None;
        }
        self.table.exchange(ordinal, old, new, mark_value)
    }

    /// The node of a member with spaces in it or encoded characters.
    #[cold]
    fn encoded(&self, member: &Member<'_>) -> Option<&Node> {
        let mut space = [0; LONGEST];
        let mark = member.decoded(&mut space)?;
        self.table.values.get(mark)
    }

    pub(super) fn select(
        &self,
        routes: &[impl Compiled],
        attributes: &impl Attributes,
        best: &mut u32,
    ) {
        let table = &self.table;
        if table.first >= *best {
            return;
        }
        let Some(first) = attributes.get(&table.attribute) else {
            return;
        };
        let more = attributes.more(&table.attribute);
        let headers = [&first].into_iter().chain(more);
        for member in headers.flat_map(|header| members(header)) {
            let Some(member) = Member::read(member, self.only_key.as_deref()) else {
                continue;
            };
            let node = match member.as_written() {
                Some(mark) => table.values.get(mark),
                None => self.encoded(&member),
            };
            if let Some(node) = node {
                node.select(routes, attributes, best);
            }
        }
    }
}
