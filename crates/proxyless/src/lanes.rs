//! What became of calls that a lane of a service, or its baseline, was there for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meltemi_balancer::{LaneCount, Stands};
use meltemi_resources::LaneOf;

/// Calls by who answered them. It lives as long as its router, through all updates.
#[derive(Debug)]
pub(crate) struct LaneCounts {
    /// Whose they are.
    pub(crate) of: LaneOf,
    count: Mutex<LaneCount>,
    told: AtomicBool,
}

impl LaneCounts {
    pub(crate) fn new(of: LaneOf) -> Self {
        Self {
            of,
            count: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    pub(crate) fn answered(&self, stands: Stands, leaks: bool) {
        self.lock().answered(self.of.stands(stands), leaks);
    }

    pub(crate) fn failed(&self) {
        self.lock().by_nobody += 1;
    }

    /// True the first time that it is asked.
    pub(crate) fn is_news(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// The numbers now.
    pub(crate) fn count(&self) -> LaneCount {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, LaneCount> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
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
