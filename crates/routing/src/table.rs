//! A route configuration, compiled.

use std::fmt;
use std::sync::Arc;

use crate::index::{Compiled, Index};
use crate::{Attributes, CompiledRoute, ConditionTrace, Route, RouteTrace};

/// Routes that an index is changed for; for more it is made anew.
const MOST_EDITED: usize = 64;

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

impl RouteError {
    /// What [`CompiledRoute::new`] says of the route at `ordinal`.
    pub fn all(
        ordinal: usize,
        route: &Arc<str>,
        wrong: Vec<(Arc<str>, String)>,
    ) -> impl Iterator<Item = Self> {
        wrong.into_iter().map(move |(attribute, reason)| Self {
            ordinal,
            route: Arc::clone(route),
            attribute,
            reason,
        })
    }
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
    routes: Vec<Arc<CompiledRoute>>,
    index: Index,
}

impl RouteTable {
    /// Compiles `routes`: expressions, and the index that makes the number of routes not matter.
    ///
    /// # Errors
    /// Every condition that cannot be compiled, in the order of the routes.
    pub fn new(name: &str, routes: Vec<Route>) -> Result<Self, Vec<RouteError>> {
        let mut errors = Vec::new();
        let mut compiled = Vec::with_capacity(routes.len());
        for (ordinal, route) in routes.into_iter().enumerate() {
            let name = Arc::clone(&route.name);
            match CompiledRoute::new(route) {
                Ok(route) => compiled.push(Arc::new(route)),
                Err(wrong) => errors.extend(RouteError::all(ordinal, &name, wrong)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self::from_compiled(name, compiled))
    }

    /// The table of routes that are compiled already, some of them for another table.
    #[must_use]
    pub fn from_compiled(name: &str, routes: Vec<Arc<CompiledRoute>>) -> Self {
        Self {
            name: name.into(),
            index: Index::new(&routes),
            routes,
        }
    }

    /// The table of `routes` that follows this one: where few of them are new, and in the place of
    /// others, the index is copied and not made again.
    #[must_use]
    pub fn followed_by(&self, routes: Vec<Arc<CompiledRoute>>) -> Self {
        let index = self
            .edited(&routes)
            .and_then(|edited| self.index.edited(&edited, &self.routes, &routes));
        Self {
            name: Arc::clone(&self.name),
            index: index.unwrap_or_else(|| Index::new(&routes)),
            routes,
        }
    }

    /// Places where other routes stand than here; None where they are many, or not as many routes.
    fn edited(&self, routes: &[Arc<CompiledRoute>]) -> Option<Vec<usize>> {
        if routes.len() != self.routes.len() {
            return None;
        }
        let pairs = self.routes.iter().zip(routes).enumerate();
        let differ = pairs.filter(|(_, (old, new))| !Arc::ptr_eq(old, new));
        let edited: Vec<_> = differ
            .map(|(place, _)| place)
            .take(MOST_EDITED + 1)
            .collect();
        (edited.len() <= MOST_EDITED).then_some(edited)
    }

    /// The name of the route configuration.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The routes, by ordinal.
    #[must_use]
    pub fn routes(&self) -> &[Arc<CompiledRoute>] {
        &self.routes
    }

    /// The ordinal of the first route that matches. Allocates nothing.
    #[must_use]
    pub fn select(&self, attributes: &impl Attributes) -> Option<usize> {
        self.index.select(&self.routes, attributes)
    }

    /// Each route from the first to the one that matches, and what its conditions made of the request.
    #[must_use]
    pub fn explain(&self, attributes: &dyn Attributes) -> Vec<RouteTrace> {
        let mut traces = Vec::new();
        for (ordinal, route) in self.routes.iter().enumerate() {
            let trace = trace(ordinal, route, attributes);
            let matched = trace.matched;
            traces.push(trace);
            if matched {
                break;
            }
        }
        traces
    }
}

/// Tables are the same when their routes are.
impl PartialEq for RouteTable {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.routes == other.routes
    }
}

impl Eq for RouteTable {}

fn trace(ordinal: usize, route: &Arc<CompiledRoute>, attributes: &dyn Attributes) -> RouteTrace {
    let conditions = ConditionTrace::all(&route.matches, route.conditions(), attributes);
    RouteTrace {
        ordinal,
        name: Arc::clone(&route.name),
        matched: conditions.iter().all(|condition| condition.held),
        conditions,
    }
}
