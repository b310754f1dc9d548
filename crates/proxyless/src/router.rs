//! From a listener's name to a call whose endpoint is picked.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use meltemi_resources::{ClientListener, ClientSnapshot, Cluster, LaneOf, RouteSource, type_url};
use meltemi_routing::{
    Answer, Attributes, CompiledRoute, HashPolicy, RetryPolicy, RouteTable, VirtualHost,
    VirtualHosts,
};

use crate::call::{Call, Decision};
use crate::choices::{Choices, Origin};
use crate::lanes::LaneCounts;
use crate::upstream::Upstream;
use crate::{LaneCount, Refused};

/// Decides calls by what a [`ClientSnapshot`] says, and keeps what is alive between them: the shares of
/// weighted clusters, requests in flight, ejected endpoints, retries. All of that lives by name
/// through new snapshots. Every method may be called from any thread; none waits for another for
/// longer than it takes to pick an endpoint. `F` is what the face of this crate keeps with an endpoint.
#[derive(Debug)]
pub struct Router<F> {
    snapshot: RwLock<Arc<ClientSnapshot>>,
    used: Mutex<Used<F>>,
    seed: u64,
}

/// What calls have used so far. Locked before the snapshot, where both are.
#[derive(Debug)]
pub(crate) struct Used<F> {
    pub(crate) upstreams: HashMap<Arc<str>, Arc<Upstream<F>>>,
    pub(crate) choices: Choices,
    /// By cluster; they outlive their upstreams.
    lanes: HashMap<Arc<str>, Arc<LaneCounts>>,
}

/// What a call says, beside its attributes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The listener by whose routes it goes: `reviews:9080`.
    pub listener: &'t str,
    /// Who is called: chooses the virtual host.
    pub authority: &'t str,
    /// It is a Thrift call, which takes the routes of a Thrift proxy where its listener has them.
    pub thrift: bool,
    /// Whose call it is, for clusters that balance by it.
    pub caller: Option<IpAddr>,
}

/// The route that a call takes, and where it stands.
pub(crate) struct Found {
    /// The name of the route configuration; of the listener, for routes without virtual hosts.
    pub(crate) table: Arc<str>,
    pub(crate) host: Option<Arc<VirtualHost>>,
    pub(crate) route: Arc<CompiledRoute>,
}

impl Found {
    pub(crate) fn origin(&self) -> Origin<'_> {
        let host = self.host.as_ref().map_or("", |host| &host.name);
        (&self.table, host)
    }

    /// When the call is tried again.
    pub(crate) fn retry(&self, attributes: &impl Attributes) -> Option<&Arc<RetryPolicy>> {
        let policy = self.host.as_ref()?.retry_of(&self.route)?;
        let requests = &policy.request_headers;
        (requests.wanted().is_empty() || requests.holds(attributes)).then_some(policy)
    }
}

impl<F: Default> Router<F> {
    /// A router that knows nothing yet. `seed` is its chance.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let used = Used {
            upstreams: HashMap::new(),
            choices: Choices::new(seed),
            lanes: HashMap::new(),
        };
        Self {
            snapshot: RwLock::default(),
            used: Mutex::new(used),
            seed,
        }
    }

    /// Goes on with `snapshot`. Of two at once, either may be the one that stays: callers take turns.
    pub fn publish(&self, snapshot: Arc<ClientSnapshot>) {
        let mut changed = Vec::new();
        let mut used = self.used();
        used.upstreams.retain(|name, upstream| {
            let cluster = snapshot.clusters.get(name);
            if let Some(cluster) = cluster {
                changed.push((Arc::clone(upstream), Arc::clone(cluster)));
            }
            cluster.is_some()
        });
        let mut current = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, snapshot);
        drop(current);
        drop(used);
        drop(old);
        self.used().choices.sweep();
        for (upstream, cluster) in changed {
            upstream.update(&cluster);
        }
    }

    /// Decides a call and picks its first endpoint. `now` is any time that only grows.
    ///
    /// # Errors
    /// Why there is no call. Nothing is counted then.
    pub fn call(
        &self,
        target: &Target<'_>,
        attributes: &impl Attributes,
        now: Duration,
    ) -> Result<Call<F>, Refused> {
        let snapshot = self.snapshot();
        let found = find(&snapshot, target, attributes)?;
        let route = &found.route;
        if let Some(answer) = route.http.as_ref().and_then(|http| http.answer.as_ref()) {
            return Err(answered(answer));
        }
        let names = route.clusters.names();
        let mut upstream = None;
        let mut used = self.used();
        let Used {
            upstreams,
            choices,
            lanes,
        } = &mut *used;
        let cluster = choices.pick(found.origin(), route, |place| {
            upstream = self.upstream(upstreams, lanes, &names[place]);
            upstream.is_some()
        });
        drop(used);
        let (Some(cluster), Some(upstream)) = (cluster, upstream) else {
            return Err(missing_clusters(&snapshot, route));
        };
        let decision = Decision {
            retry: found.retry(attributes).cloned(),
            hash: HashPolicy::hash(&route.hash_policy, attributes, target.caller),
            host: found.host,
            route: found.route,
            cluster,
        };
        let picked = upstream.begin(decision.hash, now)?;
        Ok(Call::new(decision, upstream, picked, now))
    }

    /// What is alive of the cluster `name`; None where there is no such cluster.
    fn upstream(
        &self,
        upstreams: &mut HashMap<Arc<str>, Arc<Upstream<F>>>,
        lanes: &mut HashMap<Arc<str>, Arc<LaneCounts>>,
        name: &Arc<str>,
    ) -> Option<Arc<Upstream<F>>> {
        if let Some(upstream) = upstreams.get(name) {
            return Some(Arc::clone(upstream));
        }
        // The one in force: what the call began with may be older than what is in use.
        let snapshot = self.snapshot();
        let (name, cluster) = snapshot.clusters.get_key_value(name)?;
        let lane = cluster.lane().map(|of| {
            let counts = lanes.entry(Arc::clone(name));
            Arc::clone(counts.or_insert_with(|| Arc::new(LaneCounts::new(of))))
        });
        let upstream = Arc::new(self.fresh(cluster, lane));
        upstreams.insert(Arc::clone(name), Arc::clone(&upstream));
        Some(upstream)
    }

    /// A cluster that no call went to so far; its chance is its own.
    pub(crate) fn fresh(
        &self,
        cluster: &Arc<Cluster>,
        lane: Option<Arc<LaneCounts>>,
    ) -> Upstream<F> {
        let seed = cluster.name.bytes().fold(self.seed, |seed, byte| {
            seed.rotate_left(5).wrapping_add(u64::from(byte))
        });
        Upstream::new(cluster, lane, seed)
    }
}

