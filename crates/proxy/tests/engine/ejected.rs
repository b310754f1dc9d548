//! Endpoints that fail are left out for a while, and load has bounds.

use std::time::Duration;

use meltemi_proxy::Engine;
use meltemi_resources::{CircuitBreakers, Endpoint, OutlierDetection};

use crate::bed::{Client, Mesh, Server, config, free_address, start, stat, until};
use crate::toy::{self, Message, Toy};

/// Three failures in a row eject for 300 ms; nobody panics.
fn watching(servers: &[&Server]) -> Mesh {
    let mut settings = OutlierDetection {
        interval: Duration::from_millis(100),
        base_ejection_time: Duration::from_millis(300),
        max_ejection_percent: 100,
        ..OutlierDetection::default()
    };
    settings.consecutive_5xx.threshold = 3;
    Mesh::of(servers).with(|cluster| {
        cluster.outlier = Some(Box::new(settings));
        cluster.spread.panic_threshold = 0;
    })
}

fn ejected(engine: &Engine) -> u64 {
    stat(engine, "outlier_detection.ejections_active")
}

#[test]
fn an_endpoint_that_answers_errors_is_ejected_and_comes_back() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mesh = watching(&[&a, &b]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let mut id = 0;
    while ejected(&engine) == 0 {
        id += 1;
        assert!(id <= 5, "the third error of one of two ejects it");
        assert_eq!(client.call(id, "fail", "").kind, toy::FAILURE);
    }
    let state = &engine.clusters()[0];
    let out: Vec<_> = state.endpoints.iter().filter(|one| one.ejected).collect();
    assert_eq!((out.len(), out[0].healthy), (1, false));
    let other = if out[0].address == a.address {
        "b"
    } else {
        "a"
    };
    for id in 100..110 {
        assert_eq!(client.call(id, "echo", "x").text(), format!("x@{other}"));
    }
    assert_eq!(stat(&engine, "membership_healthy"), 1);
    until("back", || ejected(&engine) == 0);
    let replies: Vec<String> = (200..204)
        .map(|id| client.call(id, "echo", "x").text())
        .collect();
    assert!(replies.contains(&"x@a".to_owned()) && replies.contains(&"x@b".to_owned()));
    assert_eq!(stat(&engine, "ejections_enforced_consecutive_5xx"), 1);
}

#[test]
fn an_endpoint_that_refuses_connections_is_ejected_and_costs_no_more_attempts() {
    let server = Server::start("a");
    let nobody = free_address();
    let mesh = watching(&[&server]).with(|cluster| {
        let both = [cluster.endpoints[0].clone(), Endpoint::new(nobody)];
        cluster.endpoints = both.into();
    });
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 1..=20 {
        // Not one request fails: what was not sent goes elsewhere.
        assert_eq!(client.call(id, "echo", "x").text(), "x@a");
    }
    assert_eq!(stat(&engine, "upstream_cx_connect_fail"), 3);
    let state = &engine.clusters()[0];
    assert!(!state.endpoints[0].ejected && state.endpoints[1].ejected);
}

#[test]
fn when_all_are_ejected_there_is_nobody_left_unless_the_cluster_panics() {
    for panics in [false, true] {
        let server = Server::start("a");
        let mesh = watching(&[&server]).with(|cluster| {
            cluster.spread.panic_threshold = if panics { 50 } else { 0 };
        });
        let engine = start(config(Toy::with_ids()), &mesh);
        let mut client = Client::connect(mesh.address);
        for id in 1..=3 {
            assert_eq!(client.call(id, "fail", "").kind, toy::FAILURE);
        }
        assert_eq!(ejected(&engine), 1);
        let expected = if panics {
            "x@a"
        } else {
            "no_healthy_upstream: no healthy upstream for 'one'"
        };
        assert_eq!(client.call(4, "echo", "x").text(), expected);
    }
}

#[test]
fn replies_that_never_come_and_connections_that_break_count_as_failures() {
    for (method, kind) in [("never", "timeout"), ("reset", "reset")] {
        let (bad, good) = (Server::start("bad"), Server::start("good"));
        let mesh = watching(&[&bad, &good]);
        let mut config = config(Toy::with_ids());
        config.limits.request_timeout = Duration::from_millis(50);
        let engine = start(config, &mesh);
        let mut client = Client::connect(mesh.address);
        for id in 1..=6 {
            client.call(id, method, "");
        }
        assert!(ejected(&engine) > 0, "{kind}");
    }
}

#[test]
fn the_second_priority_takes_over_when_the_first_one_is_ejected() {
    let (first, second) = (Server::start("first"), Server::start("second"));
    let mesh = watching(&[&first, &second]).with(|cluster| {
        let mut endpoints = cluster.endpoints.to_vec();
        endpoints[1].priority = 1;
        cluster.endpoints = endpoints.into();
    });
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 1..=3 {
        assert_eq!(client.call(id, "fail", "").kind, toy::FAILURE);
    }
    for id in 10..20 {
        assert_eq!(client.call(id, "echo", "x").text(), "x@second");
    }
    until("back", || ejected(&engine) == 0);
    for id in 20..30 {
        assert_eq!(client.call(id, "echo", "x").text(), "x@first");
    }
}

fn limited(limits: CircuitBreakers, server: &Server) -> Mesh {
    Mesh::of(&[server]).with(|cluster| cluster.limits = limits)
}

/// How `count` requests at once end: replies, and what the others are told.
fn at_once(mesh: &Mesh, count: u64) -> (usize, Vec<String>) {
    let mut client = Client::connect(mesh.address);
    for id in 0..count {
        client.send(&Message::request(id, "slow50", b"x"));
    }
    let replies: Vec<Message> = (0..count).map(|_| client.receive()).collect();
    let (good, told): (Vec<_>, Vec<_>) = replies.iter().partition(|one| one.kind == toy::REPLY);
    (good.len(), told.iter().map(|one| one.text()).collect())
}

#[test]
fn no_more_requests_are_in_flight_to_a_cluster_than_it_allows() {
    let server = Server::start("a");
    let limits = CircuitBreakers {
        max_requests: Some(3),
        ..CircuitBreakers::default()
    };
    let mesh = limited(limits, &server);
    let engine = start(config(Toy::with_ids()), &mesh);
    let (good, told) = at_once(&mesh, 5);
    assert_eq!(good, 3);
    let text = "overflow: too many requests are in flight to 'one', at most 3";
    assert_eq!(told, [text, text]);
    assert_eq!(stat(&engine, "upstream_rq_pending_overflow"), 2);
    // All of it is given back.
    assert_eq!(at_once(&mesh, 3).0, 3);
}

#[test]
fn no_more_requests_wait_for_a_connection_than_the_cluster_allows() {
    let server = Server::start("a");
    let limits = CircuitBreakers {
        max_connections: Some(1),
        max_pending_requests: Some(2),
        ..CircuitBreakers::default()
    };
    let mesh = limited(limits, &server);
    let engine = start(config(Toy::with_ids()), &mesh);
    assert_eq!(
        Client::connect(mesh.address).call(1, "echo", "x").text(),
        "x@a"
    );
    let (good, told) = at_once(&mesh, 5);
    assert_eq!(good, 3, "one on the connection, two that wait");
    let text = "overflow: too many requests wait for a connection of 'one', at most 2";
    assert_eq!(told, [text, text]);
    assert_eq!(at_once(&mesh, 3).0, 3);
    assert_eq!(stat(&engine, "upstream_cx_total"), 1);
}
