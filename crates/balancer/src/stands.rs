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

/// Requests of a lane by who answered them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCount {
    /// An instance of the lane itself.
    pub in_lane: u64,
    /// One of another lane, which is asked before the baseline.
    pub by_fallback: u64,
    /// One of the baseline.
    pub by_baseline: u64,
    /// Nobody.
    pub by_nobody: u64,
    /// Of those that were answered outside the lane: it had a healthy instance.
    pub leaks: u64,
}

impl LaneCount {
    /// One more was answered by an endpoint that stands so.
    pub const fn answered(&mut self, stands: Stands, leaks: bool) {
        match stands {
            Stands::Lane => self.in_lane += 1,
            Stands::Fallback => self.by_fallback += 1,
            Stands::Baseline => self.by_baseline += 1,
        }
        self.leaks += leaks as u64;
    }

    /// Adds what was counted elsewhere.
    pub const fn add(&mut self, other: &Self) {
        self.in_lane += other.in_lane;
        self.by_fallback += other.by_fallback;
        self.by_baseline += other.by_baseline;
        self.by_nobody += other.by_nobody;
        self.leaks += other.leaks;
    }

    /// All requests, by the word for who answered.
    #[must_use]
    pub const fn by_answer(&self) -> [(&'static str, u64); 4] {
        [
            ("lane", self.in_lane),
            ("fallback", self.by_fallback),
            ("baseline", self.by_baseline),
            ("none", self.by_nobody),
        ]
    }
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