impl<F> Router<F> {
    /// What became of the calls of each lane and service that was called so far, in order.
    pub fn lanes(&self) -> Vec<(LaneOf, LaneCount)> {
        let mut all: BTreeMap<LaneOf, LaneCount> = BTreeMap::new();
        for counts in self.used().lanes.values() {
            all.entry(counts.of.clone())
                .or_default()
                .add(&counts.count());
        }
        all.into_iter().collect()
    }

    pub(crate) fn snapshot(&self) -> Arc<ClientSnapshot> {
        let current = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    pub(crate) fn used(&self) -> MutexGuard<'_, Used<F>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first route that is for the call.
pub(crate) fn find(
    snapshot: &ClientSnapshot,
    target: &Target<'_>,
    attributes: &impl Attributes,
) -> Result<Found, Refused> {
    let listener = listener(snapshot, target.listener)?;
    for table in own_tables(listener, target) {
        if let Some(place) = table.select(attributes) {
            return Ok(Found {
                table: Arc::clone(&listener.name),
                host: None,
                route: Arc::clone(&table.routes()[place]),
            });
        }
    }
    let hosts = hosts(snapshot, listener)?;
    let host = host(hosts, target.authority)?;
    let Some(place) = host.table.select(attributes) else {
        let reason = format!(
            "none of the {} routes of virtual host {:?} ({}) is for this call",
            host.table.routes().len(),
            host.name,
            hosts.name()
        );
        return Err(Refused::NoRoute(reason));
    };
    Ok(Found {
        table: Arc::clone(hosts.name()),
        route: Arc::clone(&host.table.routes()[place]),
        host: Some(Arc::clone(host)),
    })
}

pub(crate) fn listener<'s>(
    snapshot: &'s ClientSnapshot,
    name: &str,
) -> Result<&'s Arc<ClientListener>, Refused> {
    let missing = || Refused::NotKnown(vec![(type_url::LISTENER, name.into())]);
    snapshot.listeners.get(name).ok_or_else(missing)
}

/// Routes without virtual hosts, which a call takes before all others: those of a Thrift proxy, for a call by
/// Thrift; that of a TCP proxy, where the listener has nothing for HTTP.
pub(crate) fn own_tables<'l>(
    listener: &'l ClientListener,
    target: &Target<'_>,
) -> impl Iterator<Item = &'l Arc<RouteTable>> {
    let thrift = listener.thrift.as_ref().filter(|_| target.thrift);
    let tcp = listener.tcp.as_ref().filter(|_| listener.http.is_none());
    thrift.into_iter().chain(tcp)
}

pub(crate) fn hosts<'s>(
    snapshot: &'s ClientSnapshot,
    listener: &'s ClientListener,
) -> Result<&'s Arc<VirtualHosts>, Refused> {
    match &listener.http {
        Some(RouteSource::Inline(hosts)) => Ok(hosts),
        Some(RouteSource::Rds(name)) => {
            let missing = || Refused::NotKnown(vec![(type_url::ROUTE, Arc::clone(name))]);
            snapshot.routes.get(name).ok_or_else(missing)
        }
        None => {
            let name = &listener.name;
            let why = listener.notes.iter().map(|note| format!("; {note}"));
            let why: String = why.collect();
            let reason = format!("listener {name:?} has no routes for this call{why}");
            Err(Refused::NoRoute(reason))
        }
    }
}

pub(crate) fn host<'h>(
    hosts: &'h VirtualHosts,
    authority: &str,
) -> Result<&'h Arc<VirtualHost>, Refused> {
    hosts.select(authority).ok_or_else(|| {
        let (name, count) = (hosts.name(), hosts.hosts().len());
        let reason = format!("none of the {count} virtual hosts of {name:?} is for {authority:?}");
        Refused::NoRoute(reason)
    })
}

pub(crate) fn answered(answer: &Answer) -> Refused {
    match answer {
        Answer::Response { status, body } => Refused::DirectResponse(*status, Arc::clone(body)),
        Answer::Refused(reason) => Refused::NoRoute(reason.to_string()),
    }
}

/// The clusters of `route` that are not known, all at once; where only its endpoints have not come, these.
pub(crate) fn missing_clusters(snapshot: &ClientSnapshot, route: &CompiledRoute) -> Refused {
    let clusters = route.clusters.iter().filter(|(_, weight)| *weight > 0);
    let unknown = clusters.filter(|(name, _)| !snapshot.clusters.contains_key(*name));
    let missing = unknown.map(|(name, _)| match snapshot.waiting.get(name) {
        Some(service) => (type_url::ENDPOINT, Arc::clone(service)),
        None => (type_url::CLUSTER, Arc::clone(name)),
    });
    Refused::NotKnown(missing.collect())
}
