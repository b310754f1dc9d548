//! What a client's store holds, and for how long.

use super::*;
use crate::ClientSnapshot;

fn snapshot(store: &ClientStore) -> Arc<ClientSnapshot> {
    store.snapshot()
}

#[test]
fn a_cluster_waits_for_its_endpoints_by_their_name() {
    let mut store = ClientStore::new();
    take(&mut store, type_url::CLUSTER, "c", &eds_cluster("c", "s"));
    let waiting = snapshot(&store);
    assert!(waiting.clusters.is_empty());
    assert_eq!(waiting.waiting["c"], "s".into());
    let endpoints = assignment("s", vec![lb_endpoint("127.0.0.1", 9090)]);
    take(&mut store, type_url::ENDPOINT, "s", &endpoints);
    let ready = snapshot(&store);
    assert_eq!(ready.clusters["c"].endpoints.len(), 1);
    assert!(ready.waiting.is_empty());
    store.update(type_url::CLUSTER, "2", &[], &["c"]);
    assert!(snapshot(&store).clusters.is_empty());
}

#[test]
fn a_cluster_that_is_taken_away_while_it_waits_waits_no_more() {
    let mut store = ClientStore::new();
    take(&mut store, type_url::CLUSTER, "c", &eds_cluster("c", ""));
    assert_eq!(snapshot(&store).waiting["c"], "c".into());
    store.update(type_url::CLUSTER, "2", &[], &["c"]);
    assert!(snapshot(&store).waiting.is_empty());
}

#[test]
fn clusters_that_only_a_proxy_can_use_are_taken_and_refuse_calls() {
    use cluster::cluster::{ClusterDiscoveryType, CustomClusterType};
    let mut named = static_cluster("c", vec![lb_endpoint("reviews.test", 80)]);
    for (kind, word) in [
        (ClusterDiscoveryType::Type(1), "\"reviews.test\""),
        (ClusterDiscoveryType::Type(4), "ORIGINAL_DST"),
        (
            ClusterDiscoveryType::ClusterType(CustomClusterType {
                name: "envoy.clusters.dynamic_forward_proxy".to_owned(),
            }),
            "dynamic_forward_proxy",
        ),
    ] {
        let mut store = ClientStore::new();
        named.cluster_discovery_type = Some(kind);
        named.lb_policy = cluster::cluster::LbPolicy::ClusterProvided as i32;
        take(&mut store, type_url::CLUSTER, "c", &named);
        let snapshot = snapshot(&store);
        let held = &snapshot.clusters["c"];
        let reason = held.refuse.as_deref().expect("a reason");
        assert!(reason.contains(word), "{reason}");
        assert!(held.endpoints.is_empty());
    }
    named.cluster_discovery_type = None;
    let said = give(&mut ClientStore::new(), type_url::CLUSTER, "c", &named);
    assert!(said[0].contains("\"reviews.test\""), "{said:?}");
}

#[test]
fn routes_that_are_taken_away_stay_while_a_listener_asks_for_them() {
    let mut store = ClientStore::new();
    take(&mut store, type_url::LISTENER, "l", &api_listener("l", "r"));
    let routes = route_configuration("r", vec![to_cluster("it", Vec::new(), "a")]);
    take(&mut store, type_url::ROUTE, "r", &routes);
    store.update(type_url::ROUTE, "2", &[], &["r"]);
    assert!(snapshot(&store).routes.contains_key("r"));
    take(
        &mut store,
        type_url::LISTENER,
        "l",
        &api_listener("l", "other"),
    );
    assert!(snapshot(&store).routes.is_empty());
}

#[test]
fn what_is_refused_keeps_its_last_good_state_and_others_apply() {
    let mut store = ClientStore::new();
    let good = route_configuration("r", vec![to_cluster("it", Vec::new(), "a")]);
    take(&mut store, type_url::ROUTE, "r", &good);
    let before = Arc::clone(&snapshot(&store).routes["r"]);
    let mut bad = good;
    bad.virtual_hosts.push(bad.virtual_hosts[0].clone());
    let other = route_configuration("s", vec![]);
    let rejected = store.update(
        type_url::ROUTE,
        "2",
        &[("r", &bad.encode_to_vec()), ("s", &other.encode_to_vec())],
        &[],
    );
    assert_eq!(rejected.len(), 1);
    let after = snapshot(&store);
    assert!(Arc::ptr_eq(&before, &after.routes["r"]));
    assert!(after.routes.contains_key("s"));
}

#[test]
fn what_did_not_change_is_the_same_snapshot() {
    let mut store = ClientStore::new();
    let give = |store: &mut ClientStore| {
        take(store, type_url::LISTENER, "l", &api_listener("l", "r"));
        take(
            store,
            type_url::ROUTE,
            "r",
            &route_configuration("r", vec![]),
        );
        take(store, type_url::CLUSTER, "c", &eds_cluster("c", "s"));
        take(store, type_url::ENDPOINT, "s", &assignment("s", vec![]));
    };
    give(&mut store);
    let before = snapshot(&store);
    give(&mut store);
    assert!(Arc::ptr_eq(&before, &snapshot(&store)));
}

#[test]
fn a_type_that_calls_have_no_use_for_is_refused() {
    let mut store = ClientStore::new();
    let rejected = store.update(type_url::WORKLOAD, "1", &[("w", b"")], &[]);
    assert!(rejected[0].reason.contains("are not used here"));
}
