//! A route configuration, compiled.

use std::fmt;
use std::sync::Arc;

use crate::index::Index;
use crate::matcher::Condition;
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
    conditions: Vec<Box<[Condition]>>,
    index: Index,
}

impl RouteTable {
    /// Compiles `routes`: expressions, and the index that makes the number of routes not matter.
    ///
    /// # Errors
    /// Every condition that cannot be compiled, in the order of the routes.
    pub fn new(name: &str, routes: Vec<Route>) -> Result<Self, Vec<RouteError>> {
        let mut errors = Vec::new();
        let mut conditions = Vec::with_capacity(routes.len());
        for (ordinal, route) in routes.iter().enumerate() {
            conditions.push(compile(ordinal, route, &mut errors));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let index = Index::new(&conditions);
        Ok(Self {
            name: name.into(),
            routes,
            conditions,
            index,
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
        self.index.select(&self.conditions, attributes)
    }

    /// Each route from the first to the one that matches, and what its conditions made of the request.
    #[must_use]
    pub fn explain(&self, attributes: &dyn Attributes) -> Vec<RouteTrace> {
        let mut traces = Vec::new();
        for (ordinal, (route, compiled)) in self.routes.iter().zip(&self.conditions).enumerate() {
            let trace = trace(ordinal, route, compiled, attributes);
            let matched = trace.matched;
            traces.push(trace);
            if matched {
                break;
            }
        }
        traces
    }
}

fn compile(ordinal: usize, route: &Route, errors: &mut Vec<RouteError>) -> Box<[Condition]> {
    let mut conditions = Vec::with_capacity(route.matches.len());
    for wanted in &route.matches {
        match Condition::compile(wanted) {
            Ok(condition) => conditions.push(condition),
            Err(reason) => errors.push(RouteError {
                ordinal,
                route: Arc::clone(&route.name),
                attribute: Arc::clone(&wanted.name),
                reason,
            }),
        }
    }
    conditions.into()
}

fn trace(
    ordinal: usize,
    route: &Route,
    compiled: &[Condition],
    attributes: &dyn Attributes,
) -> RouteTrace {
    let conditions: Vec<_> = route
        .matches
        .iter()
        .zip(compiled)
        .map(|(wanted, condition)| {
            let actual = attributes.get(&condition.name);
            ConditionTrace {
                attribute: Arc::clone(&condition.name),
                wanted: wanted.to_string(),
                held: condition.holds(actual),
                actual: actual.map(<[u8]>::to_vec),
            }
        })
        .collect();
    let matched = conditions.iter().all(|condition| condition.held);
    RouteTrace {
        ordinal,
        name: Arc::clone(&route.name),
        matched,
        conditions,
    }
}
