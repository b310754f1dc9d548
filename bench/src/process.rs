//! What a process used, read from `/proc`: CPU time of all its threads, and memory.

use std::fs;
use std::time::Duration;

/// Usage of one process so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time of all threads that are alive, to the nanosecond (`schedstat`).
    pub cpu: Duration,
    /// Ticks in user mode, and in the kernel: only their ratio means something here.
    pub ticks: (u64, u64),
    /// Resident memory in KiB.
    pub resident_kib: u64,
}

impl Usage {
    /// Reads the usage of `pid`; all zero when there is no such process.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self {
            cpu: cpu(pid),
            ticks: ticks(pid),
            resident_kib: resident_kib(pid),
        }
    }

    /// The share of user mode in what was used since `before`.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of a few thousand ticks"
    )]
    pub fn user_share(&self, before: &Self) -> f64 {
        let user = self.ticks.0.saturating_sub(before.ticks.0);
        let system = self.ticks.1.saturating_sub(before.ticks.1);
        user as f64 / (user + system).max(1) as f64
    }
}

fn cpu(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    let nanoseconds = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

fn ticks(pid: u32) -> (u64, u64) {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name stands in parentheses and may hold spaces and parentheses itself.
    let fields = line.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut fields = fields
        .split_ascii_whitespace()
        .skip(11)
        .map(|field| field.parse().ok());
    let mut next = || fields.next().flatten().unwrap_or(0);
    (next(), next())
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_burns_is_seen() {
        let own = std::process::id();
        let before = Usage::of(own);
        let mut x = 1u64;
        while Usage::of(own).cpu < before.cpu + Duration::from_millis(20) {
            for _ in 0..100_000 {
                x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005));
            }
        }
        assert!(Usage::of(own).resident_kib > 100);
    }

    #[test]
    fn a_process_that_is_not_there_used_nothing() {
        let usage = Usage::of(u32::MAX);
        assert_eq!((usage.cpu, usage.resident_kib), (Duration::ZERO, 0));
    }
}
