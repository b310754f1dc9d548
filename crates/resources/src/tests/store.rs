//! Last good state, make before break, and what stays the same value.

use std::sync::Arc;

use prost::Message;

use super::*;

#[test]
fn a_cluster_appears_with_its_endpoints_and_not_before() {
    let mut store = Store::new();
    accept(
        &mut store,
        type_url::CLUSTER,
        "a",
        &eds_cluster("a", "service"),
    );
    assert!(store.snapshot().clusters.is_empty());
    assert_eq!(store.warming(), ["a".into()]);
    let one = assignment("service", vec![lb_endpoint("127.0.0.1", 9090)]);
    accept(&mut store, type_url::ENDPOINT, "service", &one);
    assert_eq!(held(&store, "a").endpoints.len(), 1);
    assert!(store.warming().is_empty());
}

#[test]
fn endpoints_that_come_before_their_cluster_are_kept_for_it() {
    let mut store = Store::new();
    let one = assignment("a", vec![lb_endpoint("127.0.0.1", 9090)]);
    accept(&mut store, type_url::ENDPOINT, "a", &one);
    accept(&mut store, type_url::CLUSTER, "a", &eds_cluster("a", ""));
    assert_eq!(held(&store, "a").endpoints.len(), 1);
}

#[test]
fn an_updated_cluster_is_the_old_one_until_its_new_endpoints_come() {
    let mut store = Store::new();
    accept(&mut store, type_url::CLUSTER, "a", &eds_cluster("a", "old"));
    let old = assignment("old", vec![lb_endpoint("127.0.0.1", 1)]);
    accept(&mut store, type_url::ENDPOINT, "old", &old);
    let before = held(&store, "a");
    accept(&mut store, type_url::CLUSTER, "a", &eds_cluster("a", "new"));
    assert!(Arc::ptr_eq(&before, &held(&store, "a")));
    let new = assignment("new", vec![lb_endpoint("127.0.0.1", 2)]);
    accept(&mut store, type_url::ENDPOINT, "new", &new);
    assert_eq!(held(&store, "a").endpoints[0].address.port(), 2);
}

#[test]
fn a_cluster_without_endpoints_is_there_once_the_server_says_so() {
    let mut store = Store::new();
    accept(&mut store, type_url::CLUSTER, "a", &eds_cluster("a", ""));
    accept(
        &mut store,
        type_url::ENDPOINT,
        "a",
        &assignment("a", vec![]),
    );
    assert!(held(&store, "a").endpoints.is_empty());
}

#[test]
fn a_removed_cluster_is_gone_at_once_though_a_route_still_names_it() {
    let mut store = Store::new();
    let routes = route_configuration("r", vec![to_cluster("", vec![], "a")]);
    accept(&mut store, type_url::ROUTE, "r", &routes);
    accept(
        &mut store,
        type_url::CLUSTER,
        "a",
        &static_cluster("a", vec![]),
    );
    store.update(type_url::CLUSTER, "2", &[], &["a"]);
    assert!(store.snapshot().clusters.is_empty());
    assert_eq!(
        &*store.snapshot().routes["r"].routes()[0].clusters.names()[0],
        "a"
    );
}

#[test]
fn endpoints_that_are_taken_away_stay_with_the_cluster_that_has_them() {
    let mut store = Store::new();
    let one = assignment("a", vec![lb_endpoint("127.0.0.1", 9090)]);
    accept(&mut store, type_url::CLUSTER, "a", &eds_cluster("a", ""));
    accept(&mut store, type_url::ENDPOINT, "a", &one);
    store.update(type_url::ENDPOINT, "2", &[], &["a"]);
    assert_eq!(held(&store, "a").endpoints.len(), 1);
    accept(&mut store, type_url::CLUSTER, "b", &eds_cluster("b", "a"));
    assert_eq!(
        store.warming(),
        ["b".into()],
        "a later cluster waits for new ones"
    );
}

