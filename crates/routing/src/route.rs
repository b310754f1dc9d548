//! The words of a routing rule.

use std::ops::Deref;
use std::sync::Arc;

use crate::index::Compiled;
use crate::matcher::{Condition, compile};
use crate::{AttributeMatch, HashPolicy, HttpAction, WeightedClusters};

/// What is known of one request.
pub trait Attributes {
    /// The value of the attribute `name`, which is always lower case; None when there is none.
    fn get(&self, name: &str) -> Option<&[u8]>;

    /// The values of the attribute besides that one, of a header that is there more than once. A
    /// condition on a value needs one of them to be what it wants, as in Envoy.
    fn more(&self, _name: &str) -> &[&[u8]] {
        &[]
    }
}

impl<A: Attributes + ?Sized> Attributes for &A {
    fn get(&self, name: &str) -> Option<&[u8]> {
        (**self).get(name)
    }

    fn more(&self, name: &str) -> &[&[u8]] {
        (**self).more(name)
    }
}

/// A change of one attribute of a message that takes the route. Names are compared without case.
///
/// In a sidecar, what is set wins over what is removed, and of what is set the last. A client makes
/// the changes of [`crate::VirtualHost`] one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Gives it this value, whether or not it is there: name, value.
    Set(Arc<str>, Arc<str>),
    /// Takes it out, where it is there.
    Remove(Arc<str>),
    /// Adds a value behind those that are there. Only routes of clients have it.
    Append(Arc<str>, Arc<str>),
    /// Gives it this value where there is none. Only routes of clients have it.
    SetIfMissing(Arc<str>, Arc<str>),
    /// Gives it this value where there is one. Only routes of clients have it.
    SetIfPresent(Arc<str>, Arc<str>),
}

/// One rule: requests that satisfy all of `matches` go to one of `clusters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The rule's own name, as in logs, metrics and the route dump; may be empty.
    pub name: Arc<str>,
    /// Conditions, all of which have to hold. None at all: every request matches.
    pub matches: Vec<AttributeMatch>,
    /// Where the requests go; nowhere only for a route that has an [`HttpAction::answer`].
    pub clusters: WeightedClusters,
    /// What a cluster that balances by hash goes by; mostly empty.
    pub hash_policy: Vec<HashPolicy>,
    /// Done to the request before it is forwarded.
    pub request_mutation: Vec<Mutation>,
    /// Done to the reply before it is sent back.
    pub response_mutation: Vec<Mutation>,
    /// What only calls of clients without a sidecar have a use for; None in a sidecar.
    pub http: Option<Box<HttpAction>>,
}

/// A route with its conditions compiled. Tables share the routes that did not change between them.
#[derive(Debug)]
pub struct CompiledRoute {
    route: Route,
    conditions: Box<[Condition]>,
}

impl CompiledRoute {
    /// Compiles the conditions of `route`.
    ///
    /// # Errors
    /// The attribute of each condition that cannot be compiled, and why, in order.
    pub fn new(route: Route) -> Result<Self, Vec<(Arc<str>, String)>> {
        let conditions = compile(&route.matches)?;
        Ok(Self { route, conditions })
    }
}

impl Compiled for Arc<CompiledRoute> {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl Deref for CompiledRoute {
    type Target = Route;

    fn deref(&self) -> &Route {
        &self.route
    }
}

impl PartialEq for CompiledRoute {
    fn eq(&self, other: &Self) -> bool {
        self.route == other.route
    }
}

impl Eq for CompiledRoute {}
