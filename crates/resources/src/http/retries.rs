//! Retry policies.

use std::sync::Arc;

use meltemi_routing::{AnyMatch, RetryOn, RetryPolicy};

use super::Notes;
use crate::field::duration;
use crate::invalid::{Invalid, Within};
use crate::matchers::header_matches;
use crate::messages::envoy::config::route::v3 as envoy;

const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";

/// The policy that `from` says, with Envoy's defaults.
pub(super) fn retry_policy(
    from: &envoy::RetryPolicy,
    notes: &mut Notes,
) -> Result<Arc<RetryPolicy>, Invalid> {
    let mut previous_hosts = false;
    for predicate in &from.retry_host_predicate {
        if predicate.name == PREVIOUS_HOSTS {
            previous_hosts = true;
        } else {
            notes.unused([(&*format!("retry_host_predicate {:?}", predicate.name), true)]);
        }
    }
    let back_off = from.retry_back_off.unwrap_or_default();
    let base = duration("base_interval", back_off.base_interval.as_ref());
    let base_interval = base
        .within("retry_back_off")?
        .unwrap_or(RetryPolicy::BASE_INTERVAL);
    let max_interval = duration("max_interval", back_off.max_interval.as_ref())
        .within("retry_back_off")?
        .unwrap_or(base_interval.saturating_mul(RetryPolicy::MAX_OVER_BASE));
    if max_interval < base_interval {
        let reason = "has to be base_interval or more";
        return Err(Invalid::at("retry_back_off.max_interval", reason));
    }
    let attempts = u32::try_from(from.host_selection_retry_max_attempts).ok();
    Ok(Arc::new(RetryPolicy {
        on: RetryOn::parse(&from.retry_on),
        num_retries: from.num_retries.unwrap_or(RetryPolicy::NUM_RETRIES),
        per_try_timeout: duration("per_try_timeout", from.per_try_timeout.as_ref())?,
        statuses: from.retriable_status_codes.as_slice().into(),
        reply_headers: any_of("retriable_headers", &from.retriable_headers)?,
        request_headers: any_of("retriable_request_headers", &from.retriable_request_headers)?,
        base_interval,
        max_interval,
        previous_hosts,
        host_selection_max_attempts: attempts
            .filter(|attempts| *attempts > 0)
            .unwrap_or(RetryPolicy::HOST_SELECTION_MAX_ATTEMPTS),
    }))
}

fn any_of(field: &str, from: &[envoy::HeaderMatcher]) -> Result<AnyMatch, Invalid> {
    AnyMatch::new(header_matches(field, from)?).map_err(|errors| {
        let place = errors.first().map_or(0, |error| error.ordinal);
        let reason = errors.into_iter().next().map(|error| error.reason);
        Invalid::at(format!("{field}[{place}]"), reason.unwrap_or_default())
    })
}
