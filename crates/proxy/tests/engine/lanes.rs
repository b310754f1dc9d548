//! Requests of lanes are counted by where their endpoint stood, and what leaves a lane is a leak.

use std::time::Duration;

use meltemi_proxy::Engine;
use meltemi_resources::{Endpoint, Health, OutlierDetection};

use crate::bed::{Client, Mesh, Server, cluster, config, free_address, start};
use crate::toy::{self, Toy};

const DEV: &str = "outbound|80|lane-dev|reviews";

/// A lane, then a lane that it falls back to, then the baseline. Who fails once is ejected.
fn mesh(own: &[Endpoint], others: &[(&Server, &str)]) -> Mesh {
    let mut all = own.to_vec();
    for (server, lane) in others {
        all.push(Endpoint {
            priority: if *lane == "baseline" { 2 } else { 1 },
            lane: Some((*lane).into()),
            ..Endpoint::new(server.address)
        });
    }
    let mut mesh = Mesh::of(&[]);
    mesh.routes = vec![("", vec![(DEV, 1)])];
    mesh.clusters = vec![cluster(DEV, &[])];
    let mut settings = OutlierDetection {
        interval: Duration::from_millis(100),
        base_ejection_time: Duration::from_secs(60),
        max_ejection_percent: 100,
        ..OutlierDetection::default()
    };
    settings.consecutive_gateway_failure.threshold = 1;
    settings.consecutive_gateway_failure.enforcing = 100;
    mesh.with(|cluster| {
        cluster.endpoints = all.into();
        cluster.outlier = Some(Box::new(settings));
        cluster.spread.overprovisioning = 100_000;
        cluster.spread.panic_threshold = 0;
    })
}

/// Of the lane: who answered how many, and the leaks.
fn counted(engine: &Engine) -> ([u64; 4], u64) {
    let stats = engine.stats();
    let one = |name: &str| {
        let name = format!("lane.reviews.dev.{name}");
        let mut found = stats.iter().filter(|(known, _)| *known == name);
        found.next().map_or(0, |(_, value)| *value)
    };
    let words = ["lane", "fallback", "baseline", "none"];
    let by = words.map(|who| one(&format!("answered_by_{who}")));
    (by, one("leaks"))
}

#[test]
fn a_request_counts_where_its_endpoint_stands() {
    let (own, blue, base) = (
        Server::start("dev"),
        Server::start("blue"),
        Server::start("base"),
    );
    let ill = Endpoint {
        health: Health::Unhealthy,
        ..Endpoint::new(own.address)
    };
    let others = [(&blue, "blue"), (&base, "baseline")];
    for (own, others, who, expected) in [
        (
            vec![Endpoint::new(own.address)],
            &others[..],
            "dev",
            [3, 0, 0, 0],
        ),
        (vec![ill.clone()], &others[..], "blue", [0, 3, 0, 0]),
        (vec![ill], &others[1..], "base", [0, 0, 3, 0]),
        (vec![], &others[1..], "base", [0, 0, 3, 0]),
    ] {
        let mesh = mesh(&own, others);
        let engine = start(config(Toy::with_ids()), &mesh);
        let mut client = Client::connect(mesh.address);
        for id in 1..=3 {
            assert_eq!(client.call(id, "echo", "x").text(), format!("x@{who}"));
        }
        assert_eq!(counted(&engine), (expected, 0), "{who}");
    }
}

#[test]
fn an_error_that_an_endpoint_answers_is_an_answer_and_one_of_ours_is_none() {
    let own = Server::start("dev");
    let mesh = mesh(&[Endpoint::new(own.address)], &[]);
    let mut config = config(Toy::with_ids());
    config.limits.request_timeout = Duration::from_millis(50);
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    assert_eq!(client.call(1, "fail", "").kind, toy::FAILURE);
    assert!(client.call(2, "never", "").text().starts_with("timeout: "));
    let (by, leaks) = counted(&engine);
    assert_eq!((by, leaks), ([1, 0, 0, 1], 0));
}

#[test]
fn a_lane_whose_instance_is_found_ill_in_time_does_not_leak() {
    let base = Server::start("base");
    let mesh = mesh(&[Endpoint::new(free_address())], &[(&base, "baseline")]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 1..=3 {
        assert_eq!(client.call(id, "echo", "x").text(), "x@base");
    }
    assert_eq!(counted(&engine), ([0, 0, 3, 0], 0));
}

#[test]
fn a_lane_whose_instance_nobody_takes_for_ill_leaks() {
    let base = Server::start("base");
    let mesh = mesh(&[Endpoint::new(free_address())], &[(&base, "baseline")]);
    let mesh = mesh.with(|cluster| cluster.outlier = None);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 1..=3 {
        assert_eq!(client.call(id, "echo", "x").text(), "x@base");
    }
    assert_eq!(counted(&engine), ([0, 0, 3, 0], 3));
    let text = engine.prometheus();
    let labels = "lane=\"dev\",service=\"reviews\"";
    for line in [
        format!("meltemi_lane_requests_total{{{labels},answered_by=\"baseline\"}} 3\n"),
        format!("meltemi_lane_requests_total{{{labels},answered_by=\"none\"}} 0\n"),
        format!("meltemi_lane_leaks_total{{{labels}}} 3\n"),
    ] {
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}
