//! From a listener's name to an endpoint.

use meltemi_proxyless::Refused;
use meltemi_resources::{RouteSource, RouteTable, type_url};
use meltemi_routing::{Answer, HashPolicy, HashSource, Mutation, Mutations, Request, Route};
use std::sync::Arc;
use std::time::Duration;

use crate::bed::{
    Calls, Headers, Mesh, REVIEWS, cluster, only, target, to, virtual_host, weighted, with,
};

fn missing(refused: Refused) -> Vec<(&'static str, String)> {
    let Refused::NotKnown(missing) = refused else {
        panic!("{refused}");
    };
    missing
        .into_iter()
        .map(|(kind, name)| (kind, name.to_string()))
        .collect()
}

#[test]
fn each_missing_resource_is_named_as_soon_as_it_is_known_to_be_needed() {
    let mut mesh = Mesh::default();
    let said = |mesh: &Mesh| missing(mesh.router().to_reviews(&[]).unwrap_err());
    assert_eq!(said(&mesh), [(type_url::LISTENER, REVIEWS.to_owned())]);

    mesh.listener(REVIEWS, Some(RouteSource::Rds("reviews".into())), None);
    assert_eq!(said(&mesh), [(type_url::ROUTE, "reviews".to_owned())]);

    let route = weighted([("v1", 80), ("v2", 20), ("v3", 0)]);
    mesh.hosts(
        "reviews",
        vec![virtual_host("reviews", &["*"], vec![route])],
    );
    let both = [
        (type_url::CLUSTER, "v1".to_owned()),
        (type_url::CLUSTER, "v2".to_owned()),
    ];
    assert_eq!(said(&mesh), both);

    mesh.0.waiting.insert("v2".into(), "v2-service".into());
    let both = [
        (type_url::CLUSTER, "v1".to_owned()),
        (type_url::ENDPOINT, "v2-service".to_owned()),
    ];
    assert_eq!(said(&mesh), both);
}

#[test]
fn routes_in_the_listener_need_no_route_configuration() {
    let mut mesh = Mesh::of(vec![to("v1")], [cluster("v1", [1])]);
    let hosts = Arc::clone(&mesh.0.routes["reviews"]);
    mesh.0.routes.clear();
    mesh.listener(REVIEWS, Some(RouteSource::Inline(hosts)), None);
    assert_eq!(mesh.router().ports(2), [1, 1]);
}

#[test]
fn the_authority_chooses_the_virtual_host() {
    let mut mesh = Mesh::of(vec![], [cluster("a", [1]), cluster("b", [2])]);
    let hosts = [("a", "a.example"), ("b", "*.example")];
    let hosts = hosts.map(|(name, domain)| virtual_host(name, &[domain], vec![to(name)]));
    mesh.hosts("reviews", hosts.to_vec());
    let router = mesh.router();
    let port = |authority: &'static str| {
        let none: Headers<'_> = &[];
        let request = Request::new("POST", "http", authority, "/", none);
        let mut target = target(REVIEWS);
        target.authority = authority;
        let call = router.call(&target, &request, Duration::ZERO)?;
        Ok::<_, Refused>(call.place().address.port())
    };
    assert_eq!(port("a.example"), Ok(1));
    assert_eq!(port("c.example"), Ok(2));
    let reason = "none of the 2 virtual hosts of \"reviews\" is for \"elsewhere\"";
    assert_eq!(port("elsewhere"), Err(Refused::NoRoute(reason.to_owned())));
}

#[test]
fn the_first_route_that_matches_is_taken() {
    let routes = vec![only("dev", "x-lane", "dev", to("v2")), to("v1")];
    let mesh = Mesh::of(routes, [cluster("v1", [1]), cluster("v2", [2])]);
    let router = mesh.router();
    let dev = router.to_reviews(&[("X-Lane", "dev")]).unwrap();
    assert_eq!((&**dev.route(), &**dev.cluster()), ("dev", "v2"));
    let other = router.to_reviews(&[("x-lane", "prod")]).unwrap();
    assert_eq!((&**other.route(), &**other.cluster()), ("the-route", "v1"));
}

#[test]
fn a_call_that_no_route_is_for_is_refused_with_the_virtual_host() {
    let mesh = Mesh::of(vec![only("dev", "x-lane", "dev", to("v2"))], []);
    let reason = "none of the 1 routes of virtual host \"reviews\" (reviews) is for this call";
    let refused = mesh.router().to_reviews(&[]).unwrap_err();
    assert_eq!(refused, Refused::NoRoute(reason.to_owned()));
}

