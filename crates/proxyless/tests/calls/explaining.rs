//! What a call would do, and that it then does it.

use std::sync::Arc;
use std::time::Duration;

use meltemi_proxyless::Refused;
use meltemi_resources::{RouteSource, type_url};
use proptest::prelude::*;

use crate::bed::{Calls, Mesh, REVIEWS, cluster, ms, only, retried, retry, to, weighted, with};

#[test]
fn each_route_is_said_up_to_the_one_that_is_taken() {
    let routes = vec![
        only("dev", "x-lane", "dev", to("v3")),
        retried(
            with(weighted([("v1", 80), ("v2", 20)]), |http| {
                http.timeout = Some(ms(500))
            }),
            retry("5xx", 2),
        ),
        to("v3"),
    ];
    let router = Mesh::of(routes, [cluster("v1", [1, 2])]).router();
    let all = router.explained(&[("x-lane", "prod")]);
    let said: Vec<_> = all
        .routes
        .iter()
        .map(|(trace, _)| (&*trace.name, trace.matched))
        .collect();
    assert_eq!(said, [("dev", false), ("the-route", true)]);
    let reason = all.routes[0].0.conditions[0].to_string();
    assert_eq!(
        reason,
        "x-lane is \"prod\": x-lane exact \"dev\" does not hold"
    );
    assert_eq!(all.configuration.as_deref(), Some("reviews"));
    assert_eq!(all.virtual_host.as_deref(), Some("reviews"));
    let taken = all.taken.unwrap();
    assert_eq!(taken.timeout, Some(ms(500)));
    assert_eq!(taken.retry.unwrap().num_retries, 2);
    let clusters: Vec<_> = taken
        .clusters
        .iter()
        .map(|(name, weight, state)| (&**name, *weight, state.is_some()))
        .collect();
    assert_eq!(clusters, [("v1", 80, true), ("v2", 20, false)]);
}

#[test]
fn what_is_missing_is_said_with_as_much_as_is_known() {
    let mut mesh = Mesh::of(vec![to("v1")], []);
    let all = mesh.router().explained(&[]);
    let missing = vec![(type_url::CLUSTER, Arc::from("v1"))];
    assert_eq!(all.refused, Some(Refused::NotKnown(missing)));
    assert_eq!(&*all.taken.unwrap().route.name, "the-route");

    mesh.0.routes.clear();
    let all = mesh.router().explained(&[]);
    let missing = vec![(type_url::ROUTE, Arc::from("reviews"))];
    assert_eq!(all.refused, Some(Refused::NotKnown(missing)));
    assert!(all.taken.is_none());

    mesh.listener(REVIEWS, None, None);
    let reason = "listener \"reviews:9080\" has no routes for this call";
    let refused = Some(Refused::NoRoute(reason.to_owned()));
    assert_eq!(mesh.router().explained(&[]).refused, refused);
}

#[test]
fn notes_of_the_route_and_of_its_retries_are_said() {
    let route = retried(to("v1"), retry("5xx,retriable-headers", 1));
    let route = with(route, |http| {
        http.notes = Box::new(["a mirror has no effect".into()])
    });
    let mut mesh = Mesh::of(vec![route], [cluster("v1", [1])]);
    let source = Some(RouteSource::Rds("reviews".into()));
    mesh.listener(REVIEWS, source, None);
    let notes = mesh.router().explained(&[]).notes;
    let retries = "retry_on retriable-headers never holds: headers of replies are not looked at";
    assert_eq!(notes, ["a mirror has no effect".into(), retries.into()]);
}

proptest! {
    #[test]
    fn the_cluster_and_the_endpoint_that_are_said_are_those_of_the_next_call(
        weights in prop::collection::vec(0_u32..10, 1..4),
        ports in prop::collection::vec(1_u16..6, 1..4),
        calls in 1_usize..40,
    ) {
        let names = ["a", "b", "c"];
        let mut weights = weights;
        weights[0] += 1;
        let clusters = names.iter().zip(&ports).enumerate();
        let clusters = clusters.map(|(place, (name, count))| {
            let first = (place as u16 + 1) * 100;
            cluster(name, first..first + count)
        });
        let known = ports.len().min(weights.len());
        let pairs = names.iter().copied().zip(weights.iter().copied().take(known));
        let router = Mesh::of(vec![weighted(pairs)], clusters).router();
        for _ in 0..calls {
            let taken = router.explained(&[]).taken.unwrap();
            let mut call = router.to_reviews(&[]).unwrap();
            prop_assert_eq!(taken.cluster.as_ref(), Some(call.cluster()));
            prop_assert_eq!(taken.endpoint, Some(call.place().address));
            call.succeeded(None, Duration::ZERO);
        }
    }
}
