//! Circuit breakers, outlier detection and panic: read with Envoy's defaults, refused by its rules.

use std::time::Duration;

use meltemi_balancer::{CircuitBreakers, Consecutive, OutlierDetection, RetryBudget, Spread};

use super::*;
use crate::messages::envoy::r#type::v3::Percent;
use cluster::circuit_breakers::{Thresholds, thresholds};
use cluster::cluster::CommonLbConfig;
use cluster::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};

fn made(message: &cluster::Cluster) -> Arc<Cluster> {
    let mut store = Store::new();
    accept(&mut store, type_url::CLUSTER, &message.name, message);
    held(&store, &message.name)
}

fn with_limits(limits: Thresholds) -> cluster::Cluster {
    cluster::Cluster {
        circuit_breakers: Some(cluster::CircuitBreakers {
            thresholds: vec![limits],
        }),
        ..static_cluster("a", vec![])
    }
}

fn with_outlier(outlier: cluster::OutlierDetection) -> cluster::Cluster {
    cluster::Cluster {
        outlier_detection: Some(outlier),
        ..static_cluster("a", vec![])
    }
}

fn time(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

#[test]
fn a_cluster_that_says_nothing_has_no_limits_and_watches_nobody() {
    let cluster = made(&static_cluster("a", vec![]));
    assert_eq!(cluster.limits, CircuitBreakers::default());
    assert_eq!((&cluster.outlier, cluster.spread), (&None, Spread::ENVOY));
}

#[test]
fn circuit_breakers_are_read() {
    let limits = made(&with_limits(Thresholds {
        max_connections: Some(1),
        max_pending_requests: Some(2),
        max_requests: Some(3),
        max_retries: Some(4),
        retry_budget: Some(thresholds::RetryBudget {
            budget_percent: Some(Percent { value: 12.5 }),
            min_retry_concurrency: None,
        }),
        ..Thresholds::default()
    }))
    .limits;
    let expected = CircuitBreakers {
        max_connections: Some(1),
        max_pending_requests: Some(2),
        max_requests: Some(3),
        max_retries: Some(4),
        retry_budget: Some(RetryBudget {
            budget_basis_points: 1_250,
            min_retry_concurrency: 3,
        }),
    };
    assert_eq!(limits, expected);
}

#[test]
fn outlier_detection_without_fields_is_envoys() {
    let cluster = made(&with_outlier(cluster::OutlierDetection::default()));
    let outlier = cluster.outlier.as_deref();
    assert_eq!(outlier, Some(&OutlierDetection::default()));
}

#[test]
fn fields_of_outlier_detection_are_read() {
    let cluster = made(&with_outlier(cluster::OutlierDetection {
        consecutive_5xx: Some(0),
        enforcing_consecutive_5xx: Some(50),
        consecutive_gateway_failure: Some(3),
        enforcing_consecutive_gateway_failure: Some(100),
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: Some(2),
        interval: time(0, 500_000_000),
        base_ejection_time: time(600, 0),
        max_ejection_percent: Some(100),
        enforcing_success_rate: Some(0),
        failure_percentage_threshold: Some(20),
        always_eject_one_host: Some(true),
        ..cluster::OutlierDetection::default()
    }));
    let outlier = cluster.outlier.as_deref().expect("it is asked for");
    let five = Consecutive {
        threshold: 0,
        enforcing: 50,
    };
    assert_eq!(outlier.consecutive_5xx, five);
    assert_eq!(outlier.consecutive_gateway_failure.threshold, 3);
    assert_eq!(outlier.consecutive_gateway_failure.enforcing, 100);
    assert_eq!(outlier.consecutive_local_origin_failure.threshold, 2);
    assert!(outlier.split_local_origin && outlier.always_eject_one);
    assert_eq!(outlier.interval, Duration::from_millis(500));
    // The base is longer than the default of the longest, which it then is.
    let ten_minutes = Duration::from_secs(600);
    assert_eq!(outlier.base_ejection_time, ten_minutes);
    assert_eq!(outlier.max_ejection_time, ten_minutes);
    assert_eq!(outlier.max_ejection_percent, 100);
    assert_eq!(outlier.success_rate.enforcing, 0);
    assert_eq!(outlier.failure_percentage.threshold, 20);
}

fn with_common(config: CommonLbConfig) -> cluster::Cluster {
    cluster::Cluster {
        common_lb_config: Some(config),
        ..static_cluster("a", vec![])
    }
}

#[test]
fn the_panic_threshold_is_whole_percent_and_0_where_it_is_said_to_be() {
    for (said, read) in [
        (None, 50),
        (Some(0.0), 0),
        (Some(33.4), 33),
        (Some(99.5), 100),
    ] {
        let cluster = made(&with_common(CommonLbConfig {
            healthy_panic_threshold: said.map(|value| Percent { value }),
            ..CommonLbConfig::default()
        }));
        assert_eq!(cluster.spread.panic_threshold, read, "{said:?}");
    }
}

#[test]
fn localities_matter_where_the_cluster_says_so() {
    let weighted = LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {});
    let cluster = made(&with_common(CommonLbConfig {
        locality_config_specifier: Some(weighted),
        ..CommonLbConfig::default()
    }));
    assert!(cluster.spread.by_locality);
}

#[test]
fn another_factor_of_the_endpoints_is_taken_over_by_the_cluster() {
    let mut store = Store::new();
    accept(&mut store, type_url::CLUSTER, "a", &eds_cluster("a", "s"));
    for factor in [140, 170] {
        let mut endpoints = assignment("s", vec![lb_endpoint("127.0.0.1", 1)]);
        endpoints.policy = Some(endpoint::cluster_load_assignment::Policy {
            overprovisioning_factor: Some(factor),
            weighted_priority_health: false,
        });
        accept(&mut store, type_url::ENDPOINT, "s", &endpoints);
        assert_eq!(held(&store, "a").spread.overprovisioning, factor);
    }
}

#[test]
fn what_envoy_refuses_is_refused_with_the_field() {
    let said = |message: &cluster::Cluster| refusal(type_url::CLUSTER, "a", message);
    assert_eq!(
        said(&with_outlier(cluster::OutlierDetection {
            max_ejection_percent: Some(101),
            ..cluster::OutlierDetection::default()
        })),
        "a: outlier_detection.max_ejection_percent: 101, but has to be 100 or less"
    );
    assert_eq!(
        said(&with_outlier(cluster::OutlierDetection {
            interval: time(0, 0),
            ..cluster::OutlierDetection::default()
        })),
        "a: outlier_detection.interval: 0, but has to be longer"
    );
    assert_eq!(
        said(&with_common(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: 100.5 }),
            ..CommonLbConfig::default()
        })),
        "a: common_lb_config.healthy_panic_threshold: 100.5, but has to be from 0 to 100"
    );
    let budget = thresholds::RetryBudget {
        budget_percent: Some(Percent { value: f64::NAN }),
        min_retry_concurrency: None,
    };
    assert_eq!(
        said(&with_limits(Thresholds {
            retry_budget: Some(budget),
            ..Thresholds::default()
        })),
        "a: circuit_breakers.thresholds[0].retry_budget.budget_percent: NaN, but has to be from 0 \
         to 100"
    );
}
