//! Clusters, endpoints, and what makes a cluster refuse its requests.

use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use meltemi_balancer::{CircuitBreakers, Health, Locality, Policy};

use super::*;
use crate::messages::meltemi::v1alpha1::UpstreamOptions;

fn one(message: &cluster::Cluster) -> Arc<Cluster> {
    let mut store = Store::new();
    accept(&mut store, type_url::CLUSTER, &message.name, message);
    held(&store, &message.name)
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

const OPTIONS_URL: &str = "type.googleapis.com/meltemi.v1alpha1.UpstreamOptions";

#[test]
fn a_cluster_that_says_nothing_has_envoys_defaults() {
    let cluster = one(&static_cluster("a", vec![lb_endpoint("127.0.0.1", 1)]));
    assert_eq!(cluster.policy, Policy::RoundRobin);
    assert_eq!(cluster.connect_timeout, Duration::from_secs(5));
    assert_eq!(
        (cluster.max_in_flight, cluster.limits),
        (None, CircuitBreakers::default())
    );
    assert_eq!((cluster.idle_timeout, &cluster.refuse), (None, &None));
    let endpoint = &cluster.endpoints[0];
    assert_eq!(
        (endpoint.weight, endpoint.health, &endpoint.peer),
        (1, Health::Healthy, &None)
    );
}

#[test]
fn policies_limits_and_options_are_read() {
    let options = UpstreamOptions {
        max_in_flight_per_connection: 8,
        idle_timeout: seconds(2),
    };
    let message = cluster::Cluster {
        connect_timeout: seconds(1),
        lb_policy: cluster::cluster::LbPolicy::LeastRequest as i32,
        circuit_breakers: Some(cluster::CircuitBreakers {
            thresholds: vec![
                cluster::circuit_breakers::Thresholds {
                    priority: 1,
                    max_connections: Some(1),
                    ..Default::default()
                },
                cluster::circuit_breakers::Thresholds {
                    priority: 0,
                    max_connections: Some(64),
                    ..Default::default()
                },
            ],
        }),
        typed_extension_protocol_options: [(
            "meltemi.upstream".to_owned(),
            packed(OPTIONS_URL, &options),
        )]
        .into(),
        ..static_cluster("a", vec![])
    };
    let cluster = one(&message);
    assert_eq!(cluster.policy, Policy::LeastRequest);
    assert_eq!(cluster.connect_timeout, Duration::from_secs(1));
    assert_eq!(cluster.limits.max_connections, Some(64));
    assert_eq!(cluster.max_in_flight, Some(8));
    assert_eq!(cluster.idle_timeout, Some(Duration::from_secs(2)));
}

#[test]
fn a_cluster_over_tls_refuses_every_request_and_a_plain_one_does_not() {
    let socket = |name: &str| {
        Some(core::TransportSocket {
            name: name.to_owned(),
        })
    };
    let plain = cluster::Cluster {
        transport_socket: socket("envoy.transport_sockets.raw_buffer"),
        ..static_cluster("a", vec![])
    };
    assert_eq!(one(&plain).refuse, None);
    let tls = cluster::Cluster {
        transport_socket: socket("envoy.transport_sockets.tls"),
        ..static_cluster("a", vec![])
    };
    let refuse = one(&tls).refuse.clone().expect("a reason");
    assert!(refuse.contains("envoy.transport_sockets.tls"));
}

#[test]
fn a_reason_of_the_control_plane_refuses_every_request() {
    let reason = Value {
        kind: Some(Kind::StringValue(
            "resolution DNS is not there yet".to_owned(),
        )),
    };
    let meltemi = Struct {
        fields: [("refuse".to_owned(), reason)].into(),
    };
    let metadata = core::Metadata {
        filter_metadata: [("meltemi".to_owned(), meltemi)].into(),
    };
    let stated = cluster::Cluster {
        metadata: Some(metadata),
        ..static_cluster("a", vec![])
    };
    assert_eq!(
        one(&stated).refuse.as_deref(),
        Some("resolution DNS is not there yet")
    );
}

#[test]
fn health_weight_and_the_workload_of_an_endpoint_are_read() {
    let workload = Value {
        kind: Some(Kind::StringValue("server;default;app;v1".to_owned())),
    };
    let istio = Struct {
        fields: [("workload".to_owned(), workload)].into(),
    };
    let sick = endpoint::LbEndpoint {
        health_status: core::HealthStatus::Unhealthy as i32,
        load_balancing_weight: Some(7),
        metadata: Some(core::Metadata {
            filter_metadata: [("istio".to_owned(), istio)].into(),
        }),
        ..lb_endpoint("127.0.0.1", 1)
    };
    let degraded = endpoint::LbEndpoint {
        health_status: core::HealthStatus::Degraded as i32,
        ..lb_endpoint("127.0.0.1", 2)
    };
    let cluster = one(&static_cluster("a", vec![sick, degraded]));
    let [sick, degraded] = &*cluster.endpoints else {
        panic!("two endpoints")
    };
    assert_eq!(
        (sick.health, degraded.health),
        (Health::Unhealthy, Health::Degraded)
    );
    assert_eq!(sick.weight, 7);
    let peer = sick.peer.as_ref().expect("named");
    let words = [
        &peer.workload,
        &peer.namespace,
        &peer.app,
        &peer.version,
        &peer.cluster,
    ];
    assert_eq!(
        words.map(|word| &**word),
        ["server", "default", "app", "v1", ""]
    );
}

#[test]
fn an_address_that_comes_twice_is_one_endpoint() {
    let twice = vec![lb_endpoint("127.0.0.1", 1), lb_endpoint("127.0.0.1", 1)];
    assert_eq!(one(&static_cluster("a", twice)).endpoints.len(), 1);
}

#[test]
fn priorities_localities_and_their_weights_are_read() {
    let locality = |priority, weight, zone: &str, port| endpoint::LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: "north".to_owned(),
            zone: zone.to_owned(),
            ..core::Locality::default()
        }),
        load_balancing_weight: weight,
        lb_endpoints: vec![lb_endpoint("127.0.0.1", port)],
        priority,
        ..endpoint::LocalityLbEndpoints::default()
    };
    let mut assignment = endpoint::ClusterLoadAssignment {
        cluster_name: "a".to_owned(),
        endpoints: vec![
            locality(0, Some(3), "a", 1),
            locality(1, None, "b", 2),
            endpoint::LocalityLbEndpoints {
                lb_endpoints: vec![lb_endpoint("127.0.0.1", 3)],
                ..endpoint::LocalityLbEndpoints::default()
            },
        ],
        policy: Some(endpoint::cluster_load_assignment::Policy {
            overprovisioning_factor: Some(200),
            weighted_priority_health: true,
        }),
    };
    let message = |assignment: &endpoint::ClusterLoadAssignment| cluster::Cluster {
        load_assignment: Some(assignment.clone()),
        ..static_cluster("a", vec![])
    };
    let made = one(&message(&assignment));
    let seen: Vec<_> = made
        .endpoints
        .iter()
        .map(|one| (one.address.port(), one.priority, one.locality.as_deref()))
        .collect();
    let place = |zone: &str, weight| Locality {
        region: "north".into(),
        zone: zone.into(),
        sub_zone: "".into(),
        weight,
    };
    let (a, b) = (place("a", 3), place("b", 0));
    assert_eq!(seen, [(1, 0, Some(&a)), (2, 1, Some(&b)), (3, 0, None)]);
    assert!(made.spread.weighted_health);
    assert_eq!(made.spread.overprovisioning, 200);
    assignment.endpoints[1].priority = 129;
    assert_eq!(
        refusal(type_url::CLUSTER, "a", &message(&assignment)),
        "a: load_assignment.endpoints[1].priority: 129, but has to be 128 or less"
    );
}

