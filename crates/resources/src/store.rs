//! The resources of every type, each at its last good state.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use meltemi_balancer::{Endpoint, HashTable, Peer};

use crate::clusters::{self, Definition, Source};
use crate::held::Held;
use crate::invalid::Invalid;
use crate::routes::Routes;
use crate::{Cluster, Listener, NetworkFilter, RouteSource, Snapshot};
use crate::{endpoints, listeners, routes, workloads};

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
    definitions: Held<Definition>,
    assignments: Held<Arc<[Endpoint]>>,
    workloads: Held<(Vec<IpAddr>, Arc<Peer>)>,
    /// Clusters whose endpoints are known.
    clusters: HashMap<Arc<str>, Arc<Cluster>>,
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
            type_url::CLUSTER => self.update_clusters(resources, removed, &mut rejected),
            type_url::ENDPOINT => self.update_endpoints(resources, removed, &mut rejected),
            type_url::WORKLOAD => self.update_workloads(resources, removed, &mut rejected),
            other => {
                let refuse = |(name, _): &(&str, &[u8])| Rejected {
                    name: (*name).to_owned(),
                    reason: format!("resources of type {other} are not used here"),
                };
                return resources.iter().map(refuse).collect();
            }
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
        let waits = self
            .definitions
            .iter()
            .filter(|(name, _)| !self.clusters.contains_key(*name));
        let mut names: Vec<_> = waits.map(|(name, _)| Arc::clone(name)).collect();
        names.sort_unstable();
        names
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

    fn update_clusters(
        &mut self,
        resources: &[(&str, &[u8])],
        removed: &[&str],
        rejected: &mut Vec<Rejected>,
    ) -> bool {
        let mut changed = false;
        for name in removed {
            self.definitions.remove(name);
            changed |= self.clusters.remove(*name).is_some();
        }
        let same = |a: &Definition, b: &Definition| a == b;
        let updated = self
            .definitions
            .apply(resources, rejected, anew(clusters::definition), same);
        for name in updated {
            changed |= self.refresh(&name);
        }
        changed
    }

    fn update_endpoints(
        &mut self,
        resources: &[(&str, &[u8])],
        removed: &[&str],
        rejected: &mut Vec<Rejected>,
    ) -> bool {
        for name in removed {
            self.assignments.remove(name);
        }
        let same = |a: &Arc<[Endpoint]>, b: &Arc<[Endpoint]>| a == b;
        let updated: HashSet<_> = self
            .assignments
            .apply(resources, rejected, anew(endpoints::assignment), same)
            .into_iter()
            .collect();
        let concerned =
            self.definitions
                .iter()
                .filter(|(_, definition)| match &definition.source {
                    Source::Eds(service) => updated.contains(service),
                    Source::Inline => false,
                });
        let concerned: Vec<_> = concerned.map(|(name, _)| Arc::clone(name)).collect();
        concerned
            .iter()
            .fold(false, |changed, name| self.refresh(name) | changed)
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

    /// Makes the cluster that holds from its definition and its endpoints. Without endpoints, what held
    /// before goes on: nothing is broken before its successor is made. Says whether anything changed.
    fn refresh(&mut self, name: &Arc<str>) -> bool {
        let Some(Definition { cluster, source }) = self.definitions.get(name) else {
            return false;
        };
        let endpoints = match source {
            Source::Inline => Some(&cluster.endpoints),
            Source::Eds(service) => self.assignments.get(service),
        };
        let Some(endpoints) = endpoints else {
            return false;
        };
        let held = self.clusters.get(name);
        let table = held.and_then(|held| held.table.clone());
        let mut cluster = Cluster {
            endpoints: Arc::clone(endpoints),
            table: table.filter(|table| table.is_of(cluster.policy, endpoints)),
            ..cluster.clone()
        };
        if held.is_some_and(|held| **held == cluster) {
            return false;
        }
        if cluster.table.is_none() {
            cluster.table = HashTable::new(cluster.policy, endpoints).map(Arc::new);
        }
        self.clusters.insert(Arc::clone(name), Arc::new(cluster));
        true
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
            clusters: self.clusters.clone(),
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

/// Compiles each version from nothing: what it was before does not matter.
fn anew<T>(
    compile: impl Fn(&str, &[u8]) -> Result<T, Invalid>,
) -> impl FnMut(&str, &[u8], Option<&T>) -> Result<T, Invalid> {
    move |name, bytes, _| compile(name, bytes)
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
