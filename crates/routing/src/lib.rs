//! Which route a request takes: matchers, the compiled route index, the weighted choice.
//!
//! A [`RouteTable`] is built once per version of a route configuration and replaced whole; it is
//! never edited. `resources` builds it, `proxy` asks it once a request, `explain` asks it why.
//! Nothing here knows sockets, clocks or Python.
#![forbid(unsafe_code)]

mod first_match;
mod hash;
mod hash_policy;
mod http;
mod index;
mod mark;
mod matcher;
mod request;
mod retry;
mod route;
mod strip;
mod table;
mod trace;
mod virtual_hosts;
mod weighted;

pub use first_match::{FirstMatch, MatchError};
pub use hash_policy::{HashPolicy, HashSource, hash_of, hash_of_address};
pub use http::{Answer, HttpAction, Mutations};
pub use matcher::{AttributeMatch, FullMatch, Matcher, check_regex};
pub use request::{FULL_PATH, PATH, Request};
pub use retry::{AnyMatch, RetryOn, RetryPolicy};
pub use route::{Attributes, CompiledRoute, Mutation, Route};
pub use strip::{Marks, Unmarked};
pub use table::{RouteError, RouteTable};
pub use trace::{ConditionTrace, RouteTrace};
pub use virtual_hosts::{DomainError, VirtualHost, VirtualHosts};
pub use weighted::{WeightedChoice, WeightedClusters};
