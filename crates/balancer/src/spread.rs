//! How requests are spread over priorities: Envoy's arithmetic, in whole percent as there.
//!
//! A priority is as available as its healthy share times the overprovisioning factor (70 % healthy at
//! 140: 98 %), at most 100 %. The first takes what it is available for, the next ones what is left;
//! healthy endpoints of all priorities come before degraded ones. Where all together are available
//! for less than 100 %, shares grow in proportion, and a priority with too few healthy endpoints
//! panics: it asks all of its endpoints.

/// How a cluster wants its requests spread over priorities and localities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spread {
    /// How much more than its share a healthy endpoint can take, in percent
    /// (`policy.overprovisioning_factor`).
    pub overprovisioning: u32,
    /// With fewer healthy endpoints than so many percent, a priority that does not suffice asks all of
    /// its endpoints (`healthy_panic_threshold`); 0: never.
    pub panic_threshold: u32,
    /// Localities get shares by their weights (`locality_weighted_lb_config`); else they do not matter.
    pub by_locality: bool,
    /// Availability is that of weights, not of endpoints (`policy.weighted_priority_health`).
    pub weighted_health: bool,
}

impl Spread {
    /// What Envoy does where nothing is said.
    pub const ENVOY: Self = Self {
        overprovisioning: 140,
        panic_threshold: 50,
        by_locality: false,
        weighted_health: false,
    };
}

impl Default for Spread {
    fn default() -> Self {
        Self::ENVOY
    }
}

/// The endpoints of one priority, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) hosts: Count,
    pub(crate) healthy: Count,
    pub(crate) degraded: Count,
}

/// Endpoints, and the sum of their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) number: u64,
    pub(crate) weight: u64,
}

impl Count {
    pub(crate) fn add(&mut self, weight: u32) {
        self.number += 1;
        self.weight += u64::from(weight);
    }
}

/// What one priority gets, in percent; all together get 100 where anyone gets anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// By its healthy endpoints; by all of them in panic.
    pub(crate) healthy: u32,
    pub(crate) degraded: u32,
    pub(crate) panic: bool,
}

/// The shares of `levels`, the first priority first.
pub(crate) fn loads(spread: &Spread, levels: &[Level]) -> Vec<Load> {
    let available = |level: &Level, some: Count| {
        let (some, all) = if spread.weighted_health {
            (some.weight, level.hosts.weight)
        } else {
            (some.number, level.hosts.number)
        };
        let percent = u128::from(spread.overprovisioning) * u128::from(some);
        percent.checked_div(u128::from(all)).unwrap_or(0).min(100) as u32
    };
    let healthy: Vec<u32> = levels
        .iter()
        .map(|level| available(level, level.healthy))
        .collect();
    let degraded: Vec<u32> = levels
        .iter()
        .map(|level| available(level, level.degraded))
        .collect();
    let total: u64 = healthy
        .iter()
        .chain(&degraded)
        .map(|one| u64::from(*one))
        .sum();
    let total = total.min(100) as u32;
    let part = |available: u32| (available * 100).checked_div(total).unwrap_or_default();
    let mut loads = vec![Load::default(); levels.len()];
    if total > 0 {
        let mut left = 100;
        for (load, available) in loads.iter_mut().zip(&healthy) {
            load.healthy = left.min(part(*available));
            left -= load.healthy;
        }
        for (load, available) in loads.iter_mut().zip(&degraded) {
            load.degraded = left.min(part(*available));
            left -= load.degraded;
        }
        // What rounding left over: for the first that can take it.
        if let Some(first) = healthy.iter().position(|available| *available > 0) {
            loads[first].healthy += left;
        } else if let Some(first) = degraded.iter().position(|available| *available > 0) {
            loads[first].degraded += left;
        }
    }
    if total < 100 && spread.panic_threshold > 0 {
        panic(spread, levels, &mut loads);
    }
    loads
}

/// Marks the priorities that panic; when all do, each gets its share by the number of its endpoints.
fn panic(spread: &Spread, levels: &[Level], loads: &mut [Load]) {
    for (load, level) in loads.iter_mut().zip(levels) {
        let well = (level.healthy.number + level.degraded.number) * 100;
        load.panic = well < u64::from(spread.panic_threshold) * level.hosts.number
            || level.hosts.number == 0;
    }
    if !loads.iter().all(|load| load.panic) {
        return;
    }
    let hosts: u64 = levels.iter().map(|level| level.hosts.number).sum();
    let mut left = 100;
    for (load, level) in loads.iter_mut().zip(levels) {
        load.degraded = 0;
        load.healthy = (level.hosts.number * 100).checked_div(hosts).unwrap_or(0) as u32;
        left -= load.healthy;
    }
    if let Some(first) = levels.iter().position(|level| level.hosts.number > 0) {
        loads[first].healthy += left;
    }
}
