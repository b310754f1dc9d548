//! Outlier detection: endpoints that fail where others do not are left out for a while.
//!
//! The rules are Envoy's. Failures in a row eject at once; rates are looked at once an interval, which is
//! also when an endpoint comes back. Each time that it is ejected it stays away for longer, and each
//! interval without trouble takes one of these times back.

use std::time::Duration;

use crate::{OutlierDetection, Rng};

/// What was seen of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A connection was made, or one was there.
    Connected,
    /// No connection, or it broke before the reply.
    ConnectFailed,
    /// The reply took too long.
    Timeout,
    /// A good reply.
    Success,
    /// A reply that says that the endpoint failed: any 5xx but those of [`Seen::GatewayFailed`].
    Failed,
    /// 502, 503 or 504.
    GatewayFailed,
}

impl Seen {
    /// A reply with an HTTP status.
    #[must_use]
    pub const fn status(code: u32) -> Self {
        match code {
            502..=504 => Self::GatewayFailed,
            500..=599 => Self::Failed,
            _ => Self::Success,
        }
    }
}

/// How often endpoints were ejected, and for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ejections {
    /// By consecutive_5xx: detected, and of these ejected.
    pub consecutive_5xx: [u64; 2],
    /// By consecutive_gateway_failure.
    pub consecutive_gateway_failure: [u64; 2],
    /// By consecutive_local_origin_failure.
    pub consecutive_local_origin_failure: [u64; 2],
    /// By the success rate, of either origin.
    pub success_rate: [u64; 2],
    /// By the failure percentage, of either origin.
    pub failure_percentage: [u64; 2],
    /// Ejected for anything.
    pub enforced_total: u64,
    /// Not ejected because too many are.
    pub overflow: u64,
}

/// Why an endpoint is an outlier.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Consecutive5xx,
    GatewayFailure,
    LocalOriginFailure,
    SuccessRate { local: bool },
    FailurePercentage { local: bool },
}

/// Requests of one interval.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    good: u32,
    all: u32,
}

impl Tally {
    const fn count(&mut self, good: bool) {
        self.all = self.all.saturating_add(1);
        self.good = self.good.saturating_add(good as u32);
    }

    fn success_percent(self) -> f64 {
        100.0 * f64::from(self.good) / f64::from(self.all.max(1))
    }
}

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Host {
    failures: u32,
    gateway_failures: u32,
    local_failures: u32,
    external: Tally,
    local: Tally,
    /// Until when it is ejected.
    ejected_until: Option<Duration>,
    /// How many times the base it is ejected for: how often it was, less the good intervals since.
    times: u32,
}

/// Detects the outliers among the endpoints of a cluster, by their index. Time is any that only grows;
/// what is ejected is the caller's to leave out ([`crate::Balancer`] does).
#[derive(Clone, Debug)]
pub struct Detector {
    settings: OutlierDetection,
    hosts: Vec<Host>,
    ejected: u32,
    /// When the current interval ends; None: nothing is waited for.
    tick: Option<Duration>,
    counts: Ejections,
}

impl Detector {
    /// A detector of `count` endpoints of which nothing is known.
    #[must_use]
    pub fn new(settings: OutlierDetection, count: usize) -> Self {
        Self {
            settings,
            hosts: vec![Host::default(); count],
            ejected: 0,
            tick: None,
            counts: Ejections::default(),
        }
    }

    /// Goes on with other settings. Who is ejected stays so for its time.
    pub const fn set(&mut self, settings: OutlierDetection) {
        self.settings = settings;
    }

    /// Goes on with other endpoints: `was` are their old indices, None for new ones.
    pub fn update(&mut self, was: impl Iterator<Item = Option<usize>>) {
        let known = |index: usize| self.hosts.get(index).copied().unwrap_or_default();
        let hosts: Vec<Host> = was
            .map(|index| index.map_or_else(Host::default, known))
            .collect();
        self.ejected = hosts
            .iter()
            .filter(|host| host.ejected_until.is_some())
            .count() as u32;
        self.hosts = hosts;
    }

    /// What it goes by.
    #[must_use]
    pub const fn settings(&self) -> &OutlierDetection {
        &self.settings
    }

    /// Whether the endpoint `index` is ejected.
    #[must_use]
    pub fn is_ejected(&self, index: usize) -> bool {
        self.hosts
            .get(index)
            .is_some_and(|host| host.ejected_until.is_some())
    }

