//! When an endpoint is taken for an outlier: the settings of a [`crate::Detector`].

use std::time::Duration;

/// What is taken for an outlier, and what then happens to it. The defaults are Envoy's. `enforcing` is the
/// chance in percent that an endpoint which was detected is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutlierDetection {
    /// How often rates are looked at, and endpoints come back.
    pub interval: Duration,
    /// How long an endpoint is ejected, times how often it was.
    pub base_ejection_time: Duration,
    /// At most so long; never less than the base.
    pub max_ejection_time: Duration,
    /// By chance up to so much longer.
    pub max_ejection_time_jitter: Duration,
    /// No more than so many percent of the endpoints are ejected at once.
    pub max_ejection_percent: u32,
    /// One may be, however few they are.
    pub always_eject_one: bool,
    /// Failures to reach an endpoint are counted apart from those that it answers; else they count as
    /// 503 (no connection) and 504 (timeout).
    pub split_local_origin: bool,
    /// Failures in a row, of any kind.
    pub consecutive_5xx: Consecutive,
    /// Answers 502, 503 and 504 in a row.
    pub consecutive_gateway_failure: Consecutive,
    /// Failures to reach it in a row, where they are counted apart.
    pub consecutive_local_origin_failure: Consecutive,
    /// Endpoints that succeed less often than the others.
    pub success_rate: SuccessRate,
    /// Endpoints that fail too often, whatever the others do.
    pub failure_percentage: FailurePercentage,
}

/// So many in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Consecutive {
    /// How many; 0: never.
    pub threshold: u32,
    /// In percent.
    pub enforcing: u32,
}

/// Ejects who is further below the mean than the standard deviation times a factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SuccessRate {
    /// In percent.
    pub enforcing: u32,
    /// The same for failures to reach it, where they are counted apart.
    pub enforcing_local_origin: u32,
    /// Only with so many endpoints that had enough requests.
    pub minimum_hosts: u32,
    /// Requests in an interval that are enough.
    pub request_volume: u32,
    /// Thousandths: 1,900 is 1.9.
    pub stdev_factor: u32,
}

/// Ejects who fails so many percent of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FailurePercentage {
    /// In percent.
    pub threshold: u32,
    /// In percent.
    pub enforcing: u32,
    /// The same for failures to reach it, where they are counted apart.
    pub enforcing_local_origin: u32,
    /// Only with so many endpoints that had enough requests.
    pub minimum_hosts: u32,
    /// Requests in an interval that are enough.
    pub request_volume: u32,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one: false,
            split_local_origin: false,
            consecutive_5xx: Consecutive {
                threshold: 5,
                enforcing: 100,
            },
            consecutive_gateway_failure: Consecutive {
                threshold: 5,
                enforcing: 0,
            },
            consecutive_local_origin_failure: Consecutive {
                threshold: 5,
                enforcing: 100,
            },
            success_rate: SuccessRate {
                enforcing: 100,
                enforcing_local_origin: 100,
                minimum_hosts: 5,
                request_volume: 100,
                stdev_factor: 1_900,
            },
            failure_percentage: FailurePercentage {
                threshold: 85,
                enforcing: 0,
                enforcing_local_origin: 0,
                minimum_hosts: 5,
                request_volume: 50,
            },
        }
    }
}
