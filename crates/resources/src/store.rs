//! The resources of every type, each at its last good state.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use meltemi_balancer::Peer;

use crate::cluster_store::Clusters;
use crate::clusters;
use crate::held::{Held, anew};
use crate::invalid::Invalid;
use crate::routes::Routes;
use crate::{Listener, NetworkFilter, RouteSource, Snapshot};
use crate::{listeners, routes, workloads};

/// The type URLs that [`Store::update`] takes.
pub mod type_url {
    /// LDS.
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// RDS.
    pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    /// CDS.
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// EDS.
    pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// Who is behind an address.
    pub const WORKLOAD: &str = "type.googleapis.com/istio.workload.Address";
}

/// A resource that was refused; what it was before stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The resource's name.
    pub name: String,
    /// Field path and what is wrong there.
    pub reason: String,
}

/// The resources of every type, each at its last good state.
///
/// What leaves and what stays:
/// - A listener or a cluster that the server takes away is gone at once.
/// - A route configuration that is taken away stays while a listener asks for it.
/// - Endpoints that are taken away stay with the clusters that have them, as in Envoy: the cluster is
///   what ends them. A cluster that comes later waits for new ones.
#[derive(Debug, Default)]
pub struct Store {
    listeners: Held<Arc<Listener>>,
    routes: Held<Routes>,
    clusters: Clusters,
    workloads: Held<(Vec<IpAddr>, Arc<Peer>)>,
    snapshot: Arc<Snapshot>,
}

