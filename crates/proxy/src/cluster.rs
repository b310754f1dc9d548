//! Clusters and endpoints of one worker: who can be reached, and over which connections.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_balancer::{Balancer, LaneCount, Policy, Rng};
use meltemi_resources::{Cluster, Endpoint, LaneOf};

use crate::connection::PoolKey;
use crate::slots::{Id, Slots};
use crate::stats::counters::ClusterCounters;

/// A cluster by its number; it stays when the cluster changes.
pub(crate) struct ClusterEntry {
    pub(crate) name: Arc<str>,
    /// None: nothing defines it (any more).
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) balancer: Balancer,
    /// By the balancer's index.
    pub(crate) endpoints: Vec<Id>,
    pub(crate) counters: ClusterCounters,
    /// Where it is the cluster of a lane of a service, or of its baseline.
    pub(crate) lane: Option<Box<Lane>>,
    /// Connections now.
    pub(crate) connections: u32,
    /// Requests that wait for a connection, whichever it is.
    pub(crate) pending: u32,
    /// Requests that were sent and are tried again.
    pub(crate) retries: u32,
    /// Requests that wait for any connection to be free.
    pub(crate) waiting: VecDeque<Id>,
}

/// What became of the requests that a lane of a service was there for.
pub(crate) struct Lane {
    pub(crate) of: LaneOf,
    pub(crate) count: LaneCount,
    /// A leak was logged already.
    pub(crate) told: bool,
}

impl Lane {
    const fn new(of: LaneOf) -> Self {
        Self {
            of,
            count: LaneCount {
                in_lane: 0,
                by_fallback: 0,
                by_baseline: 0,
                by_nobody: 0,
                leaks: 0,
            },
            told: false,
        }
    }
}

/// An endpoint of a cluster, by address; it stays as long as something uses it.
pub(crate) struct EndpointEntry {
    pub(crate) address: SocketAddr,
    /// Where the balancer has it now.
    pub(crate) index: Option<usize>,
    pub(crate) peer: u32,
    pub(crate) pools: Vec<Pool>,
    pub(crate) connections: u32,
    pub(crate) active: u64,
    pub(crate) total: u64,
    pub(crate) errors: u64,
}

/// Connections of one kind to one endpoint that take a request; the last one first, so that few
/// stay warm and the others are retired.
pub(crate) struct Pool {
    pub(crate) key: PoolKey,
    pub(crate) ready: Vec<Id>,
}

impl ClusterEntry {
    pub(crate) fn new(name: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(name),
            cluster: None,
            balancer: Balancer::new(Policy::default(), &no_endpoints()),
            endpoints: Vec::new(),
            counters: ClusterCounters::default(),
            lane: LaneOf::cluster(name).map(Lane::new).map(Box::new),
            connections: 0,
            pending: 0,
            retries: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Takes over a new version of the cluster; returns endpoints that are no longer part of it.
    pub(crate) fn update(
        &mut self,
        cluster: Option<&Arc<Cluster>>,
        all: &mut Slots<EndpointEntry>,
        peer: &mut dyn FnMut(&Endpoint) -> u32,
    ) -> Vec<Id> {
        let endpoints = cluster.map_or_else(no_endpoints, |cluster| Arc::clone(&cluster.endpoints));
        let policy = cluster.map_or(self.balancer.policy(), |cluster| cluster.policy);
        if policy == self.balancer.policy() {
            self.balancer.update(&endpoints);
        } else {
            self.balancer = Balancer::new(policy, &endpoints);
        }
        if let Some(cluster) = cluster {
            cluster.set_up(&mut self.balancer);
        }
        self.cluster = cluster.cloned();
        let before = std::mem::take(&mut self.endpoints);
        let known: std::collections::HashMap<SocketAddr, Id> = before
            .iter()
            .filter_map(|id| {
                let entry = all.get_mut(*id)?;
                entry.index = None;
                Some((entry.address, *id))
            })
            .collect();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let id = known.get(&endpoint.address).copied().unwrap_or_else(|| {
                all.insert(EndpointEntry {
                    address: endpoint.address,
                    index: None,
                    peer: 0,
                    pools: Vec::new(),
                    connections: 0,
                    active: 0,
                    total: 0,
                    errors: 0,
                })
            });
            if let Some(entry) = all.get_mut(id) {
                entry.index = Some(index);
                entry.peer = peer(endpoint);
            }
            self.endpoints.push(id);
        }
        let gone = |id: &Id| all.get(*id).is_some_and(|entry| entry.index.is_none());
        before.into_iter().filter(gone).collect()
    }

    /// Whether its policy asks for the hash of a request.
    pub(crate) fn goes_by_hash(&self) -> bool {
        self.cluster
            .as_ref()
            .is_some_and(|cluster| cluster.table.is_some())
    }

    /// An endpoint for the next request, none of `tried`; `hash` is the request's.
    #[inline]
    pub(crate) fn pick(
        &mut self,
        rng: &mut Rng,
        tried: &[usize],
        hash: Option<u64>,
    ) -> Option<(usize, Id)> {
        let index = self.balancer.pick(rng, tried, hash)?;
        Some((index, self.endpoints[index]))
    }
}

impl EndpointEntry {
    /// The pool for `key`.
    #[inline]
    pub(crate) fn pool(&mut self, key: PoolKey) -> &mut Pool {
        let at = match self.pools.iter().position(|pool| pool.key == key) {
            Some(at) => at,
            None => {
                self.pools.push(Pool {
                    key,
                    ready: Vec::new(),
                });
                self.pools.len() - 1
            }
        };
        &mut self.pools[at]
    }
}

fn no_endpoints() -> Arc<[Endpoint]> {
    Arc::new([])
}
