//! Serialized xDS resources to the tables of routing and balancer.
//!
//! [`Store::update`] takes the bytes that an xDS stream brought and says which resources it refuses and
//! why; [`Store::snapshot`] is what holds now, as values that never change. `python` calls the first,
//! `proxy` is given the second. Nothing here knows sockets, clocks or Python.
#![forbid(unsafe_code)]

mod client;
mod cluster_store;
mod clusters;
mod endpoints;
mod field;
mod fingerprint;
mod held;
mod http;
mod invalid;
mod json;
mod lanes;
mod limits;
mod listeners;
mod local_rate_limit;
mod marks;
mod matchers;
mod messages;
mod meta_protocol_json;
mod plain_routes;
mod route_bytes;
mod routes;
mod snapshot;
mod sockets;
mod store;
mod workloads;

pub use client::{ClientListener, ClientSnapshot, ClientStore};
pub use lanes::LaneOf;
pub use local_rate_limit::{LimitCondition, LocalRateLimit};
pub use marks::MarkRules;
pub use meltemi_balancer::{
    CircuitBreakers, Endpoint, HashTable, Health, Locality, OutlierDetection, Peer, Policy, Spread,
};
pub use meltemi_limiter::Rate;
pub use meltemi_routing::{Marks, RouteTable, VirtualHosts};
pub use routes::route_table;
pub use snapshot::{
    Cluster, Direction, Listener, MetaProtocol, NetworkFilter, RouteSource, Snapshot, TypedConfig,
};
pub use store::{Rejected, Store, type_url};

#[cfg(test)]
mod tests;
