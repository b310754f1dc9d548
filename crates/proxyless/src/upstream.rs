//! What is alive of a cluster between its updates: whose turn it is, what is in flight, who fails.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meltemi_balancer::{Balancer, Peer, Rng, Seen};
use meltemi_resources::{Cluster, Marks};

use crate::Refused;
use crate::lanes::{LaneCounts, Standing};

/// The place of an endpoint that the cluster has no more.
const GONE: usize = usize::MAX;

/// An endpoint of a cluster, the same through updates that leave its address.
#[derive(Debug)]
pub struct Place<F> {
    /// Where to connect.
    pub address: SocketAddr,
    /// What the face of this crate keeps with an endpoint.
    pub face: F,
    /// Among the endpoints of the cluster now.
    index: AtomicUsize,
    total: AtomicU64,
    errors: AtomicU64,
}

impl<F: Default> Place<F> {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            face: F::default(),
            index: AtomicUsize::new(GONE),
            total: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }
}

impl<F> Place<F> {
    fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    /// Attempts that were made at it.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Of these, the ones that failed.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

/// One more; written under the lock of the cluster, so that it need not be one step.
fn count(number: &AtomicU64) {
    number.store(number.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// A picked endpoint.
#[derive(Debug)]
pub(crate) struct Picked<F> {
    pub(crate) place: Arc<Place<F>>,
    pub(crate) peer: Option<Arc<Peer>>,
    pub(crate) standing: Standing,
    /// Marks of lanes that its requests must not have.
    pub(crate) unmarked: Option<Arc<Marks>>,
}

/// A cluster that calls went to. It lives through updates of its settings and endpoints.
#[derive(Debug)]
pub(crate) struct Upstream<F> {
    live: Mutex<Live<F>>,
    /// Where it is the cluster of a lane.
    pub(crate) lane: Option<Arc<LaneCounts>>,
}

#[derive(Debug)]
pub(crate) struct Live<F> {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) balancer: Balancer,
    /// By the index of their endpoints.
    pub(crate) places: Vec<Arc<Place<F>>>,
    pub(crate) rng: Rng,
    in_lane: bool,
    /// Attempts in flight.
    requests: u32,
    /// Of these, the ones that are not the first of their calls.
    retries: u32,
}

impl<F: Default> Upstream<F> {
    pub(crate) fn new(cluster: &Arc<Cluster>, lane: Option<Arc<LaneCounts>>, seed: u64) -> Self {
        let mut live = Live {
            cluster: Arc::clone(cluster),
            balancer: Balancer::new(cluster.policy, &cluster.endpoints),
            places: Vec::new(),
            rng: Rng::new(seed),
            in_lane: lane.is_some(),
            requests: 0,
            retries: 0,
        };
        live.settle(cluster);
        Self {
            live: Mutex::new(live),
            lane,
        }
    }

    /// Takes over a new version of the cluster.
    pub(crate) fn update(&self, cluster: &Arc<Cluster>) {
        let mut live = self.live();
        if !Arc::ptr_eq(&live.cluster, cluster) {
            live.settle(cluster);
        }
    }
}

impl<F> Upstream<F> {
    pub(crate) fn live(&self) -> MutexGuard<'_, Live<F>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Picks the endpoint of a new call and counts it.
    pub(crate) fn begin(&self, hash: Option<u64>, now: Duration) -> Result<Picked<F>, Refused> {
        let mut live = self.live();
        let admitted = live.admit();
        let picked = admitted.and_then(|()| {
            live.look(now);
            live.pick(&[], hash).ok_or_else(|| live.nobody())
        });
        if let (Err(_), Some(lane)) = (&picked, &self.lane) {
            lane.failed();
        }
        picked
    }
}

impl<F: Default> Live<F> {
    /// Makes everything fit `cluster`; what is known of an address stays.
    fn settle(&mut self, cluster: &Arc<Cluster>) {
        let old: HashMap<SocketAddr, Arc<Place<F>>> = self
            .places
            .drain(..)
            .map(|place| (place.address, place))
            .collect();
        let place = |address: SocketAddr| {
            let known = old.get(&address).cloned();
            known.unwrap_or_else(|| Arc::new(Place::new(address)))
        };
        self.places = cluster
            .endpoints
            .iter()
            .map(|one| place(one.address))
            .collect();
        if self.balancer.policy() == cluster.policy {
            self.balancer.update(&cluster.endpoints);
        } else {
            self.balancer = Balancer::new(cluster.policy, &cluster.endpoints);
        }
        cluster.set_up(&mut self.balancer);
        old.values()
            .for_each(|place| place.index.store(GONE, Ordering::Relaxed));
        for (index, place) in self.places.iter().enumerate() {
            place.index.store(index, Ordering::Relaxed);
        }
        self.cluster = Arc::clone(cluster);
    }
}

impl<F> Live<F> {
    /// Whether a call may begin.
    pub(crate) fn admit(&self) -> Result<(), Refused> {
        let name = &self.cluster.name;
        if let Some(reason) = &self.cluster.refuse {
            let reason = format!("cluster '{name}' cannot be used: {reason}");
            return Err(Refused::NoEndpoint(reason));
        }
        let limits = &self.cluster.limits;
        if !limits.may_begin(self.requests) {
            let most = limits.max_requests.unwrap_or_default();
            let reason = format!("cluster '{name}' has {most} requests in flight, its limit");
            return Err(Refused::Overflow(reason));
        }
        Ok(())
    }

    pub(crate) fn nobody(&self) -> Refused {
        Refused::NoEndpoint(format!("no healthy upstream for '{}'", self.cluster.name))
    }

    /// Ends the interval of outlier detection where it is over.
    pub(crate) fn look(&mut self, now: Duration) {
        if self.balancer.next_check().is_some_and(|at| at <= now) {
            self.balancer.check(now, &mut self.rng);
        }
    }

    /// Picks an endpoint that is none of `tried`, and counts an attempt at it.
    pub(crate) fn pick(&mut self, tried: &[Arc<Place<F>>], hash: Option<u64>) -> Option<Picked<F>> {
        let index = if tried.is_empty() {
            self.balancer.pick(&mut self.rng, &[], hash)?
        } else {
            let tried: Vec<_> = tried.iter().map(|place| place.index()).collect();
            self.balancer.pick(&mut self.rng, &tried, hash)?
        };
        self.balancer.started(index);
        self.requests = self.requests.saturating_add(1);
        let place = Arc::clone(self.places.get(index)?);
        count(&place.total);
        let endpoint = self.cluster.endpoints.get(index)?;
        // Only a lane's own cluster can leak, and to see that is a look at all of its endpoints.
        let (stands, leaks) = if self.in_lane {
            self.balancer.stands(index)
        } else {
            Default::default()
        };
        Some(Picked {
            place,
            peer: endpoint.peer.clone(),
            unmarked: self.cluster.unmarked.clone(),
            standing: Standing {
                stands,
                leaks,
                lane: endpoint.lane.clone(),
            },
        })
    }

    /// An attempt at `place` is over; `seen` is what it tells of the endpoint, None when it was left.
    pub(crate) fn end(&mut self, place: &Place<F>, seen: Option<Seen>, retry: bool, now: Duration) {
        self.requests = self.requests.saturating_sub(1);
        if retry {
            self.retries = self.retries.saturating_sub(1);
        }
        let index = place.index();
        if index != GONE {
            self.balancer.finished(index);
        }
        let Some(seen) = seen else { return };
        if !matches!(seen, Seen::Success) {
            count(&place.errors);
        }
        if index == GONE {
            return;
        }
        if !matches!(seen, Seen::ConnectFailed) {
            self.balancer
                .saw(index, Seen::Connected, now, &mut self.rng);
        }
        self.balancer.saw(index, seen, now, &mut self.rng);
    }

    /// Whether one more attempt may be made that is not the first of its call.
    pub(crate) fn may_retry(&self) -> bool {
        let limits = &self.cluster.limits;
        limits.may_retry(self.retries, self.requests.saturating_add(1))
    }

    /// An attempt that was picked is not the first of its call.
    pub(crate) const fn retried(&mut self) {
        self.retries = self.retries.saturating_add(1);
    }

    /// Attempts in flight.
    pub(crate) const fn requests(&self) -> u32 {
        self.requests
    }
}
