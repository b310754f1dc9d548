//! Time as a worker sees it: read once a turn, handed to everything that asks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the engine was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_micros() as u64))
    }

    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

pub(crate) struct Clock {
    start: Instant,
    /// Wall time at the start; a step of the machine's clock is caught up with now and then.
    offset_us: u64,
    checked: Moment,
    now: Moment,
}

/// How long a step of the wall clock may go unseen.
const CHECK: Duration = Duration::from_secs(1);

impl Clock {
    pub(crate) fn new(start: Instant) -> Self {
        let mut clock = Self {
            start,
            offset_us: 0,
            checked: Moment::default(),
            now: Moment::default(),
        };
        clock.tick();
        clock.check();
        clock
    }

    /// Reads the clock: once a turn, after the sleep.
    pub(crate) fn tick(&mut self) {
        self.now = Moment(self.start.elapsed().as_micros() as u64);
    }

    pub(crate) const fn now(&self) -> Moment {
        self.now
    }

    /// Microseconds since 1970 at `moment`.
    pub(crate) fn wall_us(&mut self, moment: Moment) -> u64 {
        if self.now.since(self.checked) > CHECK {
            self.check();
        }
        self.offset_us + moment.0
    }

    fn check(&mut self) {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let elapsed = self.start.elapsed().as_micros() as u64;
        self.offset_us = (wall.as_micros() as u64).saturating_sub(elapsed);
        self.checked = self.now;
    }
}
