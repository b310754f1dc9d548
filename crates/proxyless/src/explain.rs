//! What a call would do and why, by the code that does it; and the state of clusters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_balancer::{Endpoint, Policy};
use meltemi_resources::{ClientSnapshot, Cluster};
use meltemi_routing::{Attributes, CompiledRoute, HashPolicy, Mutation, RetryPolicy, RouteTrace};

use crate::router::{Found, answered, find, host, hosts, listener, missing_clusters, own_tables};
use crate::upstream::{Live, Upstream};
use crate::{Refused, Router, Target};

/// What a call would do.
#[derive(Debug, Default)]
pub struct Explanation {
    /// The route configuration that was asked; None where the call takes a Thrift proxy's route.
    pub configuration: Option<Arc<str>>,
    /// The virtual host that serves the authority.
    pub virtual_host: Option<Arc<str>>,
    /// Each route from the first to the one that matches, and why.
    pub routes: Vec<(RouteTrace, Arc<CompiledRoute>)>,
    /// What is valid in listener, virtual host and route, and has no effect.
    pub notes: Vec<Arc<str>>,
    /// The route that is taken.
    pub taken: Option<Taken>,
    /// Why there would be no call.
    pub refused: Option<Refused>,
}

/// The route that a call would take, and where it would go next.
#[derive(Debug)]
pub struct Taken {
    /// The route.
    pub route: Arc<CompiledRoute>,
    /// Its clusters, each with its weight; None where it is not known.
    pub clusters: Vec<(Arc<str>, u32, Option<ClusterState>)>,
    /// The one whose turn it is.
    pub cluster: Option<Arc<str>>,
    /// The endpoint whose turn it is.
    pub endpoint: Option<SocketAddr>,
    /// How long a call may take: see [`crate::Call::timeout`].
    pub timeout: Option<Duration>,
    /// When it is tried again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// What clusters that balance by hash go by.
    pub hash: Option<u64>,
    /// What is changed in the request.
    pub request_changes: Vec<Mutation>,
    /// What is changed in the reply.
    pub response_changes: Vec<Mutation>,
}

/// A cluster, as this process sees it.
#[derive(Debug)]
pub struct ClusterState {
    /// Its name.
    pub name: Arc<str>,
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// Why it must not be used.
    pub refuse: Option<Arc<str>>,
    /// Attempts in flight.
    pub requests: u32,
    /// Its endpoints, in order.
    pub endpoints: Vec<EndpointState>,
}

/// An endpoint, as this process sees it.
#[derive(Debug)]
pub struct EndpointState {
    /// What the control plane says.
    pub endpoint: Endpoint,
    /// It failed too often, and gets no requests for now.
    pub ejected: bool,
    /// Attempts in flight.
    pub active: u32,
    /// Attempts that were made.
    pub total: u64,
    /// Of these, the ones that failed.
    pub errors: u64,
}

/// Conditions of a retry policy that look at what a call is not told.
const BY_REPLY_HEADERS: [&str; 2] = ["retriable-headers", "envoy-ratelimited"];

impl<F: Default> Router<F> {
    /// What a call would do now, and why not something else. Nothing is counted, and nobody's turn is over.
    pub fn explain(&self, target: &Target<'_>, attributes: &impl Attributes) -> Explanation {
        let snapshot = self.snapshot();
        let mut all = Explanation::default();
        if let Err(refused) = self.walk(&snapshot, target, attributes, &mut all) {
            all.refused = Some(refused);
        }
        all
    }

    fn walk(
        &self,
        snapshot: &ClientSnapshot,
        target: &Target<'_>,
        attributes: &impl Attributes,
        all: &mut Explanation,
    ) -> Result<(), Refused> {
        let listener = listener(snapshot, target.listener)?;
        all.notes.extend(listener.notes.iter().cloned());
        let matched = |all: &Explanation| all.routes.last().is_some_and(|(trace, _)| trace.matched);
        for table in own_tables(listener, target) {
            if !matched(all) {
                all.trace(table.explain(&attributes), table.routes());
            }
        }
        if !matched(all) {
            let hosts = hosts(snapshot, listener)?;
            all.configuration = Some(Arc::clone(hosts.name()));
            let host = host(hosts, target.authority)?;
            all.virtual_host = Some(Arc::clone(&host.name));
            all.notes.extend(host.notes.iter().cloned());
            all.trace(host.table.explain(&attributes), host.table.routes());
        }
        let found = find(snapshot, target, attributes)?;
        if let Some(http) = &found.route.http {
            all.notes.extend(http.notes.iter().cloned());
        }
        let taken = all.taken.insert(taken(target, attributes, &found));
        let conditions = taken.retry.iter().flat_map(|policy| policy.on.names());
        let of_headers = conditions.filter(|name| BY_REPLY_HEADERS.contains(name));
        let note =
            |name| format!("retry_on {name} never holds: headers of replies are not looked at");
        all.notes.extend(of_headers.map(|name| note(name).into()));
        self.whose_turn(snapshot, &found, taken)
    }

