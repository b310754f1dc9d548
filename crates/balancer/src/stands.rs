//! Where an endpoint stands for a request that wants a lane: in it, or outside, and rightly so or not.

use crate::{BASELINE, Balancer, Endpoint, Health};

/// Whose instance an endpoint of a lane's cluster is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stands {
    /// The lane's own.
    #[default]
    Lane,
    /// Another lane's, which is asked before the baseline.
    Fallback,
    /// In no lane.
    Baseline,
}

impl Endpoint {
    /// Whose instance it is, seen from the lane whose cluster it is in.
    #[must_use]
    pub fn stands(&self) -> Stands {
        match self.lane.as_deref() {
            None => Stands::Lane,
            Some(BASELINE) => Stands::Baseline,
            Some(_) => Stands::Fallback,
        }
    }
}

impl Balancer {
    /// Whether an instance of the lane itself is healthy, has a weight and is not ejected.
    #[must_use]
    pub fn has_own(&self) -> bool {
        let endpoints = self.endpoints().iter().enumerate();
        let mut own = endpoints.filter(|(_, one)| one.lane.is_none() && one.weight > 0);
        own.any(|(index, one)| one.health == Health::Healthy && !self.is_ejected(index))
    }

    /// Where the endpoint `index` stands, and whether a request of the lane that goes there leaks: the
    /// lane has a healthy instance of its own. Looks at the others only for one outside the lane.
    #[must_use]
    pub fn stands(&self, index: usize) -> (Stands, bool) {
        let endpoint = self.endpoints().get(index);
        let stands = endpoint.map_or(Stands::Lane, Endpoint::stands);
        (stands, stands != Stands::Lane && self.has_own())
    }
}
