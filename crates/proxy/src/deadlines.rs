//! Points of time of connections: a heap with one entry a connection, checked once a turn.
//!
//! An entry is never moved. A connection whose deadline moved away is looked at when its entry comes
//! up, and gets a new one; so traffic costs nothing here. Deadlines of requests are lists instead
//! (see `request`): all requests wait equally long, so their order is the order in which they came.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Moment;
use crate::slots::Id;

#[derive(Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Moment, u64)>>,
}

impl Deadlines {
    pub(crate) fn push(&mut self, at: Moment, connection: Id) {
        self.heap.push(Reverse((at, connection.token())));
    }

    pub(crate) fn next(&self) -> Option<Moment> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A connection whose entry has come up.
    pub(crate) fn pop_due(&mut self, now: Moment) -> Option<(Moment, Id)> {
        let Reverse((at, token)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some((at, Id::from_token(token)))
    }
}
