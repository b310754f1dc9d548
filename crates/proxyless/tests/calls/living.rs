//! What lives between calls and through updates.

use std::sync::Arc;
use std::time::Duration;

use meltemi_proxyless::{Failure, Refused};
use meltemi_resources::Policy;
use meltemi_routing::{CompiledRoute, RouteTable, VirtualHost};

use crate::bed::{
    Calls, Mesh, address, cluster, endpoints, ms, only, outliers, to, virtual_host, weighted,
};

#[test]
fn shares_go_on_through_updates_that_do_not_concern_them() {
    let split = || weighted([("v1", 80), ("v2", 20)]);
    let clusters = || [cluster("v1", [1]), cluster("v2", [2])];
    let quiet = Mesh::of(vec![split()], clusters()).router();
    let expected = quiet.ports(1_000);

    let mut mesh = Mesh::of(vec![split()], clusters());
    let router = mesh.router();
    let mut seen = Vec::new();
    for round in 0..100 {
        seen.extend(router.ports(10));
        // Other routes come before it, clusters and endpoints change.
        let other = only("other", "x-round", &round.to_string(), to("v2"));
        let hosts = virtual_host("reviews", &["*"], vec![other, split()]);
        mesh.hosts("reviews", vec![hosts]);
        mesh.cluster(cluster("elsewhere", [round + 10]));
        router.publish(Arc::new(mesh.0.clone()));
    }
    assert_eq!(seen, expected);
}

#[test]
fn routes_that_say_the_same_in_two_virtual_hosts_have_shares_of_their_own() {
    let split = || weighted([("v1", 1), ("v2", 1)]);
    let mut mesh = Mesh::of(Vec::new(), [cluster("v1", [1]), cluster("v2", [2])]);
    let compiled = Arc::new(CompiledRoute::new(split()).unwrap());
    let host = |name: &str, domain: &str| {
        let table = RouteTable::from_compiled(name, vec![Arc::clone(&compiled)]);
        let empty = Arc::into_inner(virtual_host(name, &[domain], Vec::new())).unwrap();
        Arc::new(VirtualHost { table, ..empty })
    };
    mesh.hosts("reviews", vec![host("a", "reviews:9080"), host("b", "*")]);
    let router = mesh.router();
    let alone = router.ports(100);
    let ones = alone.iter().filter(|port| **port == 1).count();
    assert!((49..=51).contains(&ones), "{ones}");
}

#[test]
fn requests_in_flight_are_remembered_through_an_update_of_endpoints() {
    let mut least = cluster("v1", [1, 2]);
    least.policy = Policy::LeastRequest;
    let mut mesh = Mesh::of(vec![to("v1")], [least.clone()]);
    let router = mesh.router();
    let held: Vec<_> = (0..2).map(|_| router.to_reviews(&[]).unwrap()).collect();
    least.endpoints = endpoints([3, 2, 1]);
    mesh.cluster(least);
    router.publish(Arc::new(mesh.0.clone()));
    assert_eq!(router.ports(3), [3, 3, 3]);
    drop(held);
    let mut ports = router.ports(3);
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3]);
}

#[test]
fn a_call_ends_quietly_when_its_endpoint_or_cluster_has_left() {
    let mut mesh = Mesh::of(vec![to("v1")], [cluster("v1", [1, 2])]);
    let router = mesh.router();
    let mut calls: Vec<_> = (0..6).map(|_| router.to_reviews(&[]).unwrap()).collect();
    mesh.cluster(cluster("v1", [3]));
    router.publish(Arc::new(mesh.0.clone()));
    calls.pop().unwrap().succeeded(Some(503), Duration::ZERO);
    let reset = Failure::parse("connect-failure").unwrap();
    let mut moved = calls.pop().unwrap();
    assert_eq!(
        moved.failed(reset, None, Duration::ZERO),
        Some(Duration::ZERO)
    );
    assert_eq!(
        moved.place().address,
        address(3),
        "a retry takes the endpoints of now"
    );
    mesh.0.clusters.clear();
    router.publish(Arc::new(mesh.0.clone()));
    for mut call in calls {
        call.succeeded(Some(503), Duration::ZERO);
    }
    assert!(router.to_reviews(&[]).is_err());
    mesh.cluster(cluster("v1", [4]));
    router.publish(Arc::new(mesh.0.clone()));
    assert_eq!(router.ports(2), [4, 4]);
    drop(moved);
}

