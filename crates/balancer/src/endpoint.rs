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
    /// What is said of its health; what a balancer learns itself ([`crate::Balancer::is_ejected`]) is
    /// not here.
    pub health: Health,
    /// 0 is asked first; others only as far as those before them are not there: see [`crate::Spread`].
    pub priority: u32,
    /// Where it is; None: nobody said it.
    pub locality: Option<Arc<Locality>>,
    /// The workload behind the address, for metrics and logs.
    pub peer: Option<Arc<Peer>>,
    /// In the cluster of a lane: whose instance it is, where it is not the lane's own; another lane's,
    /// or that of [`BASELINE`].
    pub lane: Option<Arc<str>>,
}

/// What is in no lane; no lane has this name.
pub const BASELINE: &str = "baseline";

impl Endpoint {
    /// A healthy endpoint of weight 1 and the first priority, of which nothing else is known.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            weight: 1,
            health: Health::Healthy,
            priority: 0,
            locality: None,
            peer: None,
            lane: None,
        }
    }
}

/// What is said of an endpoint's health, in Envoy's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// HEALTHY, and UNKNOWN, which is taken for it.
    #[default]
    Healthy,
    /// DEGRADED: gets what the healthy ones cannot take.
    Degraded,
    /// UNHEALTHY or TIMEOUT: gets requests only in panic.
    Unhealthy,
    /// DRAINING: gets no request any more, in panic either.
    Draining,
}

/// Where an endpoint is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// The region: `europe-west1`.
    pub region: Arc<str>,
    /// The zone in it.
    pub zone: Arc<str>,
    /// The part of the zone.
    pub sub_zone: Arc<str>,
    /// Its share among the localities of a priority, where [`crate::Spread::by_locality`]; 0 gets none.
    pub weight: u32,
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

impl Policy {
    /// Whether it asks for the hash of a request, and so for a [`crate::HashTable`].
    #[must_use]
    pub const fn is_by_hash(self) -> bool {
        matches!(self, Self::RingHash { .. } | Self::Maglev { .. })
    }
}
