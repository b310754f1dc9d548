//! What a cluster says of load and health: circuit breakers, outlier detection, shares of priorities.

use std::time::Duration;

use meltemi_balancer::{
    CircuitBreakers, Consecutive, FailurePercentage, OutlierDetection, RetryBudget, Spread,
    SuccessRate,
};

use crate::field::duration;
use crate::invalid::{Invalid, Within};
use crate::messages::envoy::config::cluster::v3 as envoy;
use crate::messages::envoy::config::cluster::v3::circuit_breakers::thresholds;
use crate::messages::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use crate::messages::envoy::r#type::v3::Percent;

/// The limits for requests of default priority, which all of ours are.
pub(crate) fn circuit_breakers(message: &envoy::Cluster) -> Result<CircuitBreakers, Invalid> {
    let all = message.circuit_breakers.iter();
    let mut all = all.flat_map(|breakers| breakers.thresholds.iter().enumerate());
    let Some((place, limits)) = all.find(|(_, one)| one.priority == 0) else {
        return Ok(CircuitBreakers::default());
    };
    let budget = limits.retry_budget.as_ref().map(retry_budget).transpose();
    Ok(CircuitBreakers {
        max_connections: limits.max_connections,
        max_pending_requests: limits.max_pending_requests,
        max_requests: limits.max_requests,
        max_retries: limits.max_retries,
        retry_budget: budget
            .within("retry_budget")
            .within(format_args!("circuit_breakers.thresholds[{place}]"))?,
    })
}

fn retry_budget(message: &thresholds::RetryBudget) -> Result<RetryBudget, Invalid> {
    let default = RetryBudget::default();
    let share = basis_points("budget_percent", message.budget_percent.as_ref())?;
    Ok(RetryBudget {
        budget_basis_points: share.unwrap_or(default.budget_basis_points),
        min_retry_concurrency: message
            .min_retry_concurrency
            .unwrap_or(default.min_retry_concurrency),
    })
}

/// What the cluster, not its endpoints, says of shares.
pub(crate) fn spread(message: &envoy::Cluster) -> Result<Spread, Invalid> {
    let default = Spread::default();
    let Some(config) = &message.common_lb_config else {
        return Ok(default);
    };
    let threshold = basis_points(
        "common_lb_config.healthy_panic_threshold",
        config.healthy_panic_threshold.as_ref(),
    )?;
    Ok(Spread {
        // Envoy rounds to whole percent.
        panic_threshold: threshold.map_or(default.panic_threshold, |share| (share + 50) / 100),
        by_locality: matches!(
            config.locality_config_specifier,
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
        ),
        ..default
    })
}

/// Hundredths of a percent.
fn basis_points(field: &str, percent: Option<&Percent>) -> Result<Option<u32>, Invalid> {
    let Some(Percent { value }) = percent else {
        return Ok(None);
    };
    if (0.0..=100.0).contains(value) {
        return Ok(Some((value * 100.0).round() as u32));
    }
    let reason = format!("{value}, but has to be from 0 to 100");
    Err(Invalid::at(field, reason))
}