#[test]
fn health_is_what_envoy_takes_it_for() {
    let with = |health: core::HealthStatus| endpoint::LbEndpoint {
        health_status: health as i32,
        ..lb_endpoint("127.0.0.1", 1 + health as u32)
    };
    let all = [
        (core::HealthStatus::Unknown, Health::Healthy),
        (core::HealthStatus::Healthy, Health::Healthy),
        (core::HealthStatus::Unhealthy, Health::Unhealthy),
        (core::HealthStatus::Draining, Health::Draining),
        (core::HealthStatus::Timeout, Health::Unhealthy),
        (core::HealthStatus::Degraded, Health::Degraded),
    ];
    let cluster = one(&static_cluster(
        "a",
        all.map(|(status, _)| with(status)).into(),
    ));
    let seen: Vec<Health> = cluster.endpoints.iter().map(|one| one.health).collect();
    assert_eq!(seen, all.map(|(_, health)| health));
}

#[test]
fn what_cannot_be_done_is_refused_with_the_field() {
    let said = |message: cluster::Cluster| refusal(type_url::CLUSTER, "a", &message);
    let base = || static_cluster("a", vec![]);
    let kind = |number| Some(cluster::cluster::ClusterDiscoveryType::Type(number));
    assert!(
        said(cluster::Cluster {
            cluster_discovery_type: kind(4),
            ..base()
        })
        .contains("type: ORIGINAL_DST")
    );
    assert!(
        said(cluster::Cluster {
            cluster_discovery_type: kind(99),
            ..base()
        })
        .contains("type: 99")
    );
    assert!(
        said(cluster::Cluster {
            lb_policy: 99,
            ..base()
        })
        .contains("lb_policy: 99")
    );
    assert!(
        said(cluster::Cluster {
            connect_timeout: seconds(-1),
            ..base()
        })
        .contains("connect_timeout: ")
    );
    let zero = endpoint::LbEndpoint {
        load_balancing_weight: Some(0),
        ..lb_endpoint("127.0.0.1", 1)
    };
    assert!(said(static_cluster("a", vec![zero])).contains("load_balancing_weight: 0"));
    assert!(said(static_cluster("a", vec![lb_endpoint("127.0.0.1", 0)])).contains("port_value: "));
    assert!(
        said(static_cluster("a", vec![lb_endpoint("127.0.0.1", 70_000)])).contains("port_value: ")
    );
    let foreign = packed("type.googleapis.com/x.Y", &UpstreamOptions::default());
    let options = cluster::Cluster {
        typed_extension_protocol_options: [("meltemi.upstream".to_owned(), foreign)].into(),
        ..base()
    };
    assert!(
        said(options).contains(r#"typed_extension_protocol_options["meltemi.upstream"].type_url"#)
    );
}
