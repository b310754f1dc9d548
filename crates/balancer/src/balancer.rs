//! The balancer of one cluster in one worker.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::groups::{Groups, Kind, Members};
use crate::turn::Turn;
use crate::{Detector, Endpoint, HashTable, OutlierDetection, Policy, Rng, Seen, Spread};

/// Up to here, all endpoints are looked at; above, two that chance chooses. Looking at 8 counters that
/// lie side by side costs less than drawing two numbers, and never leaves an idle endpoint out.
const FEW: usize = 8;

/// Picks endpoints of one cluster for one worker, and counts what is in flight at each.
#[derive(Clone, Debug)]
pub struct Balancer {
    policy: Policy,
    spread: Spread,
    endpoints: Arc<[Endpoint]>,
    /// Requests in flight, by endpoint.
    active: Vec<u32>,
    groups: Groups,
    /// Of these endpoints; only for policies that ask for a hash.
    table: Option<Arc<HashTable>>,
    /// By endpoint: whether it is left out; empty while none is.
    ejected: Vec<bool>,
    /// Who finds the outliers, where the cluster asks for it.
    detector: Option<Box<Detector>>,
}

impl Balancer {
    /// A balancer over `endpoints`, nothing in flight, with Envoy's defaults for the rest.
    #[must_use]
    pub fn new(policy: Policy, endpoints: &Arc<[Endpoint]>) -> Self {
        let mut balancer = Self {
            policy,
            spread: Spread::default(),
            active: vec![0; endpoints.len()],
            endpoints: Arc::clone(endpoints),
            groups: Groups::nobody(),
            table: None,
            ejected: Vec::new(),
            detector: None,
        };
        balancer.regroup(|_| None);
        balancer
    }

    /// Gives it the table of its endpoints, for a policy that asks for a hash. Without one, such a policy
    /// picks by chance.
    pub fn set_table(&mut self, table: Option<&Arc<HashTable>>) {
        self.table = table
            .filter(|table| table.is_of(self.policy, &self.spread, &self.endpoints))
            .cloned();
    }

    /// Spreads requests over priorities and localities in this way from now on. The table was made for
    /// another one: [`Balancer::set_table`] comes next.
    pub fn set_spread(&mut self, spread: Spread) {
        if spread != self.spread {
            self.spread = spread;
            self.regroup(Some);
        }
    }

    /// Finds outliers by these settings from now on; None: everybody comes back, and nothing is watched.
    pub fn set_outlier_detection(&mut self, settings: Option<&OutlierDetection>) {
        match (settings, &mut self.detector) {
            (Some(settings), Some(detector)) => detector.set(*settings),
            (Some(settings), none) => {
                let detector = Detector::new(*settings, self.endpoints.len());
                *none = Some(Box::new(detector));
            }
            (None, detector) => {
                if detector
                    .take()
                    .is_some_and(|detector| detector.ejected() > 0)
                {
                    self.ejected.clear();
                    self.regroup(Some);
                }
            }
        }
    }

    /// Takes over a new version of the endpoints. What is known of an address (requests in flight, its
    /// place in the turn, its failures) stays; indices may move: see [`Balancer::index_of`]. The table was
    /// that of the old ones: [`Balancer::set_table`] comes next.
    pub fn update(&mut self, endpoints: &Arc<[Endpoint]>) {
        if Arc::ptr_eq(&self.endpoints, endpoints) {
            return;
        }
        let old: HashMap<SocketAddr, usize> = (0..)
            .zip(self.endpoints.iter())
            .map(|(index, endpoint)| (endpoint.address, index))
            .collect();
        let was: Vec<Option<usize>> = endpoints
            .iter()
            .map(|endpoint| old.get(&endpoint.address).copied())
            .collect();
        self.active = was
            .iter()
            .map(|index| index.map_or(0, |index| self.active[index]))
            .collect();
        if let Some(detector) = &mut self.detector {
            detector.update(was.iter().copied());
        }
        if !self.ejected.is_empty() {
            let ejected = |index: &Option<usize>| index.is_some_and(|index| self.ejected[index]);
            self.ejected = was.iter().map(ejected).collect();
        }
        self.endpoints = Arc::clone(endpoints);
        self.table = None;
        self.regroup(|index| was[index]);
    }

    /// Leaves the endpoint `index` out, or takes it in again. [`Balancer::saw`] and [`Balancer::check`] do
    /// so themselves. Makes the groups anew: not for every request.
    pub fn set_ejected(&mut self, index: usize, ejected: bool) {
        if index >= self.endpoints.len() || self.is_ejected(index) == ejected {
            return;
        }
        self.ejected.resize(self.endpoints.len(), false);
        self.ejected[index] = ejected;
        if !self.ejected.contains(&true) {
            self.ejected.clear();
        }
        self.regroup(Some);
    }

    /// Whether the endpoint `index` is left out.
    #[must_use]
    pub fn is_ejected(&self, index: usize) -> bool {
        self.ejected.get(index).copied().unwrap_or_default()
    }

    /// Notes what was seen of the endpoint `index` at `now`, any time that only grows. True: it was
    /// ejected for it.
    #[inline]
    pub fn saw(&mut self, index: usize, seen: Seen, now: Duration, rng: &mut Rng) -> bool {
        let Some(detector) = &mut self.detector else {
            return false;
        };
        let ejected = detector.saw(index, seen, now, rng);
        if ejected {
            self.set_ejected(index, true);
        }
        ejected
    }

