//! What a client without a sidecar reads of listeners and route configurations.
//!
//! As Envoy and gRPC read them, with one rule of our own: what is valid and cannot be evaluated here
//! takes no call (a condition never holds, a destination is an answer with the reason), and the rest of
//! its resource applies. What has no effect here is noted where `explain` finds it.

mod actions;
mod changes;
mod conditions;
mod hosts;
mod listeners;
mod retries;
mod thrift;

use std::sync::Arc;

pub(crate) use hosts::{HttpRoutes, routes};
pub(crate) use listeners::listener;

/// Fields that are valid and have no effect here.
#[derive(Debug, Default)]
struct Notes(Vec<Arc<str>>);

impl Notes {
    /// Notes each of `fields` that is used.
    fn unused<'f>(&mut self, fields: impl IntoIterator<Item = (&'f str, bool)>) {
        let used = fields.into_iter().filter(|(_, used)| *used);
        used.for_each(|(field, _)| self.add(format!("{field} has no effect on calls")));
    }

    fn add(&mut self, note: impl Into<Arc<str>>) {
        self.0.push(note.into());
    }

    fn into_boxed(self) -> Box<[Arc<str>]> {
        self.0.into()
    }
}
