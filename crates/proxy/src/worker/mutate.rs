//! Mutations: what a route changes in the attributes of a request or of its reply.
//!
//! They are written while a message is encoded (`dispatch`, `replies`). A message that has no place for
//! them (its transport or serialization has none, a checksum or a compression covers it, its caller would not
//! read it) goes on as it came: a rule about a lane must not stop a call. It is counted, and said once.

use meltemi_codec::{Edit, Frame, Ids, Protocol};
use meltemi_routing::Mutation;

use super::Worker;
use crate::logging;
use crate::slots::Id;
use crate::view::View;

/// Changes of one message, without memory of its own for a usual number of them.
const FEW: usize = 16;

/// Which message of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Reply,
}

impl Worker {
    /// A message went on without its mutation.
    #[cold]
    pub(super) fn not_mutated(&mut self, id: Id, view: &View, side: Side) {
        let Some(port) = self.port(view.number) else {
            return;
        };
        let (field, count) = match side {
            Side::Request => (
                "requestMutation",
                &mut port.requests.request_mutation_skipped,
            ),
            Side::Reply => (
                "responseMutation",
                &mut port.requests.response_mutation_skipped,
            ),
        };
        *count += 1;
        if *count > 1 {
            return;
        }
        let route = self
            .requests
            .get(id)
            .map_or(u32::MAX, |request| request.route);
        let routes = view.table().map(|table| table.table.routes());
        let name = routes
            .and_then(|routes| routes.get(route as usize))
            .map_or("", |route| &*route.name);
        logging::warning!(
            "{field} of route '{name}' has no place in a message of listener '{}', which goes on \
             without it; from now on they are only counted",
            view.listener.name
        );
    }
}

/// What a route changes on that side.
pub(super) fn of(view: &View, route: u32, side: Side) -> &[Mutation] {
    let routes = view.table().map(|table| table.table.routes());
    match (routes.and_then(|routes| routes.get(route as usize)), side) {
        (None, _) => &[],
        (Some(route), Side::Request) => &route.request_mutation,
        (Some(route), Side::Reply) => &route.response_mutation,
    }
}

/// Appends a frame with other ids and attributes; false where the attributes could not be changed.
pub(super) fn encode(
    protocol: &dyn Protocol,
    frame: &Frame,
    bytes: &[u8],
    ids: Option<Ids>,
    mutation: &[Mutation],
    out: &mut Vec<u8>,
) -> bool {
    if mutation.is_empty() {
        let edit = Edit {
            ids,
            ..Edit::default()
        };
        return protocol.encode(frame, bytes, &edit, out);
    }
    let mut few = ([("", ""); FEW], [""; FEW]);
    let mut many = (Vec::new(), Vec::new());
    let (set, remove) = if mutation.len() <= FEW {
        (&mut few.0[..], &mut few.1[..])
    } else {
        many.0.resize(mutation.len(), ("", ""));
        many.1.resize(mutation.len(), "");
        (&mut many.0[..], &mut many.1[..])
    };
    let (mut sets, mut removes) = (0, 0);
    for each in mutation {
        match each {
            Mutation::Set(name, value) => {
                set[sets] = (name, value);
                sets += 1;
            }
            Mutation::Remove(name) => {
                remove[removes] = name;
                removes += 1;
            }
            // `resources` makes these for clients only.
            Mutation::Append(..) | Mutation::SetIfMissing(..) | Mutation::SetIfPresent(..) => {}
        }
    }
    let edit = Edit {
        ids,
        set: &set[..sets],
        remove: &remove[..removes],
        scrub: None,
    };
    protocol.encode(frame, bytes, &edit, out)
}
