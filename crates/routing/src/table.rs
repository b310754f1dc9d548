//! A route configuration, compiled.

use std::fmt;
use std::sync::Arc;

use crate::first_match::{FirstMatch, MatchError};
use crate::{Attributes, ConditionTrace, Route, RouteTrace};

/// Why a route cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError {
    /// The place of the route in its table.
    pub ordinal: usize,
    /// The route's name.
    pub route: Arc<str>,
    /// The attribute whose condition is wrong.
    pub attribute: Arc<str>,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ordinal,
            route,
            attribute,
            reason,
        } = self;
        write!(
            f,
            "route {ordinal} {route:?}: attribute {attribute:?}: {reason}"
        )
    }
}

impl std::error::Error for RouteError {}

/// Routes in order, the first that matches wins.
#[derive(Debug)]
pub struct RouteTable {
    name: Arc<str>,
    routes: Vec<Route>,
    first: FirstMatch,
}

impl RouteTable {
    /// Compiles `routes`: expressions, and the index that makes the number of routes not matter.
    ///
    /// # Errors
    /// Every condition that cannot be compiled, in the order of the routes.
    pub fn new(name: &str, routes: Vec<Route>) -> Result<Self, Vec<RouteError>> {
        let first = FirstMatch::new(routes.iter().map(|route| &*route.matches));
        let first = first.map_err(|errors| {
            let named = |error: MatchError| RouteError {
                ordinal: error.ordinal,
                route: Arc::clone(&routes[error.ordinal].name),
                attribute: error.attribute,
                reason: error.reason,
            };
            errors.into_iter().map(named).collect::<Vec<_>>()
        })?;
        Ok(Self {
            name: name.into(),
            routes,
            first,
        })
    }

    /// The name of the route configuration.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The routes, by ordinal.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The ordinal of the first route that matches. Allocates nothing.
    #[must_use]
    pub fn select(&self, attributes: &impl Attributes) -> Option<usize> {
        self.first.select(attributes)
    }

    /// Each route from the first to the one that matches, and what its conditions made of the request.
    #[must_use]
    pub fn explain(&self, attributes: &dyn Attributes) -> Vec<RouteTrace> {
        let lists = self.routes.iter().map(|route| &*route.matches);
        let traces = self.first.explain(lists, attributes);
        let named = |(ordinal, conditions): (usize, Vec<ConditionTrace>)| RouteTrace {
            ordinal,
            name: Arc::clone(&self.routes[ordinal].name),
            matched: conditions.iter().all(|condition| condition.held),
            conditions,
        };
        traces.into_iter().enumerate().map(named).collect()
    }
}