    /// Says which cluster and which endpoint come next.
    fn whose_turn(
        &self,
        snapshot: &ClientSnapshot,
        found: &Found,
        taken: &mut Taken,
    ) -> Result<(), Refused> {
        let route = &found.route;
        for (name, weight) in route.clusters.iter() {
            let cluster = snapshot.clusters.get(name);
            let state = cluster.map(|cluster| self.state(cluster));
            taken.clusters.push((Arc::clone(name), weight, state));
        }
        if let Some(answer) = route.http.as_ref().and_then(|http| http.answer.as_ref()) {
            return Err(answered(answer));
        }
        let place = self.used().choices.next(found.origin(), route);
        let name = &route.clusters.names()[place];
        taken.cluster = Some(Arc::clone(name));
        if let Some(host) = &found.host {
            taken.request_changes = host.request_changes(route, place).cloned().collect();
            taken.response_changes = host.response_changes(route, place).cloned().collect();
        } else {
            taken.request_changes.clone_from(&route.request_mutation);
            taken.response_changes.clone_from(&route.response_mutation);
        }
        let Some(cluster) = snapshot.clusters.get(name) else {
            return Err(missing_clusters(snapshot, route));
        };
        let upstream = self.used_as(name);
        let upstream = upstream.unwrap_or_else(|| Arc::new(self.fresh(cluster, None)));
        let live = upstream.live();
        live.admit()?;
        taken.endpoint = Some(live.peek(taken.hash)?);
        Ok(())
    }

    /// Every cluster that is known, in order of name.
    pub fn clusters(&self) -> Vec<ClusterState> {
        let snapshot = self.snapshot();
        let mut states: Vec<_> = snapshot
            .clusters
            .values()
            .map(|cluster| self.state(cluster))
            .collect();
        states.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        states
    }

    fn state(&self, cluster: &Arc<Cluster>) -> ClusterState {
        match self.used_as(&cluster.name) {
            Some(upstream) => upstream.live().state(),
            None => ClusterState::unused(cluster),
        }
    }

    fn used_as(&self, name: &str) -> Option<Arc<Upstream<F>>> {
        self.used().upstreams.get(name).cloned()
    }
}

impl ClusterState {
    fn unused(cluster: &Cluster) -> Self {
        let unused = |endpoint: &Endpoint| EndpointState {
            endpoint: endpoint.clone(),
            ejected: false,
            active: 0,
            total: 0,
            errors: 0,
        };
        Self {
            name: Arc::clone(&cluster.name),
            policy: cluster.policy,
            refuse: cluster.refuse.clone(),
            requests: 0,
            endpoints: cluster.endpoints.iter().map(unused).collect(),
        }
    }
}

impl Explanation {
    fn trace(&mut self, traces: Vec<RouteTrace>, routes: &[Arc<CompiledRoute>]) {
        self.routes.extend(traces.into_iter().map(|trace| {
            let route = Arc::clone(&routes[trace.ordinal]);
            (trace, route)
        }));
    }
}

impl<F> Live<F> {
    fn state(&self) -> ClusterState {
        let endpoints = self
            .places
            .iter()
            .zip(self.cluster.endpoints.iter())
            .enumerate();
        ClusterState {
            name: Arc::clone(&self.cluster.name),
            policy: self.cluster.policy,
            refuse: self.cluster.refuse.clone(),
            requests: self.requests(),
            endpoints: endpoints
                .map(|(index, (place, endpoint))| EndpointState {
                    endpoint: endpoint.clone(),
                    ejected: self.balancer.is_ejected(index),
                    active: self.balancer.active(index),
                    total: place.total(),
                    errors: place.errors(),
                })
                .collect(),
        }
    }

    /// The endpoint that would be picked.
    fn peek(&self, hash: Option<u64>) -> Result<SocketAddr, Refused> {
        let index = self.balancer.clone().pick(&mut self.rng.clone(), &[], hash);
        let place = index.and_then(|index| self.places.get(index));
        place
            .map(|place| place.address)
            .ok_or_else(|| self.nobody())
    }
}

fn taken(target: &Target<'_>, attributes: &impl Attributes, found: &Found) -> Taken {
    Taken {
        route: Arc::clone(&found.route),
        clusters: Vec::new(),
        cluster: None,
        endpoint: None,
        timeout: found.route.http.as_ref().and_then(|http| http.timeout),
        retry: found.retry(attributes).cloned(),
        hash: HashPolicy::hash(&found.route.hash_policy, attributes, target.caller),
        request_changes: Vec::new(),
        response_changes: Vec::new(),
    }
}
