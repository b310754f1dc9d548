//! From the hash of a request to an endpoint.

use std::sync::Arc;

use crate::groups::Kind;
use crate::maglev::Maglev;
use crate::ring::Ring;
use crate::{Endpoint, Health, Policy, Spread};

/// Which endpoint each hash of a request belongs to, by priority. Made once for a version of a cluster's
/// endpoints, and shared by all workers; asking it allocates nothing. Who is ejected is passed over, so
/// that nothing is made anew for it.
#[derive(Debug, PartialEq, Eq)]
pub struct HashTable {
    policy: Policy,
    by_locality: bool,
    /// Whether there is a panic that it would be asked in.
    panics: bool,
    endpoints: Arc<[Endpoint]>,
    /// By priority and kind; [`Kind::All`] only where it is not [`Kind::Healthy`].
    tables: Vec<(u32, Kind, Places)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Places {
    Ring(Ring),
    Maglev(Maglev),
}

/// An endpoint by its index, and its part of a table.
pub(crate) type Part = (u32, f64);

impl HashTable {
    /// The table of `policy` over `endpoints`; None where the policy asks for no hash, or nobody can be
    /// picked. Takes time in proportion to its size (Envoy's smallest ring: 1,024 places): not for a
    /// worker.
    #[must_use]
    pub fn new(policy: Policy, spread: &Spread, endpoints: &Arc<[Endpoint]>) -> Option<Self> {
        if !policy.is_by_hash() {
            return None;
        }
        let mut priorities: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let mut tables = Vec::new();
        for priority in priorities {
            let members = |is_in: &dyn Fn(Health) -> bool| -> Vec<u32> {
                let of = |endpoint: &Endpoint| {
                    endpoint.priority == priority && endpoint.weight > 0 && is_in(endpoint.health)
                };
                let indices = (0..).zip(endpoints.iter());
                indices
                    .filter(|(_, one)| of(one))
                    .map(|(index, _)| index)
                    .collect()
            };
            let healthy = members(&|health| health == Health::Healthy);
            let degraded = members(&|health| health == Health::Degraded);
            let mut all = members(&|health| health != Health::Draining);
            if all == healthy || spread.panic_threshold == 0 {
                all.clear();
            }
            for (kind, members) in [
                (Kind::Healthy, healthy),
                (Kind::Degraded, degraded),
                (Kind::All, all),
            ] {
                // In panic, localities do not matter, as in Envoy.
                let by_locality = spread.by_locality && kind != Kind::All;
                let parts = parts(endpoints, &members, by_locality);
                if let Some(places) = Places::new(policy, endpoints, &parts) {
                    tables.push((priority, kind, places));
                }
            }
        }
        (!tables.is_empty()).then(|| Self {
            policy,
            by_locality: spread.by_locality,
            panics: spread.panic_threshold > 0,
            endpoints: Arc::clone(endpoints),
            tables,
        })
    }

    /// Whether it is what [`HashTable::new`] would make: the same policy over the same endpoints.
    #[must_use]
    pub fn is_of(&self, policy: Policy, spread: &Spread, endpoints: &Arc<[Endpoint]>) -> bool {
        let same = Arc::ptr_eq(&self.endpoints, endpoints) || self.endpoints == *endpoints;
        same && self.policy == policy
            && self.by_locality == spread.by_locality
            && self.panics == (spread.panic_threshold > 0)
    }

    /// The endpoint (its index) of `hash` in one group, or the next one after it that is not passed over.
    #[inline]
    pub(crate) fn endpoint(
        &self,
        priority: u32,
        kind: Kind,
        hash: u64,
        passed_over: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let first = |owners: &mut dyn Iterator<Item = u32>| {
            owners
                .map(|owner| owner as usize)
                .find(|owner| !passed_over(*owner))
        };
        match self.places(priority, kind)? {
            Places::Ring(ring) => first(&mut ring.from(hash)),
            Places::Maglev(maglev) => first(&mut maglev.from(hash)),
        }
    }

    fn places(&self, priority: u32, kind: Kind) -> Option<&Places> {
        let of = |wanted: Kind| {
            let mut tables = self.tables.iter();
            tables.find(|(of, kind, _)| *of == priority && *kind == wanted)
        };
        let table = match kind {
            Kind::All => of(kind).or_else(|| of(Kind::Healthy)),
            _ => of(kind),
        };
        table.map(|(_, _, places)| places)
    }
}

impl Places {
    fn new(policy: Policy, endpoints: &[Endpoint], parts: &[Part]) -> Option<Self> {
        if parts.is_empty() {
            return None;
        }
        match policy {
            Policy::RingHash { min, max } => {
                let ring = Ring::new(endpoints, parts, min.max(1), max.max(1));
                Some(Self::Ring(ring))
            }
            Policy::Maglev { table_size } => {
                let maglev = Maglev::new(endpoints, parts, table_size.max(1));
                Some(Self::Maglev(maglev))
            }
            Policy::RoundRobin | Policy::LeastRequest | Policy::Random => None,
        }
    }
}

/// The part of each of `members`; together 1. By locality: that of its locality, which counts whether
/// or not it has a member here, times its own in it.
fn parts(endpoints: &[Endpoint], members: &[u32], by_locality: bool) -> Vec<Part> {
    let weight = |index: u32| f64::from(endpoints[index as usize].weight);
    let localities: Vec<f64> = if by_locality {
        members
            .iter()
            .map(|index| locality_part(endpoints, members, *index))
            .collect()
    } else {
        Vec::new()
    };
    if localities.iter().all(|part| *part == 0.0) {
        let total: f64 = members.iter().map(|index| weight(*index)).sum();
        return members
            .iter()
            .map(|index| (*index, weight(*index) / total))
            .collect();
    }
    let parts = members.iter().copied().zip(localities);
    let parts: Vec<Part> = parts.filter(|(_, part)| *part > 0.0).collect();
    let total: f64 = parts.iter().map(|(_, part)| part).sum();
    parts
        .into_iter()
        .map(|(index, part)| (index, part / total))
        .collect()
}

/// The weight of a member's locality, times its own share of its locality's members.
fn locality_part(endpoints: &[Endpoint], members: &[u32], index: u32) -> f64 {
    let one = &endpoints[index as usize];
    let Some(locality) = &one.locality else {
        return 0.0;
    };
    let same = members.iter().map(|index| &endpoints[*index as usize]);
    let same = same.filter(|other| other.locality.as_ref() == Some(locality));
    let total: f64 = same.map(|other| f64::from(other.weight)).sum();
    f64::from(locality.weight) * f64::from(one.weight) / total
}