#[test]
fn one_bad_resource_keeps_its_last_good_state_and_the_others_apply() {
    let mut store = Store::new();
    accept(
        &mut store,
        type_url::CLUSTER,
        "a",
        &static_cluster("a", vec![lb_endpoint("127.0.0.1", 1)]),
    );
    let bad = static_cluster("a", vec![lb_endpoint("example.com", 1)]).encode_to_vec();
    let good = static_cluster("b", vec![]).encode_to_vec();
    let resources: [(&str, &[u8]); 3] = [("a", &bad), ("b", &good), ("c", b"\xff")];
    let rejected = store.update(type_url::CLUSTER, "2", &resources, &[]);
    assert_eq!(
        rejected.iter().map(|one| &*one.name).collect::<Vec<_>>(),
        ["a", "c"]
    );
    assert_eq!(
        rejected[0].reason,
        "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: \
         \"example.com\" is no IP address, and names are not resolved here"
    );
    assert!(
        rejected[1]
            .reason
            .starts_with("not a valid envoy.config.cluster.v3.Cluster")
    );
    assert_eq!(held(&store, "a").endpoints[0].address.port(), 1);
    assert!(store.snapshot().clusters.contains_key("b"));
}

#[test]
fn a_resource_that_is_named_twice_is_refused_and_stays_what_it_was() {
    let mut store = Store::new();
    accept(
        &mut store,
        type_url::CLUSTER,
        "a",
        &static_cluster("a", vec![]),
    );
    let before = held(&store, "a");
    let (one, two) = (static_cluster("a", vec![]), eds_cluster("a", "x"));
    let (one, two) = (one.encode_to_vec(), two.encode_to_vec());
    let rejected = store.update(type_url::CLUSTER, "2", &[("a", &one), ("a", &two)], &[]);
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].reason, "is in the response twice");
    assert!(Arc::ptr_eq(&before, &held(&store, "a")));
}

#[test]
fn what_did_not_change_is_the_same_value() {
    let mut store = Store::new();
    let routes = |method: &str| {
        let exact = route::header_matcher::HeaderMatchSpecifier::ExactMatch(method.to_owned());
        route_configuration(
            "r",
            vec![to_cluster("", vec![header("method", exact)], "a")],
        )
    };
    accept(
        &mut store,
        type_url::CLUSTER,
        "a",
        &static_cluster("a", vec![]),
    );
    accept(
        &mut store,
        type_url::CLUSTER,
        "b",
        &static_cluster("b", vec![]),
    );
    accept(
        &mut store,
        type_url::LISTENER,
        "l",
        &tcp_listener("l", "127.0.0.1", 1, "a"),
    );
    accept(&mut store, type_url::ROUTE, "r", &routes("x"));
    let before = store.snapshot();
    accept(&mut store, type_url::ROUTE, "r", &routes("x"));
    accept(
        &mut store,
        type_url::CLUSTER,
        "b",
        &static_cluster("b", vec![]),
    );
    assert!(
        Arc::ptr_eq(&before, &store.snapshot()),
        "nothing changed at all"
    );
    let changed = static_cluster("b", vec![lb_endpoint("127.0.0.1", 1)]);
    accept(&mut store, type_url::CLUSTER, "b", &changed);
    accept(&mut store, type_url::ROUTE, "r", &routes("y"));
    let after = store.snapshot();
    assert!(Arc::ptr_eq(&before.clusters["a"], &after.clusters["a"]));
    assert!(Arc::ptr_eq(&before.listeners["l"], &after.listeners["l"]));
    assert!(Arc::ptr_eq(&before.peers, &after.peers));
    assert!(!Arc::ptr_eq(&before.clusters["b"], &after.clusters["b"]));
    assert!(!Arc::ptr_eq(&before.routes["r"], &after.routes["r"]));
}

#[test]
fn a_good_version_after_a_bad_one_applies_even_if_it_is_the_last_good_one() {
    let mut store = Store::new();
    let good = static_cluster("a", vec![]);
    accept(&mut store, type_url::CLUSTER, "a", &good);
    assert_eq!(
        put(
            &mut store,
            type_url::CLUSTER,
            "a",
            &static_cluster("b", vec![])
        )
        .len(),
        1
    );
    accept(&mut store, type_url::CLUSTER, "a", &good);
}

