//! Who can serve a request, and how one of them is chosen.

use std::net::SocketAddr;
use std::sync::Arc;

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to connect; unique in its cluster.
    pub address: SocketAddr,
    /// Its share of the requests relative to the others; 0 gets none.
    pub weight: u32,
    /// Whether it may be picked at all.
    pub healthy: bool,
    /// The workload behind the address, for metrics and logs.
    pub peer: Option<Arc<Peer>>,
}

/// The workload behind an address, in the words of Istio's metrics. Unknown parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// `source_workload`, `destination_workload`.
    pub workload: Arc<str>,
    /// `..._workload_namespace`.
    pub namespace: Arc<str>,
    /// `..._app`.
    pub app: Arc<str>,
    /// `..._version`.
    pub version: Arc<str>,
    /// `..._cluster`.
    pub cluster: Arc<str>,
}

/// How one of several endpoints is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest requests in flight for its weight; in turn among equals.
    #[default]
    LeastRequest,
    /// By chance, by weight.
    Random,
    /// The one that follows the request's hash on a ring, as in Envoy: each endpoint is on it many
    /// times, by its weight.
    RingHash {
        /// Places that the ring has at least.
        min: u64,
        /// And at most.
        max: u64,
    },
    /// The one at the request's hash in a table of this size, a prime, as in Envoy.
    Maglev {
        /// Places of the table.
        table_size: u64,
    },
}
