//! What a client without a sidecar knows: listeners to look up by name, routes, clusters.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use meltemi_routing::{RouteTable, VirtualHosts};

use crate::cluster_store::Clusters;
use crate::clusters;
use crate::held::{Held, anew};
use crate::http::{self, HttpRoutes};
use crate::store::of_unknown_type;
use crate::{Cluster, Rejected, RouteSource, type_url};

/// All resources in force. A resource that did not change between two snapshots is the same `Arc`.
#[derive(Clone, Debug, Default)]
pub struct ClientSnapshot {
    /// Listeners by name: what a call looks up first.
    pub listeners: HashMap<Arc<str>, Arc<ClientListener>>,
    /// Route configurations by name.
    pub routes: HashMap<Arc<str>, Arc<VirtualHosts>>,
    /// Clusters by name; only those whose endpoints are known.
    pub clusters: HashMap<Arc<str>, Arc<Cluster>>,
    /// Clusters that are not in `clusters` yet, and the load assignment that each of them waits for.
    pub waiting: HashMap<Arc<str>, Arc<str>>,
}

/// What a listener says to who calls by its name. Each of its parts may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientListener {
    /// The resource's name: `reviews:9080`, or `10.0.0.1_9080`.
    pub name: Arc<str>,
    /// Routes of an HTTP connection manager: the API listener's, else the last one of a filter chain.
    pub http: Option<RouteSource<VirtualHosts>>,
    /// Routes of the last Thrift proxy of a filter chain. Their attributes are `method`, `service` and
    /// headers.
    pub thrift: Option<Arc<RouteTable>>,
    /// Where the last TCP proxy of a filter chain sends all connections: one route of all calls.
    pub tcp: Option<Arc<RouteTable>>,
    /// What of it is valid and has no effect here; where there is nothing to route by, why.
    pub notes: Box<[Arc<str>]>,
}

/// The resources of every type that a client asks for, each at its last good state.
///
/// What leaves and what stays is as in [`crate::Store`].
#[derive(Debug, Default)]
pub struct ClientStore {
    listeners: Held<Arc<ClientListener>>,
    routes: Held<HttpRoutes>,
    clusters: Clusters,
    snapshot: Arc<ClientSnapshot>,
}

impl ClientStore {
    /// A store that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies what one xDS response brought, as [`crate::Store::update`] does.
    pub fn update(
        &mut self,
        type_url: &str,
        _version: &str,
        resources: &[(&str, &[u8])],
        removed: &[&str],
    ) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        let mut changed = match type_url {
            type_url::LISTENER => self.update_listeners(resources, removed, &mut rejected),
            type_url::ROUTE => self.update_routes(resources, removed, &mut rejected),
            type_url::CLUSTER => self.clusters.update(
                resources,
                removed,
                &mut rejected,
                clusters::definition_for_client,
            ),
            type_url::ENDPOINT => self
                .clusters
                .update_endpoints(resources, removed, &mut rejected),
            other => return of_unknown_type(other, resources),
        };
        let waiting = self.clusters.waiting();
        changed |= waiting != self.snapshot.waiting;
        if changed {
            self.publish(waiting);
        }
        rejected
    }

    /// What holds now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ClientSnapshot> {
        Arc::clone(&self.snapshot)
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
        let changed = self
            .listeners
            .apply(resources, rejected, anew(http::listener), |a, b| a == b);
        let swept = self.sweep_routes();
        gone > 0 || !changed.is_empty() || swept
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
        let same = |a: &HttpRoutes, b: &HttpRoutes| a.hosts == b.hosts;
        let changed = self.routes.apply(resources, rejected, http::routes, same);
        let swept = self.sweep_routes();
        !changed.is_empty() || swept
    }

    /// Drops route configurations that were taken away and that no listener asks for.
    fn sweep_routes(&mut self) -> bool {
        let used: HashSet<&str> = self
            .listeners
            .iter()
            .filter_map(|(_, listener)| match &listener.http {
                Some(RouteSource::Rds(name)) => Some(&**name),
                _ => None,
            })
            .collect();
        self.routes.sweep(&used)
    }

    fn publish(&mut self, waiting: HashMap<Arc<str>, Arc<str>>) {
        let listeners = self.listeners.iter();
        let routes = self.routes.iter();
        self.snapshot = Arc::new(ClientSnapshot {
            listeners: listeners
                .map(|(name, listener)| (Arc::clone(name), Arc::clone(listener)))
                .collect(),
            routes: routes
                .map(|(name, routes)| (Arc::clone(name), Arc::clone(&routes.hosts)))
                .collect(),
            clusters: self.clusters.ready(),
            waiting,
        });
    }
}