/// Each field that is not set has Envoy's default.
pub(crate) fn outlier_detection(
    message: &envoy::OutlierDetection,
) -> Result<OutlierDetection, Invalid> {
    let default = OutlierDetection::default();
    let consecutive = |name, limit: Option<u32>, enforcing, or: Consecutive| {
        Ok::<_, Invalid>(Consecutive {
            threshold: limit.unwrap_or(or.threshold),
            enforcing: percent(name, enforcing, or.enforcing)?,
        })
    };
    let base = message.base_ejection_time.as_ref();
    let base = time("base_ejection_time", base, default.base_ejection_time)?;
    let longest = message.max_ejection_time.as_ref();
    let jitter = message.max_ejection_time_jitter.as_ref();
    Ok(OutlierDetection {
        interval: time("interval", message.interval.as_ref(), default.interval)?,
        base_ejection_time: base,
        // A base that is longer than the default of the longest takes its place.
        max_ejection_time: time(
            "max_ejection_time",
            longest,
            default.max_ejection_time.max(base),
        )?,
        max_ejection_time_jitter: duration("max_ejection_time_jitter", jitter)?
            .unwrap_or(default.max_ejection_time_jitter),
        max_ejection_percent: percent(
            "max_ejection_percent",
            message.max_ejection_percent,
            default.max_ejection_percent,
        )?,
        always_eject_one: message.always_eject_one_host.unwrap_or_default(),
        split_local_origin: message.split_external_local_origin_errors,
        consecutive_5xx: consecutive(
            "enforcing_consecutive_5xx",
            message.consecutive_5xx,
            message.enforcing_consecutive_5xx,
            default.consecutive_5xx,
        )?,
        consecutive_gateway_failure: consecutive(
            "enforcing_consecutive_gateway_failure",
            message.consecutive_gateway_failure,
            message.enforcing_consecutive_gateway_failure,
            default.consecutive_gateway_failure,
        )?,
        consecutive_local_origin_failure: consecutive(
            "enforcing_consecutive_local_origin_failure",
            message.consecutive_local_origin_failure,
            message.enforcing_consecutive_local_origin_failure,
            default.consecutive_local_origin_failure,
        )?,
        success_rate: success_rate(message, default.success_rate)?,
        failure_percentage: failure_percentage(message, default.failure_percentage)?,
    })
}

/// A duration that is never 0.
fn time(
    field: &str,
    from: Option<&prost_types::Duration>,
    default: Duration,
) -> Result<Duration, Invalid> {
    let value = duration(field, from)?;
    if from.is_some() && value.is_none() {
        return Err(Invalid::at(field, "0, but has to be longer"));
    }
    Ok(value.unwrap_or(default))
}

fn success_rate(
    message: &envoy::OutlierDetection,
    default: SuccessRate,
) -> Result<SuccessRate, Invalid> {
    let hosts = message.success_rate_minimum_hosts;
    let volume = message.success_rate_request_volume;
    Ok(SuccessRate {
        enforcing: percent(
            "enforcing_success_rate",
            message.enforcing_success_rate,
            default.enforcing,
        )?,
        enforcing_local_origin: percent(
            "enforcing_local_origin_success_rate",
            message.enforcing_local_origin_success_rate,
            default.enforcing_local_origin,
        )?,
        minimum_hosts: hosts.unwrap_or(default.minimum_hosts),
        request_volume: volume.unwrap_or(default.request_volume),
        stdev_factor: message
            .success_rate_stdev_factor
            .unwrap_or(default.stdev_factor),
    })
}

fn failure_percentage(
    message: &envoy::OutlierDetection,
    default: FailurePercentage,
) -> Result<FailurePercentage, Invalid> {
    let hosts = message.failure_percentage_minimum_hosts;
    let volume = message.failure_percentage_request_volume;
    Ok(FailurePercentage {
        threshold: percent(
            "failure_percentage_threshold",
            message.failure_percentage_threshold,
            default.threshold,
        )?,
        enforcing: percent(
            "enforcing_failure_percentage",
            message.enforcing_failure_percentage,
            default.enforcing,
        )?,
        enforcing_local_origin: percent(
            "enforcing_failure_percentage_local_origin",
            message.enforcing_failure_percentage_local_origin,
            default.enforcing_local_origin,
        )?,
        minimum_hosts: hosts.unwrap_or(default.minimum_hosts),
        request_volume: volume.unwrap_or(default.request_volume),
    })
}

fn percent(field: &str, value: Option<u32>, default: u32) -> Result<u32, Invalid> {
    match value.unwrap_or(default) {
        percent @ 0..=100 => Ok(percent),
        more => Err(Invalid::at(
            field,
            format!("{more}, but has to be 100 or less"),
        )),
    }
}
