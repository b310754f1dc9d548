//! The balancer of one cluster in one worker.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::turn::Turn;
use crate::{Endpoint, HashTable, Policy, Rng};

/// Up to here, all endpoints are looked at; above, two that chance chooses. Looking at 8 counters that
/// lie side by side costs less than drawing two numbers, and never leaves an idle endpoint out.
const FEW: usize = 8;

/// Picks endpoints of one cluster for one worker, and counts what is in flight at each.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
    endpoints: Arc<[Endpoint]>,
    /// Requests in flight, by endpoint.
    active: Vec<u32>,
    turn: Turn,
    /// Whether the turn has its starting place: workers that all started with the first endpoint
    /// would send it their first requests together.
    started: bool,
    /// Of these endpoints; only for policies that ask for a hash.
    table: Option<Arc<HashTable>>,
}

impl Balancer {
    /// A balancer over `endpoints`, nothing in flight.
    #[must_use]
    pub fn new(policy: Policy, endpoints: &Arc<[Endpoint]>) -> Self {
        Self {
            policy,
            active: vec![0; endpoints.len()],
            turn: Turn::new(endpoints),
            endpoints: Arc::clone(endpoints),
            started: false,
            table: None,
        }
    }

    /// Gives it the table of its endpoints, for a policy that asks for a hash. Without one, such a policy
    /// picks by chance.
    pub fn set_table(&mut self, table: Option<&Arc<HashTable>>) {
        self.table = table
            .filter(|table| table.is_of(self.policy, &self.endpoints))
            .cloned();
    }

    /// Takes over a new version of the endpoints. What is known of an address (requests in flight, its
    /// place in the turn) stays; indices may move: see [`Balancer::index_of`]. The table was that of the
    /// old ones: [`Balancer::set_table`] comes next.
    pub fn update(&mut self, endpoints: &Arc<[Endpoint]>) {
        if Arc::ptr_eq(&self.endpoints, endpoints) {
            return;
        }
        let old: HashMap<SocketAddr, usize> = (0..)
            .zip(self.endpoints.iter())
            .map(|(index, endpoint)| (endpoint.address, index))
            .collect();
        let was = |endpoint: &Endpoint| old.get(&endpoint.address).copied();
        self.turn = self.turn.moved(&self.endpoints, endpoints, was);
        self.active = endpoints
            .iter()
            .map(|endpoint| was(endpoint).map_or(0, |index| self.active[index]))
            .collect();
        self.endpoints = Arc::clone(endpoints);
        self.table = None;
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

    /// The endpoint for the next request: healthy, with a weight above 0, and none of `tried`. None
    /// when there is no such endpoint. Does not count it: call [`Balancer::started`]. `hash` is the
    /// request's, for a policy that asks for it; without one, such a policy picks by chance, as Envoy's.
    ///
    /// Allocates nothing. Looks at no more than 8 endpoints, except after a failed attempt (`tried`),
    /// where it may look at all (of a table: at all its places, when all its endpoints were tried); with
    /// different weights it sorts one endpoint into a heap of all.
    pub fn pick(&mut self, rng: &mut Rng, tried: &[usize], hash: Option<u64>) -> Option<usize> {
        if self.turn.is_empty() {
            return None;
        }
        if let Some(table) = &self.table {
            let hash = hash.unwrap_or_else(|| rng.next_u64());
            // An endpoint with little weight may have no place in the table: it is asked last.
            let picked = table.endpoint(hash, tried);
            return picked.or_else(|| self.turn.next_but(tried));
        }
        if !self.started {
            self.started = true;
            self.turn
                .start_at(rng.below(self.turn.len() as u64) as usize);
        }
        let picked = match self.policy {
            Policy::RoundRobin => self.turn.next(),
            Policy::LeastRequest if self.turn.len() <= FEW => {
                return self.turn.next_of_least(&self.active, tried);
            }
            Policy::LeastRequest => self.less_of_two(rng),
            Policy::Random | Policy::RingHash { .. } | Policy::Maglev { .. } => self.turn.draw(rng),
        };
        if tried.contains(&picked) {
            self.turn.next_but(tried)
        } else {
            Some(picked)
        }
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

    /// Of two endpoints that chance chooses by weight, the one with fewer requests for its weight.
    fn less_of_two(&self, rng: &mut Rng) -> usize {
        let first = self.turn.draw(rng);
        let mut second = self.turn.draw(rng);
        if second == first {
            // Once more: with two choices that are often one, load spreads little better than by chance.
            second = self.turn.draw(rng);
        }
        let load = |index: usize, other: usize| {
            u64::from(self.active[index]) * u64::from(self.endpoints[other].weight)
        };
        if load(second, first) < load(first, second) {
            second
        } else {
            first
        }
    }
}
