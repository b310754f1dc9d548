//! What became of calls that a lane of a service, or its baseline, was there for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use meltemi_balancer::Stands;
use meltemi_resources::LaneOf;

/// Calls by who answered them. It lives as long as its router, through all updates.
#[derive(Debug)]
pub struct LaneCounts {
    /// Whose they are.
    pub of: LaneOf,
    in_lane: AtomicU64,
    by_fallback: AtomicU64,
    by_baseline: AtomicU64,
    by_nobody: AtomicU64,
    leaks: AtomicU64,
    told: AtomicBool,
}

/// Numbers of [`LaneCounts`] at one time, each but the leaks a part of all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCount {
    /// Answered by an instance of the lane itself.
    pub in_lane: u64,
    /// Answered by one of another lane, which is asked before the baseline.
    pub by_fallback: u64,
    /// Answered by one of the baseline.
    pub by_baseline: u64,
    /// Without an answer.
    pub by_nobody: u64,
    /// Answered outside the lane though it had a healthy instance.
    pub leaks: u64,
}

impl LaneCounts {
    pub(crate) fn new(of: LaneOf) -> Self {
        Self {
            of,
            in_lane: AtomicU64::new(0),
            by_fallback: AtomicU64::new(0),
            by_baseline: AtomicU64::new(0),
            by_nobody: AtomicU64::new(0),
            leaks: AtomicU64::new(0),
            told: AtomicBool::new(false),
        }
    }

    pub(crate) fn answered(&self, stands: Stands, leaks: bool) {
        let number = match stands {
            _ if self.of.mark().is_none() => &self.by_baseline,
            Stands::Lane => &self.in_lane,
            Stands::Fallback => &self.by_fallback,
            Stands::Baseline => &self.by_baseline,
        };
        number.fetch_add(1, Ordering::Relaxed);
        self.leaks.fetch_add(u64::from(leaks), Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.by_nobody.fetch_add(1, Ordering::Relaxed);
    }

    /// True the first time that it is asked.
    pub(crate) fn is_news(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// The numbers now.
    pub fn count(&self) -> LaneCount {
        let now = |number: &AtomicU64| number.load(Ordering::Relaxed);
        LaneCount {
            in_lane: now(&self.in_lane),
            by_fallback: now(&self.by_fallback),
            by_baseline: now(&self.by_baseline),
            by_nobody: now(&self.by_nobody),
            leaks: now(&self.leaks),
        }
    }
}

impl LaneCount {
    /// Adds what was counted elsewhere.
    pub const fn add(&mut self, other: &Self) {
        self.in_lane += other.in_lane;
        self.by_fallback += other.by_fallback;
        self.by_baseline += other.by_baseline;
        self.by_nobody += other.by_nobody;
        self.leaks += other.leaks;
    }
}

/// Where the endpoint of an attempt stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) stands: Stands,
    /// The lane has a healthy instance, and this is none of it.
    pub(crate) leaks: bool,
    /// Whose instance it is, where it is not the lane's own.
    pub(crate) lane: Option<Arc<str>>,
}

/// A sentence for whoever runs the service: what happened, and what would be right.
pub(crate) fn leak(of: &LaneOf, answered_by: &str) -> String {
    let LaneOf { lane, service } = of;
    format!(
        "a request of lane '{lane}' for {service} was answered by '{answered_by}' though the lane has an \
         instance that is taken for healthy: where it cannot be reached, let outlierDetection of its \
         DestinationRule see that (consecutiveGatewayErrors: 1, maxEjectionPercent: 100)"
    )
}
