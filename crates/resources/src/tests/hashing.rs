//! Clusters that balance by hash, and what their routes hash.

use meltemi_routing::{HashPolicy, HashSource};

use super::*;
use crate::Policy;

use cluster::cluster::{LbConfig, LbPolicy, MaglevLbConfig, RingHashLbConfig};
use route::route_action::HashPolicy as Specifier;
use route::route_action::hash_policy::{
    ConnectionProperties, Header, PolicySpecifier, QueryParameter,
};

fn by_hash(policy: LbPolicy, config: Option<LbConfig>) -> cluster::Cluster {
    let endpoints = vec![lb_endpoint("127.0.0.1", 1), lb_endpoint("127.0.0.1", 2)];
    cluster::Cluster {
        lb_policy: policy as i32,
        lb_config: config,
        ..static_cluster("a", endpoints)
    }
}

fn ring(min: Option<u64>, max: Option<u64>) -> Option<LbConfig> {
    Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
        minimum_ring_size: min,
        maximum_ring_size: max,
        hash_function: 0,
    }))
}

fn maglev(table_size: u64) -> Option<LbConfig> {
    let table_size = Some(table_size);
    Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size }))
}

#[test]
fn the_policy_has_its_sizes_and_envoys_where_nothing_is_said() {
    let most = 8 * 1024 * 1024;
    for (policy, config, expected) in [
        (
            LbPolicy::RingHash,
            None,
            Policy::RingHash {
                min: 1024,
                max: most,
            },
        ),
        (
            LbPolicy::RingHash,
            ring(Some(64), None),
            Policy::RingHash { min: 64, max: most },
        ),
        (
            LbPolicy::RingHash,
            ring(Some(64), Some(64)),
            Policy::RingHash { min: 64, max: 64 },
        ),
        (LbPolicy::Maglev, None, Policy::Maglev { table_size: 65537 }),
        (
            LbPolicy::Maglev,
            maglev(251),
            Policy::Maglev { table_size: 251 },
        ),
    ] {
        let mut store = Store::new();
        accept(&mut store, type_url::CLUSTER, "a", &by_hash(policy, config));
        let cluster = held(&store, "a");
        assert_eq!(cluster.policy, expected);
        assert!(cluster.table.is_some());
    }
}

#[test]
fn sizes_that_envoy_refuses_are_refused_by_name() {
    let said = |policy, config| refusal(type_url::CLUSTER, "a", &by_hash(policy, config));
    for (config, field) in [
        (ring(None, Some(1023)), "minimum_ring_size: 1024"),
        (ring(Some(9), Some(8)), "minimum_ring_size: 9"),
        (
            ring(Some(1), Some((8 << 20) + 1)),
            "maximum_ring_size: 8388609",
        ),
        (ring(Some(1 << 60), None), "minimum_ring_size: "),
    ] {
        let reason = said(LbPolicy::RingHash, config);
        assert!(
            reason.contains(&format!("ring_hash_lb_config.{field}")),
            "{reason}"
        );
    }
    for size in [0, 4, 65536, 5_000_013] {
        let reason = said(LbPolicy::Maglev, maglev(size));
        assert!(
            reason.contains(&format!("maglev_lb_config.table_size: {size}")),
            "{reason}"
        );
    }
    let murmur = RingHashLbConfig {
        hash_function: 1,
        ..RingHashLbConfig::default()
    };
    let reason = said(LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(murmur)));
    assert!(reason.contains("hash_function: only XX_HASH"), "{reason}");
}

#[test]
fn a_table_is_made_once_and_again_only_for_other_endpoints() {
    let mut store = Store::new();
    let message = cluster::Cluster {
        lb_policy: LbPolicy::Maglev as i32,
        ..eds_cluster("a", "s")
    };
    accept(&mut store, type_url::CLUSTER, "a", &message);
    let put_endpoints = |store: &mut Store, count: u32| {
        let endpoints = (1..=count).map(|port| lb_endpoint("127.0.0.1", port));
        accept(
            store,
            type_url::ENDPOINT,
            "s",
            &assignment("s", endpoints.collect()),
        );
        held(store, "a").table.clone().unwrap()
    };
    let first = put_endpoints(&mut store, 3);
    assert!(Arc::ptr_eq(&first, &put_endpoints(&mut store, 3)));
    let timed = cluster::Cluster {
        connect_timeout: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..message
    };
    accept(&mut store, type_url::CLUSTER, "a", &timed);
    assert!(Arc::ptr_eq(
        &first,
        held(&store, "a").table.as_ref().unwrap()
    ));
    assert!(!Arc::ptr_eq(&first, &put_endpoints(&mut store, 4)));
}

#[test]
fn a_cluster_that_balances_otherwise_has_no_table() {
    let mut store = Store::new();
    accept(
        &mut store,
        type_url::CLUSTER,
        "a",
        &by_hash(LbPolicy::RingHash, None),
    );
    assert!(held(&store, "a").table.is_some());
    accept(
        &mut store,
        type_url::CLUSTER,
        "a",
        &by_hash(LbPolicy::Random, None),
    );
    assert!(held(&store, "a").table.is_none());
}

#[test]
fn headers_and_the_callers_address_are_hashed_and_what_only_http_has_is_not() {
    let specifier = |specifier: PolicySpecifier, terminal: bool| Specifier {
        terminal,
        policy_specifier: Some(specifier),
    };
    let header = |name: &str| {
        PolicySpecifier::Header(Header {
            header_name: name.to_owned(),
            ..Header::default()
        })
    };
    let rewritten = PolicySpecifier::Header(Header {
        header_name: "x".to_owned(),
        regex_rewrite: Some(()),
    });
    let caller =
        |source_ip| PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip });
    let query = QueryParameter {
        name: "User".to_owned(),
    };
    let mut message = to_cluster("r", Vec::new(), "a");
    if let Some(route::route::Action::Route(action)) = &mut message.action {
        action.hash_policy = vec![
            specifier(header("Method"), true),
            specifier(PolicySpecifier::Cookie(()), true),
            specifier(PolicySpecifier::QueryParameter(query), true),
            specifier(rewritten, true),
            specifier(caller(false), true),
            specifier(caller(true), false),
            Specifier::default(),
        ];
    }
    let mut store = Store::new();
    let routes = route_configuration("r", vec![message]);
    accept(&mut store, type_url::ROUTE, "r", &routes);
    let table = Arc::clone(&store.snapshot().routes["r"]);
    let method = HashSource::Attribute("method".into());
    // No request of a sidecar has it; a client's may.
    let user = HashSource::Attribute("?User".into());
    let policy = |source, terminal| HashPolicy { source, terminal };
    assert_eq!(
        table.routes()[0].hash_policy,
        [
            policy(method, true),
            policy(user, true),
            policy(HashSource::SourceIp, false)
        ]
    );
}