#[test]
fn thrift_calls_take_the_routes_of_a_thrift_proxy_and_then_those_of_http() {
    let mut mesh = Mesh::of(
        vec![to("http")],
        [cluster("http", [1]), cluster("thrift", [2])],
    );
    let table = RouteTable::new(
        "",
        vec![only("thrift", "method", "ReviewProduct", to("thrift"))],
    );
    mesh.listener(
        REVIEWS,
        Some(RouteSource::Rds("reviews".into())),
        Some(table.unwrap()),
    );
    let router = mesh.router();
    let cluster = |thrift: bool, method: &str| {
        let headers: Headers<'_> = &[("method", method)];
        let request = Request::new("POST", "http", REVIEWS, "/", headers);
        let mut target = target(REVIEWS);
        target.thrift = thrift;
        let call = router.call(&target, &request, Duration::ZERO).unwrap();
        call.cluster().to_string()
    };
    assert_eq!(cluster(true, "ReviewProduct"), "thrift");
    assert_eq!(cluster(true, "Other"), "http");
    assert_eq!(cluster(false, "ReviewProduct"), "http");
}

#[test]
fn calls_by_a_listener_that_only_forwards_connections_go_where_these_go() {
    let mut mesh = Mesh::of(
        vec![to("http")],
        [cluster("http", [1]), cluster("tcp", [2])],
    );
    let table = Arc::new(RouteTable::new("", vec![to("tcp")]).unwrap());
    for (http, name) in [
        (Some(RouteSource::Rds("reviews".into())), "http"),
        (None, "tcp"),
    ] {
        let listener = meltemi_resources::ClientListener {
            name: REVIEWS.into(),
            http,
            thrift: None,
            tcp: Some(Arc::clone(&table)),
            notes: Box::default(),
        };
        mesh.0.listeners.insert(REVIEWS.into(), Arc::new(listener));
        let router = mesh.router();
        assert_eq!(&**router.to_reviews(&[]).unwrap().cluster(), name);
        let taken = router.explained(&[]).taken.unwrap();
        assert_eq!(taken.cluster.as_deref(), Some(name));
    }
}

#[test]
fn a_route_that_answers_is_no_call() {
    let response = Answer::Response {
        status: 418,
        body: "short and stout".into(),
    };
    let refused = |answer| {
        let route = with(to("v1"), |http| http.answer = Some(answer));
        Mesh::of(vec![route], [])
            .router()
            .to_reviews(&[])
            .unwrap_err()
    };
    let answer = Refused::DirectResponse(418, "short and stout".into());
    assert_eq!(refused(response), answer);
    let reason = "a redirect cannot be followed";
    assert_eq!(
        refused(Answer::Refused(reason.into())),
        Refused::NoRoute(reason.to_owned())
    );
}

#[test]
fn any_thousand_calls_are_within_one_percent_of_the_weights() {
    let route = weighted([("v1", 80), ("v2", 15), ("v3", 5)]);
    let clusters = [cluster("v1", [1]), cluster("v2", [2]), cluster("v3", [3])];
    let ports = Mesh::of(vec![route], clusters).router().ports(5_000);
    for window in ports.windows(1_000) {
        for (port, share) in [(1, 800), (2, 150), (3, 50)] {
            let count = window.iter().filter(|one| **one == port).count() as i64;
            assert!((count - share).abs() <= 10, "{port}: {count}, not {share}");
        }
    }
}

#[test]
fn a_call_of_a_cluster_that_is_not_known_takes_nobody_elses_turn() {
    let route = weighted([("v1", 1), ("v2", 1)]);
    let whole = Mesh::of(
        vec![route.clone()],
        [cluster("v1", [1]), cluster("v2", [2])],
    );
    let half = Mesh::of(vec![route], [cluster("v1", [1])]);
    let (expected, router) = (whole.router().ports(20), half.router());
    let mut seen = Vec::new();
    for want in &expected {
        match router.to_reviews(&[]) {
            Ok(mut call) => {
                call.succeeded(None, Duration::ZERO);
                seen.push(call.place().address.port());
            }
            Err(refused) => {
                assert_eq!(missing(refused), [(type_url::CLUSTER, "v2".to_owned())]);
                assert_eq!(*want, 2);
                router.publish(Arc::new(whole.0.clone()));
                seen.extend(router.ports(1));
                router.publish(Arc::new(half.0.clone()));
            }
        }
    }
    assert_eq!(seen, expected);
}