impl Store {
    /// A store that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies what one xDS response brought: serialized resources by name, and names that are gone.
    ///
    /// Each resource stands for itself: one that is refused keeps its last good state and the others
    /// apply. `type_url` is one of [`type_url`]; resources of another type are all refused. `_version` is
    /// the response's: what changed is seen from the bytes, so that a server which counts up its version
    /// without a change costs nothing.
    pub fn update(
        &mut self,
        type_url: &str,
        _version: &str,
        resources: &[(&str, &[u8])],
        removed: &[&str],
    ) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        let changed = match type_url {
            type_url::LISTENER => self.update_listeners(resources, removed, &mut rejected),
            type_url::ROUTE => self.update_routes(resources, removed, &mut rejected),
            type_url::CLUSTER => {
                self.clusters
                    .update(resources, removed, &mut rejected, clusters::definition)
            }
            type_url::ENDPOINT => self
                .clusters
                .update_endpoints(resources, removed, &mut rejected),
            type_url::WORKLOAD => self.update_workloads(resources, removed, &mut rejected),
            other => return of_unknown_type(other, resources),
        };
        if changed {
            self.publish(type_url == type_url::WORKLOAD);
        }
        rejected
    }

    /// What holds now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// Clusters whose endpoints have not come yet, so that nothing can use them; in order of name.
    #[must_use]
    pub fn warming(&self) -> Vec<Arc<str>> {
        self.clusters.warming()
    }

    fn update_listeners(
        &mut self,
        resources: &[(&str, &[u8])],
        removed: &[&str],
        rejected: &mut Vec<Rejected>,
    ) -> bool {
        let gone = removed
            .iter()
            .filter(|name| self.listeners.remove(name))
            .count();
        let mut taken = Taken::default();
        for (name, listener) in self.listeners.iter() {
            taken.insert(Arc::clone(name), listener.address);
        }
        let mut changed = false;
        let mut open = resources.to_vec();
        // Again for those whose address another one of this response has given up meanwhile.
        loop {
            let mut refused = Vec::new();
            let mut blocked = HashSet::new();
            let moved = self.place_listeners(&open, &mut refused, &mut taken, &mut blocked);
            changed |= moved;
            if blocked.is_empty() || !moved {
                rejected.append(&mut refused);
                break;
            }
            refused.retain(|one| !blocked.contains(&one.name));
            rejected.append(&mut refused);
            open.retain(|(name, _)| blocked.contains(*name));
        }
        let swept = self.sweep_routes();
        gone > 0 || changed || swept
    }

    /// Puts each listener on its address; `blocked` are those whose address another one has.
    fn place_listeners(
        &mut self,
        resources: &[(&str, &[u8])],
        rejected: &mut Vec<Rejected>,
        taken: &mut Taken,
        blocked: &mut HashSet<String>,
    ) -> bool {
        let compile = |name: &str, bytes: &[u8], _: Option<&_>| {
            let listener = Arc::new(listeners::listener(name, bytes)?);
            if let Some(other) = taken.by_other(name, listener.address) {
                blocked.insert(name.to_owned());
                let reason = format!("{} is taken by listener {other:?}", listener.address);
                return Err(Invalid::at("address", reason));
            }
            taken.insert(Arc::clone(&listener.name), listener.address);
            Ok(listener)
        };
        !self
            .listeners
            .apply(resources, rejected, compile, |a, b| a == b)
            .is_empty()
    }

    fn update_routes(
        &mut self,
        resources: &[(&str, &[u8])],
        removed: &[&str],
        rejected: &mut Vec<Rejected>,
    ) -> bool {
        removed
            .iter()
            .for_each(|name| self.routes.mark_removed(name));
        let same = |a: &Routes, b: &Routes| a.table.routes() == b.table.routes();
        let changed = self.routes.apply(resources, rejected, routes::table, same);
        let swept = self.sweep_routes();
        !changed.is_empty() || swept
    }

    /// Drops route configurations that were taken away and that no listener asks for.
    fn sweep_routes(&mut self) -> bool {
        let used = self
            .listeners
            .iter()
            .filter_map(|(_, listener)| match &listener.filter {
                NetworkFilter::MetaProtocol(filter) => match &filter.routes {
                    RouteSource::Rds(name) => Some(&**name),
                    RouteSource::Inline(_) => None,
                },
                NetworkFilter::TcpProxy { .. } => None,
            });
        self.routes.sweep(&used.collect())
    }

    fn update_workloads(
        &mut self,
        resources: &[(&str, &[u8])],
        removed: &[&str],
        rejected: &mut Vec<Rejected>,
    ) -> bool {
        let gone = removed
            .iter()
            .filter(|name| self.workloads.remove(name))
            .count();
        let changed =
            self.workloads
                .apply(resources, rejected, anew(workloads::workload), |a, b| {
                    a == b
                });
        gone > 0 || !changed.is_empty()
    }

    fn publish(&mut self, peers_changed: bool) {
        let shared = |(name, value): (&Arc<str>, &Arc<_>)| (Arc::clone(name), Arc::clone(value));
        self.snapshot = Arc::new(Snapshot {
            listeners: self.listeners.iter().map(shared).collect(),
            routes: self
                .routes
                .iter()
                .map(|(name, routes)| (Arc::clone(name), Arc::clone(&routes.table)))
                .collect(),
            clusters: self.clusters.ready(),
            peers: if peers_changed {
                self.peers()
            } else {
                Arc::clone(&self.snapshot.peers)
            },
        });
    }

    /// Where two workloads claim one address, the first by name has it, so that the order in which
    /// they came does not matter.
    fn peers(&self) -> Arc<HashMap<IpAddr, Arc<Peer>>> {
        let mut workloads: Vec<_> = self.workloads.iter().collect();
        workloads.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        let each = workloads.into_iter().flat_map(|(_, (addresses, peer))| {
            addresses.iter().map(|address| (*address, Arc::clone(peer)))
        });
        Arc::new(each.collect())
    }
}

/// Refuses all resources of a type that a store does not take.
pub(crate) fn of_unknown_type(type_url: &str, resources: &[(&str, &[u8])]) -> Vec<Rejected> {
    let refuse = |(name, _): &(&str, &[u8])| Rejected {
        name: (*name).to_owned(),
        reason: format!("resources of type {type_url} are not used here"),
    };
    resources.iter().map(refuse).collect()
}

/// Which listener has which address.
#[derive(Default)]
struct Taken {
    owners: HashMap<SocketAddr, Arc<str>>,
    addresses: HashMap<Arc<str>, SocketAddr>,
}

impl Taken {
    /// The listener other than `name` that has `address`.
    fn by_other(&self, name: &str, address: SocketAddr) -> Option<&str> {
        self.owners
            .get(&address)
            .map(|owner| &**owner)
            .filter(|owner| *owner != name)
    }

    /// Gives `address` to `name`, which gives up the one that it had.
    fn insert(&mut self, name: Arc<str>, address: SocketAddr) {
        if let Some(before) = self.addresses.insert(Arc::clone(&name), address) {
            self.owners.remove(&before);
        }
        self.owners.insert(address, name);
    }
}