    /// Ends the interval of the outlier detection, when it is over: endpoints come back or are ejected.
    /// True: some were.
    pub fn check(&mut self, now: Duration, rng: &mut Rng) -> bool {
        let mut changes = Vec::new();
        if let Some(detector) = &mut self.detector {
            detector.check(now, rng, |index, ejected| changes.push((index, ejected)));
        }
        for (index, ejected) in &changes {
            self.set_ejected(*index, *ejected);
        }
        !changes.is_empty()
    }

    /// When [`Balancer::check`] has something to do.
    #[must_use]
    pub fn next_check(&self) -> Option<Duration> {
        self.detector.as_ref()?.next_check()
    }

    /// Who finds the outliers, where the cluster asks for it.
    #[must_use]
    pub fn detector(&self) -> Option<&Detector> {
        self.detector.as_deref()
    }

    /// Who gets requests, for people: priority, endpoints by index, and the share of all requests that
    /// they get together (0..1; 0: only what others could not serve).
    pub fn shares(&self) -> impl Iterator<Item = (u32, &[usize], f64)> {
        self.groups.shares()
    }

    fn regroup(&mut self, was: impl Fn(usize) -> Option<usize> + Copy) {
        let members = Members {
            spread: self.spread,
            endpoints: &self.endpoints,
            ejected: &self.ejected,
            by_locality: self.spread.by_locality && !self.policy.is_by_hash(),
        };
        self.groups = Groups::new(&members, &self.groups, was);
    }

    /// How an endpoint is chosen.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// The endpoints, by the index that [`Balancer::pick`] returns.
    #[must_use]
    pub const fn endpoints(&self) -> &Arc<[Endpoint]> {
        &self.endpoints
    }

    /// Where `address` is among the endpoints now; None when an update took it away. Looks at all of
    /// them: for updates, not for requests.
    #[must_use]
    pub fn index_of(&self, address: &SocketAddr) -> Option<usize> {
        self.endpoints
            .iter()
            .position(|endpoint| endpoint.address == *address)
    }

    /// The endpoint for the next request: of the priority and locality whose share is due, with a weight
    /// above 0, and none of `tried`; where all of these were tried, the next one of any other. None when
    /// there is no such endpoint. Does not count it: call [`Balancer::started`]. `hash` is the
    /// request's, for a policy that asks for it; without one, such a policy picks by chance, as Envoy's.
    ///
    /// Allocates nothing. Looks at no more than 8 endpoints, except after a failed attempt (`tried`),
    /// where it may look at all (of a table: at all its places, when all its endpoints were tried); with
    /// different weights it sorts one endpoint into a heap of all.
    pub fn pick(&mut self, rng: &mut Rng, tried: &[usize], hash: Option<u64>) -> Option<usize> {
        if self.table.is_some() {
            let hash = hash.unwrap_or_else(|| rng.next_u64());
            return self.by_hash(rng, tried, hash);
        }
        let turn = &mut self.groups.choose(rng, None).turn;
        if turn.is_empty() {
            return None;
        }
        turn.start(rng);
        let picked = match self.policy {
            Policy::RoundRobin => turn.next(),
            Policy::LeastRequest if turn.len() <= FEW => {
                let picked = turn.next_of_least(&self.active, tried);
                return picked.or_else(|| self.groups.other(tried));
            }
            Policy::LeastRequest => less_of_two(turn, &self.active, &self.endpoints, rng),
            Policy::Random | Policy::RingHash { .. } | Policy::Maglev { .. } => turn.draw(rng),
        };
        if tried.contains(&picked) {
            let other = turn.next_but(tried);
            other.or_else(|| self.groups.other(tried))
        } else {
            Some(picked)
        }
    }

    fn by_hash(&mut self, rng: &mut Rng, tried: &[usize], hash: u64) -> Option<usize> {
        let group = self.groups.choose(rng, Some(hash));
        let (priority, kind) = (group.priority, group.kind);
        let table = self.table.as_deref()?;
        let picked = if tried.is_empty() && self.ejected.is_empty() {
            table.endpoint(priority, kind, hash, |_| false)
        } else {
            let passed_over = |index: usize| {
                let ejected = self.ejected.get(index).copied().unwrap_or_default();
                tried.contains(&index) || (ejected && kind != Kind::All)
            };
            table.endpoint(priority, kind, hash, passed_over)
        };
        // An endpoint with little weight may have no place in the table: it is asked last.
        picked.or_else(|| self.groups.other(tried))
    }

    /// Requests in flight at the endpoint `index`; 0 where there is none.
    #[must_use]
    pub fn active(&self, index: usize) -> u32 {
        self.active.get(index).copied().unwrap_or_default()
    }

    /// A request was sent to the endpoint `index`.
    pub fn started(&mut self, index: usize) {
        if let Some(active) = self.active.get_mut(index) {
            *active = active.saturating_add(1);
        }
    }

    /// A request at the endpoint `index` is over, however it ended. One too many is ignored: an
    /// endpoint that left and came back starts at 0 while old requests still end.
    pub fn finished(&mut self, index: usize) {
        if let Some(active) = self.active.get_mut(index) {
            *active = active.saturating_sub(1);
        }
    }
}

/// Of two endpoints that chance chooses by weight, the one with fewer requests for its weight.
fn less_of_two(turn: &Turn, active: &[u32], endpoints: &[Endpoint], rng: &mut Rng) -> usize {
    let first = turn.draw(rng);
    let mut second = turn.draw(rng);
    if second == first {
        // Once more: with two choices that are often one, load spreads little better than by chance.
        second = turn.draw(rng);
    }
    let load =
        |index: usize, other: usize| u64::from(active[index]) * u64::from(endpoints[other].weight);
    if load(second, first) < load(first, second) {
        second
    } else {
        first
    }
}