#[test]
fn a_key_stays_with_its_endpoint() {
    let route = Route {
        hash_policy: vec![HashPolicy {
            source: HashSource::Attribute("user".into()),
            terminal: false,
        }],
        ..to("v1")
    };
    let mut ring = cluster("v1", 1..=8);
    ring.policy = meltemi_resources::Policy::Maglev { table_size: 251 };
    ring.table =
        meltemi_resources::HashTable::new(ring.policy, &ring.spread, &ring.endpoints).map(Arc::new);
    let router = Mesh::of(vec![route], [ring]).router();
    let port = |user: &str| {
        let mut call = router.to_reviews(&[("user", user)]).unwrap();
        call.succeeded(None, Duration::ZERO);
        call.place().address.port()
    };
    let users: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let first: Vec<u16> = users.iter().map(|user| port(user)).collect();
    let second: Vec<u16> = users.iter().map(|user| port(user)).collect();
    assert_eq!(first, second);
    assert!((1..=8).all(|port| first.contains(&port)));
}

#[test]
fn calls_are_spread_over_endpoints_by_what_is_in_flight() {
    let mut least = cluster("v1", 1..=4);
    least.policy = meltemi_resources::Policy::LeastRequest;
    let router = Mesh::of(vec![to("v1")], [least]).router();
    let mut held: Vec<_> = (0..4).map(|_| router.to_reviews(&[]).unwrap()).collect();
    let mut ports: Vec<_> = held
        .iter()
        .map(|call| call.place().address.port())
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3, 4]);
    let mut done = held.swap_remove(2);
    let free = done.place().address.port();
    done.succeeded(None, Duration::ZERO);
    assert_eq!(router.ports(3), [free; 3]);
}

#[test]
fn a_cluster_takes_no_more_requests_than_its_limit() {
    let mut limited = cluster("v1", [1, 2]);
    limited.limits.max_requests = Some(2);
    let router = Mesh::of(vec![to("v1")], [limited]).router();
    let mut first = router.to_reviews(&[]).unwrap();
    let second = router.to_reviews(&[]).unwrap();
    let reason = "cluster 'v1' has 2 requests in flight, its limit";
    assert_eq!(
        router.to_reviews(&[]).unwrap_err(),
        Refused::Overflow(reason.to_owned())
    );
    first.succeeded(None, Duration::ZERO);
    let third = router.to_reviews(&[]).unwrap();
    assert!(router.to_reviews(&[]).is_err());
    drop(second);
    drop(third);
    assert_eq!(router.ports(4).len(), 4);
}

#[test]
fn a_cluster_that_must_not_be_used_is_not() {
    let mut refusing = cluster("v1", [1]);
    refusing.refuse = Some("it asks for TLS".into());
    let refused = Mesh::of(vec![to("v1")], [refusing])
        .router()
        .to_reviews(&[])
        .unwrap_err();
    let reason = "cluster 'v1' cannot be used: it asks for TLS";
    assert_eq!(refused, Refused::NoEndpoint(reason.to_owned()));
}

#[test]
fn a_cluster_without_endpoints_says_so() {
    let refused = Mesh::of(vec![to("v1")], [cluster("v1", [])])
        .router()
        .to_reviews(&[])
        .unwrap_err();
    let reason = "no healthy upstream for 'v1'";
    assert_eq!(refused, Refused::NoEndpoint(reason.to_owned()));
}

#[test]
fn changes_are_those_of_cluster_route_and_virtual_host_in_this_order() {
    let set = |value: &str| Mutation::Set("x".into(), value.into());
    let of = |value: &str| Mutations {
        request: vec![set(value)],
        response: Vec::new(),
    };
    let mut route = with(to("v1"), |http| http.of_cluster = Box::new([of("cluster")]));
    route.request_mutation = vec![set("route")];
    let mut mesh = Mesh::of(Vec::new(), [cluster("v1", [1])]);
    let mut host = Arc::into_inner(virtual_host("reviews", &["*"], vec![route])).unwrap();
    host.mutations = of("host");
    mesh.hosts("reviews", vec![Arc::new(host)]);
    let call = mesh.router().to_reviews(&[]).unwrap();
    let all: Vec<_> = call.request_changes().cloned().collect();
    assert_eq!(all, ["cluster", "route", "host"].map(set));
    assert_eq!(call.response_changes().count(), 0);
}