    /// How many are ejected now.
    #[must_use]
    pub const fn ejected(&self) -> u32 {
        self.ejected
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Ejections {
        &self.counts
    }

    /// When [`Detector::check`] has something to do; None: not before something else is seen.
    #[must_use]
    pub const fn next_check(&self) -> Option<Duration> {
        self.tick
    }

    /// Notes what was seen of the endpoint `index` at `now`. True: it is ejected, from now on.
    pub fn saw(&mut self, index: usize, seen: Seen, now: Duration, rng: &mut Rng) -> bool {
        let settings = &self.settings;
        let Some(host) = self.hosts.get_mut(index) else {
            return false;
        };
        if self.tick.is_none() && (seen != Seen::Connected || settings.split_local_origin) {
            self.tick = Some(now.saturating_add(settings.interval));
        }
        if settings.split_local_origin {
            match seen {
                Seen::Connected => {
                    host.local_failures = 0;
                    return false;
                }
                Seen::ConnectFailed | Seen::Timeout => {
                    host.local.count(false);
                    host.local_failures = host.local_failures.saturating_add(1);
                    let limit = settings.consecutive_local_origin_failure.threshold;
                    if host.local_failures != limit {
                        return false;
                    }
                    host.local_failures = 0;
                    return self.detected(index, Reason::LocalOriginFailure, now, rng);
                }
                // Who answers was reached.
                Seen::Success | Seen::Failed | Seen::GatewayFailed => {
                    host.local.count(true);
                    host.local_failures = 0;
                }
            }
        }
        match seen {
            Seen::Connected => false,
            Seen::Success => {
                host.external.count(true);
                host.failures = 0;
                host.gateway_failures = 0;
                false
            }
            Seen::Failed => {
                host.gateway_failures = 0;
                self.failed(index, now, rng)
            }
            Seen::GatewayFailed | Seen::ConnectFailed | Seen::Timeout => {
                host.gateway_failures = host.gateway_failures.saturating_add(1);
                let mut ejected = false;
                if host.gateway_failures == settings.consecutive_gateway_failure.threshold {
                    host.gateway_failures = 0;
                    ejected = self.detected(index, Reason::GatewayFailure, now, rng);
                }
                self.failed(index, now, rng) || ejected
            }
        }
    }

    fn failed(&mut self, index: usize, now: Duration, rng: &mut Rng) -> bool {
        let host = &mut self.hosts[index];
        host.external.count(false);
        host.failures = host.failures.saturating_add(1);
        if host.failures != self.settings.consecutive_5xx.threshold {
            return false;
        }
        host.failures = 0;
        self.detected(index, Reason::Consecutive5xx, now, rng)
    }

    /// Ends the interval: `changed` is told who comes back (false) and who is ejected (true).
    pub fn check(&mut self, now: Duration, rng: &mut Rng, mut changed: impl FnMut(usize, bool)) {
        if self.tick.is_none_or(|tick| now < tick) {
            return;
        }
        for (index, host) in self.hosts.iter_mut().enumerate() {
            match host.ejected_until {
                Some(until) if until <= now => {
                    host.ejected_until = None;
                    host.failures = 0;
                    host.gateway_failures = 0;
                    host.local_failures = 0;
                    self.ejected -= 1;
                    changed(index, false);
                }
                Some(_) => {}
                None => host.times = host.times.saturating_sub(1),
            }
        }
        self.rates(false, now, rng, &mut changed);
        if self.settings.split_local_origin {
            self.rates(true, now, rng, &mut changed);
        }
        let mut seen = false;
        for host in &mut self.hosts {
            seen |= host.external.all > 0 || host.local.all > 0 || host.times > 0;
            (host.external, host.local) = (Tally::default(), Tally::default());
        }
        // Nothing to wait for: the next interval begins when something is seen.
        let on = seen || self.ejected > 0;
        self.tick = on.then(|| now.saturating_add(self.settings.interval));
    }

    /// Ejects by the rates of the interval that ends.
    fn rates(
        &mut self,
        local: bool,
        now: Duration,
        rng: &mut Rng,
        changed: &mut impl FnMut(usize, bool),
    ) {
        let of = |host: &Host| if local { host.local } else { host.external };
        let enough = |hosts: &[Host], volume: u32| -> Vec<(usize, f64)> {
            let in_force = |host: &Host| {
                host.ejected_until.is_none() && of(host).all > 0 && of(host).all >= volume
            };
            let indices = (0..).zip(hosts).filter(|(_, host)| in_force(host));
            indices
                .map(|(index, host)| (index, of(host).success_percent()))
                .collect()
        };
        let rate = self.settings.success_rate;
        let known = enough(&self.hosts, rate.request_volume);
        if !known.is_empty() && known.len() >= rate.minimum_hosts as usize {
            let count = known.len() as f64;
            let mean = known.iter().map(|(_, percent)| percent).sum::<f64>() / count;
            let square = |percent: f64| (percent - mean) * (percent - mean);
            let variance = known
                .iter()
                .map(|(_, percent)| square(*percent))
                .sum::<f64>()
                / count;
            let least = mean - variance.sqrt() * f64::from(rate.stdev_factor) / 1_000.0;
            for (index, _) in known.iter().filter(|(_, percent)| *percent < least) {
                if self.detected(*index, Reason::SuccessRate { local }, now, rng) {
                    changed(*index, true);
                }
            }
        }
        let failure = self.settings.failure_percentage;
        let known = enough(&self.hosts, failure.request_volume);
        if !known.is_empty() && known.len() >= failure.minimum_hosts as usize {
            let most = f64::from(failure.threshold);
            for (index, _) in known.iter().filter(|(_, percent)| 100.0 - *percent >= most) {
                if self.detected(*index, Reason::FailurePercentage { local }, now, rng) {
                    changed(*index, true);
                }
            }
        }
    }

    /// Ejects an endpoint, if chance and the bound allow it.
    fn detected(&mut self, index: usize, reason: Reason, now: Duration, rng: &mut Rng) -> bool {
        if self.hosts[index].ejected_until.is_some() {
            return false;
        }
        let enforcing = self.enforcing(reason);
        self.count(reason)[0] += 1;
        if rng.below(100) >= u64::from(enforcing) {
            return false;
        }
        if !self.may_eject() {
            self.counts.overflow += 1;
            return false;
        }
        self.count(reason)[1] += 1;
        self.counts.enforced_total += 1;
        self.ejected += 1;
        let settings = &self.settings;
        let jitter = settings.max_ejection_time_jitter.as_nanos() as u64;
        let host = &mut self.hosts[index];
        host.times = host.times.saturating_add(1);
        let longest = settings.max_ejection_time.max(settings.base_ejection_time);
        let time = settings
            .base_ejection_time
            .saturating_mul(host.times)
            .min(longest);
        let time = time.saturating_add(Duration::from_nanos(rng.below(jitter)));
        host.ejected_until = Some(now.saturating_add(time));
        true
    }

    /// Whether one more may be ejected.
    fn may_eject(&self) -> bool {
        if self.ejected == 0 && self.settings.always_eject_one {
            return true;
        }
        let most = u64::from(self.settings.max_ejection_percent.min(100));
        (u64::from(self.ejected) + 1) * 100 <= most * self.hosts.len() as u64
    }

    const fn enforcing(&self, reason: Reason) -> u32 {
        let settings = &self.settings;
        match reason {
            Reason::Consecutive5xx => settings.consecutive_5xx.enforcing,
            Reason::GatewayFailure => settings.consecutive_gateway_failure.enforcing,
            Reason::LocalOriginFailure => settings.consecutive_local_origin_failure.enforcing,
            Reason::SuccessRate { local: false } => settings.success_rate.enforcing,
            Reason::SuccessRate { local: true } => settings.success_rate.enforcing_local_origin,
            Reason::FailurePercentage { local: false } => settings.failure_percentage.enforcing,
            Reason::FailurePercentage { local: true } => {
                settings.failure_percentage.enforcing_local_origin
            }
        }
    }

    const fn count(&mut self, reason: Reason) -> &mut [u64; 2] {
        match reason {
            Reason::Consecutive5xx => &mut self.counts.consecutive_5xx,
            Reason::GatewayFailure => &mut self.counts.consecutive_gateway_failure,
            Reason::LocalOriginFailure => &mut self.counts.consecutive_local_origin_failure,
            Reason::SuccessRate { .. } => &mut self.counts.success_rate,
            Reason::FailurePercentage { .. } => &mut self.counts.failure_percentage,
        }
    }
}
