//! What holds now: immutable values that the proxy's workers share.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use meltemi_balancer::{
    CircuitBreakers, Endpoint, HashTable, OutlierDetection, Peer, Policy, Spread,
};
use meltemi_routing::{Marks, RouteTable};

use crate::MarkRules;

/// All resources in force. A resource that did not change between two snapshots is the same `Arc`.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Listeners by name.
    pub listeners: HashMap<Arc<str>, Arc<Listener>>,
    /// Route tables by the name of the route configuration.
    pub routes: HashMap<Arc<str>, Arc<RouteTable>>,
    /// Clusters by name; only those whose endpoints are known.
    pub clusters: HashMap<Arc<str>, Arc<Cluster>>,
    /// Who is behind an address.
    pub peers: Arc<HashMap<IpAddr, Arc<Peer>>>,
}

/// Which way the requests of a listener go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From others to the workload of this sidecar.
    Inbound,
    /// From the workload of this sidecar to others.
    #[default]
    Outbound,
}

/// A socket to listen on, and what its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The resource's name.
    pub name: Arc<str>,
    /// Where to listen.
    pub address: SocketAddr,
    /// Which way its requests go (`traffic_direction`).
    pub direction: Direction,
    /// What is done with its connections.
    pub filter: NetworkFilter,
}

/// What is done with the connections of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkFilter {
    /// Requests are decoded and routed one by one.
    MetaProtocol(MetaProtocol),
    /// Bytes are forwarded; each connection goes to one endpoint.
    TcpProxy {
        /// First part of the names of its stats.
        stat_prefix: Arc<str>,
        /// The cluster that all connections go to.
        cluster: Arc<str>,
    },
}

/// `envoy.filters.network.meta_protocol_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProtocol {
    /// First part of the names of its stats.
    pub stat_prefix: Arc<str>,
    /// `application_protocol`: `thrift`.
    pub protocol: Arc<str>,
    /// The codec's name: `aeraki.meta_protocol.codec.thrift`.
    pub codec: Arc<str>,
    /// Where its routes come from.
    pub routes: RouteSource,
    /// `meta_protocol_filters`, in order.
    pub filters: Vec<TypedConfig>,
    /// A downstream connection without a request in flight is closed after this long; None: never.
    pub idle_timeout: Option<Duration>,
    /// Replies are sent as they come, whatever the codec says (filter `meltemi.downstream`).
    pub replies_in_any_order: bool,
    /// Which callers' marks of lanes count (filter `meltemi.marks`); None: everybody's.
    pub marks: Option<Arc<MarkRules>>,
}

/// A filter's name and its configuration as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedConfig {
    /// The filter's name: `aeraki.meta_protocol.filters.router`.
    pub name: Arc<str>,
    /// The type of the configuration: `type.googleapis.com/...`; empty when there is none.
    pub type_url: Arc<str>,
    /// The serialized configuration.
    pub value: Arc<[u8]>,
}

/// Where the routes of a listener come from.
#[derive(Debug, PartialEq, Eq)]
pub enum RouteSource<T = RouteTable> {
    /// A route configuration of this name, among the snapshot's routes once it is there.
    Rds(Arc<str>),
    /// Written in the listener.
    Inline(Arc<T>),
}

/// Endpoints that serve the same thing, and how they are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The resource's name: `outbound|9090|v1|server.default.svc.cluster.local`.
    pub name: Arc<str>,
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// Its endpoints, unhealthy ones too; may be empty.
    pub endpoints: Arc<[Endpoint]>,
    /// Which of them each hash belongs to, for a policy that goes by it; made once for all workers.
    pub table: Option<Arc<HashTable>>,
    /// Requests that one upstream connection carries at once; None: what the codec says.
    pub max_in_flight: Option<u32>,
    /// What may be under way to it at once.
    pub limits: CircuitBreakers,
    /// How requests are spread over priorities and localities.
    pub spread: Spread,
    /// Which endpoints are left out for a while; None: none are.
    pub outlier: Option<Box<OutlierDetection>>,
    /// An upstream connection that was idle for this long is closed; None: the engine's own limit.
    pub idle_timeout: Option<Duration>,
    /// Every request is answered with this reason, because going on without what the cluster asks
    /// for (TLS, say) would be unsafe.
    pub refuse: Option<Arc<str>>,
    /// Marks of lanes that requests to it do not have any more: it is outside of the mesh.
    pub unmarked: Option<Arc<Marks>>,
}

impl Cluster {
    /// A cluster of which nothing but its endpoints is known: the policy is Envoy's default, round robin.
    #[must_use]
    pub fn new(name: &str, endpoints: Arc<[Endpoint]>) -> Self {
        Self {
            name: name.into(),
            policy: Policy::RoundRobin,
            connect_timeout: crate::clusters::CONNECT_TIMEOUT,
            endpoints,
            table: None,
            max_in_flight: None,
            limits: CircuitBreakers::default(),
            spread: Spread::default(),
            outlier: None,
            idle_timeout: None,
            refuse: None,
            unmarked: None,
        }
    }

    /// What a balancer needs of it but its endpoints; then [`meltemi_balancer::Balancer::set_table`] comes.
    pub fn set_up(&self, balancer: &mut meltemi_balancer::Balancer) {
        balancer.set_spread(self.spread);
        balancer.set_outlier_detection(self.outlier.as_deref());
        balancer.set_table(self.table.as_ref());
    }
}

/// Not derived: that would ask for routes that can be cloned.
impl<T> Clone for RouteSource<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Rds(name) => Self::Rds(Arc::clone(name)),
            Self::Inline(routes) => Self::Inline(Arc::clone(routes)),
        }
    }
}
