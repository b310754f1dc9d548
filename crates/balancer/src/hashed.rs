//! From the hash of a request to an endpoint.

use std::sync::Arc;

use crate::maglev::Maglev;
use crate::ring::Ring;
use crate::{Endpoint, Policy};

/// Which endpoint each hash of a request belongs to. Made once for a version of a cluster's endpoints,
/// and shared by all workers; asking it allocates nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct HashTable {
    policy: Policy,
    endpoints: Arc<[Endpoint]>,
    places: Places,
}

#[derive(Debug, PartialEq, Eq)]
enum Places {
    Ring(Ring),
    Maglev(Maglev),
}

impl HashTable {
    /// The table of `policy` over the healthy ones of `endpoints`; None where the policy asks for no hash,
    /// or nobody can be picked. Takes time in proportion to its size (Envoy's smallest ring: 1,024
    /// places): not for a worker.
    #[must_use]
    pub fn new(policy: Policy, endpoints: &Arc<[Endpoint]>) -> Option<Self> {
        let usable: Vec<u32> = (0..)
            .zip(endpoints.iter())
            .filter(|(_, endpoint)| endpoint.healthy && endpoint.weight > 0)
            .map(|(index, _)| index)
            .collect();
        if usable.is_empty() {
            return None;
        }
        let places = match policy {
            Policy::RingHash { min, max } => {
                Places::Ring(Ring::new(endpoints, &usable, min.max(1), max.max(1)))
            }
            Policy::Maglev { table_size } => {
                Places::Maglev(Maglev::new(endpoints, &usable, table_size.max(1)))
            }
            Policy::RoundRobin | Policy::LeastRequest | Policy::Random => return None,
        };
        Some(Self {
            policy,
            endpoints: Arc::clone(endpoints),
            places,
        })
    }

    /// Whether it is what [`HashTable::new`] would make: the same policy over the same endpoints.
    #[must_use]
    pub fn is_of(&self, policy: Policy, endpoints: &Arc<[Endpoint]>) -> bool {
        let same = Arc::ptr_eq(&self.endpoints, endpoints) || self.endpoints == *endpoints;
        same && self.policy == policy
    }

    /// The endpoint (its index) of `hash`; with `tried`, the next one after it that is none of them.
    pub(crate) fn endpoint(&self, hash: u64, tried: &[usize]) -> Option<usize> {
        let first = |owners: &mut dyn Iterator<Item = u32>| {
            owners
                .map(|owner| owner as usize)
                .find(|owner| !tried.contains(owner))
        };
        match &self.places {
            Places::Ring(ring) => first(&mut ring.from(hash)),
            Places::Maglev(maglev) => first(&mut maglev.from(hash)),
        }
    }
}