#[test]
fn limits_of_a_new_version_hold_for_the_calls_in_flight() {
    let mut mesh = Mesh::of(vec![to("v1")], [cluster("v1", [1])]);
    let router = mesh.router();
    let held: Vec<_> = (0..3).map(|_| router.to_reviews(&[]).unwrap()).collect();
    let mut limited = cluster("v1", [1]);
    limited.limits.max_requests = Some(3);
    mesh.cluster(limited);
    router.publish(Arc::new(mesh.0.clone()));
    assert!(matches!(router.to_reviews(&[]), Err(Refused::Overflow(_))));
    drop(held);
    assert_eq!(router.ports(3), [1, 1, 1]);
}

#[test]
fn an_endpoint_that_fails_is_left_out_for_a_while_and_through_updates() {
    let mut watched = cluster("v1", [1, 2, 3]);
    watched.outlier = Some(Box::new(outliers(3, ms(30_000))));
    let mut mesh = Mesh::of(vec![to("v1")], [watched.clone()]);
    let router = mesh.router();
    let use_at = |now: Duration| {
        let mut ports = Vec::new();
        for _ in 0..12 {
            let mut call = router.at(now);
            let port = call.place().address.port();
            call.succeeded(Some(if port == 2 { 503 } else { 200 }), now);
            ports.push(port);
        }
        ports
    };
    let first = use_at(ms(1_000));
    assert_eq!(first.iter().filter(|port| **port == 2).count(), 3);
    watched.endpoints = endpoints([4, 2, 1]);
    mesh.cluster(watched);
    router.publish(Arc::new(mesh.0.clone()));
    assert!(!use_at(ms(20_000)).contains(&2));
    let state = router.clusters().swap_remove(0);
    let ejected: Vec<_> = state.endpoints.iter().map(|one| one.ejected).collect();
    assert_eq!(ejected, [false, true, false]);
    let back = use_at(ms(60_000));
    assert!(back.contains(&2), "{back:?}");
}

#[test]
fn what_cannot_be_reached_is_left_out_and_what_is_abandoned_is_not_held_against_anyone() {
    let mut watched = cluster("v1", [1, 2]);
    watched.outlier = Some(Box::new(outliers(2, ms(30_000))));
    let router = Mesh::of(vec![to("v1")], [watched]).router();
    for _ in 0..20 {
        drop(router.at(ms(1)));
    }
    assert!(
        router.clusters()[0]
            .endpoints
            .iter()
            .all(|one| !one.ejected && one.errors == 0)
    );
    let refused = Failure::parse("connect-failure").unwrap();
    for _ in 0..8 {
        let mut call = router.at(ms(1));
        if call.place().address.port() == 1 {
            call.failed(refused, None, ms(1));
        }
        call.succeeded(None, ms(1));
    }
    let ejected: Vec<_> = router.clusters()[0]
        .endpoints
        .iter()
        .map(|one| one.ejected)
        .collect();
    assert_eq!(ejected, [true, false]);
}

#[test]
fn a_call_that_is_over_changes_nothing_any_more() {
    let router = Mesh::of(vec![to("v1")], [cluster("v1", [1])]).router();
    let active = || router.clusters()[0].endpoints[0].active;
    let held = router.to_reviews(&[]).unwrap();
    let mut call = router.to_reviews(&[]).unwrap();
    assert_eq!(active(), 2);
    call.succeeded(None, Duration::ZERO);
    call.succeeded(None, Duration::ZERO);
    call.abandoned();
    let reset = Failure::parse("reset").unwrap();
    assert_eq!(call.failed(reset, None, Duration::ZERO), None);
    drop(call);
    assert_eq!(active(), 1);
    drop(held);
    assert_eq!(active(), 0);
}