#[test]
fn a_route_configuration_stays_while_a_listener_asks_for_it() {
    let mut store = Store::new();
    accept(
        &mut store,
        type_url::LISTENER,
        "l",
        &super::listeners::rds_listener("l", "r"),
    );
    accept(
        &mut store,
        type_url::ROUTE,
        "r",
        &route_configuration("r", vec![]),
    );
    accept(
        &mut store,
        type_url::ROUTE,
        "other",
        &route_configuration("other", vec![]),
    );
    store.update(type_url::ROUTE, "2", &[], &["r", "other"]);
    let names: Vec<_> = store
        .snapshot()
        .routes
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["r"]);
    store.update(type_url::LISTENER, "2", &[], &["l"]);
    assert!(store.snapshot().routes.is_empty());
}

#[test]
fn a_listener_cannot_take_the_address_of_another() {
    let mut store = Store::new();
    accept(
        &mut store,
        type_url::LISTENER,
        "a",
        &tcp_listener("a", "127.0.0.1", 1, "x"),
    );
    let said = put(
        &mut store,
        type_url::LISTENER,
        "b",
        &tcp_listener("b", "127.0.0.1", 1, "x"),
    );
    assert_eq!(
        said,
        [r#"b: address: 127.0.0.1:1 is taken by listener "a""#]
    );
    // All of them come again, as in state of the world: still taken.
    let both = [
        ("b", tcp_listener("b", "127.0.0.1", 1, "x")),
        ("a", tcp_listener("a", "127.0.0.1", 1, "x")),
    ];
    let both = both.map(|(name, message)| (name, message.encode_to_vec()));
    let both: Vec<(&str, &[u8])> = both.iter().map(|(name, bytes)| (*name, &**bytes)).collect();
    assert_eq!(store.update(type_url::LISTENER, "2", &both, &[]).len(), 1);
}

#[test]
fn a_listener_takes_an_address_that_is_given_up_in_the_same_response() {
    let mut store = Store::new();
    accept(
        &mut store,
        type_url::LISTENER,
        "a",
        &tcp_listener("a", "127.0.0.1", 1, "x"),
    );
    let moved = tcp_listener("a", "127.0.0.1", 2, "x").encode_to_vec();
    let new = tcp_listener("b", "127.0.0.1", 1, "x").encode_to_vec();
    let rejected = store.update(type_url::LISTENER, "2", &[("b", &new), ("a", &moved)], &[]);
    assert_eq!(rejected, []);
    assert_eq!(store.snapshot().listeners.len(), 2);
    let renamed = tcp_listener("c", "127.0.0.1", 2, "x").encode_to_vec();
    assert_eq!(
        store.update(type_url::LISTENER, "3", &[("c", &renamed)], &["a"]),
        []
    );
}

#[test]
fn resources_of_an_unknown_type_are_all_refused() {
    let mut store = Store::new();
    let rejected = store.update(
        "type.googleapis.com/x.Y",
        "1",
        &[("a", b""), ("b", b"")],
        &["c"],
    );
    assert_eq!(rejected.len(), 2);
    assert_eq!(
        rejected[0].reason,
        "resources of type type.googleapis.com/x.Y are not used here"
    );
}

#[test]
fn a_resource_has_the_name_that_the_response_gives_it() {
    for (type_url, said) in [
        (
            type_url::LISTENER,
            refusal(
                type_url::LISTENER,
                "n",
                &tcp_listener("m", "127.0.0.1", 1, "x"),
            ),
        ),
        (
            type_url::ROUTE,
            refusal(type_url::ROUTE, "n", &route_configuration("m", vec![])),
        ),
        (
            type_url::CLUSTER,
            refusal(type_url::CLUSTER, "n", &static_cluster("m", vec![])),
        ),
        (
            type_url::ENDPOINT,
            refusal(type_url::ENDPOINT, "n", &assignment("m", vec![])),
        ),
    ] {
        assert!(
            said.ends_with(r#"name: "m", not "n""#),
            "{type_url}: {said}"
        );
    }
}
