//! Requests that go where their hash leads.

use meltemi_resources::Policy;
use meltemi_routing::{HashPolicy, HashSource};

use crate::bed::{Client, Mesh, Server, config, start, stat, until};
use crate::toy::Toy;

const POLICIES: [Policy; 2] = [
    Policy::RingHash {
        min: 1024,
        max: 8 << 20,
    },
    Policy::Maglev { table_size: 65537 },
];

fn policy(source: HashSource) -> Vec<HashPolicy> {
    vec![HashPolicy {
        source,
        terminal: false,
    }]
}

fn mesh(servers: &[&Server], by: Policy, source: HashSource) -> Mesh {
    let mut mesh = Mesh::of(servers).with(|cluster| cluster.policy = by);
    mesh.hash_policy = policy(source);
    mesh
}

fn counts(servers: &[Server]) -> Vec<usize> {
    servers
        .iter()
        .map(|server| server.requests() as usize)
        .collect()
}

fn all(servers: &[Server]) -> Vec<&Server> {
    servers.iter().collect()
}

fn by_method() -> HashSource {
    HashSource::Attribute("method".into())
}

#[test]
fn requests_with_one_value_go_to_one_endpoint_and_other_values_to_others() {
    for by in POLICIES {
        for max_in_flight in [1, 100] {
            let servers = ["a", "b", "c", "d"].map(Server::start);
            let mesh = mesh(&all(&servers), by, by_method())
                .with(|cluster| cluster.max_in_flight = Some(max_in_flight));
            let _engine = start(config(Toy::with_ids()), &mesh);
            let mut used = Vec::new();
            for method in 0..40 {
                let before = counts(&servers);
                // Two connections: what a connection was used for does not matter.
                for _ in 0..2 {
                    let mut client = Client::connect(mesh.address);
                    for id in 0..5 {
                        client.call(id, &format!("echo{method}"), "x");
                    }
                }
                let after = counts(&servers);
                let took: Vec<usize> = (0..4).filter(|at| after[*at] > before[*at]).collect();
                assert_eq!(took.len(), 1, "{by:?} {before:?} {after:?}");
                assert_eq!(after[took[0]] - before[took[0]], 10);
                used.push(took[0]);
            }
            assert!((0..4).all(|at| used.contains(&at)), "{by:?} {used:?}");
        }
    }
}

#[test]
fn one_callers_requests_and_connections_go_to_one_endpoint() {
    for tcp in [false, true] {
        let servers = ["a", "b", "c"].map(Server::start);
        let mut mesh = mesh(&all(&servers), POLICIES[0], HashSource::SourceIp);
        mesh.tcp = tcp;
        let _engine = start(config(Toy::with_ids()), &mesh);
        for id in 0..20 {
            Client::connect(mesh.address).call(id, &format!("echo{id}"), "x");
        }
        let mut seen = counts(&servers);
        seen.sort_unstable();
        assert_eq!(seen, [0, 0, 20], "tcp: {tcp}");
    }
}

#[test]
fn without_the_attribute_requests_are_spread() {
    let servers = ["a", "b", "c"].map(Server::start);
    let missing = HashSource::Attribute("lane".into());
    let mesh = mesh(&all(&servers), POLICIES[0], missing);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..90 {
        client.call(id, "echo", "x");
    }
    assert!(
        counts(&servers).iter().all(|count| *count > 10),
        "{:?}",
        counts(&servers)
    );
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_stood_in_for_by_always_the_same_one() {
    let servers = ["a", "b", "c"].map(Server::start);
    let gone = crate::bed::free_address();
    let mesh = mesh(&all(&servers), POLICIES[0], by_method()).with(|cluster| {
        let mut endpoints = cluster.endpoints.to_vec();
        let mut dead = endpoints[0].clone();
        dead.address = gone;
        endpoints.push(dead);
        cluster.endpoints = endpoints.into();
    });
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for method in 0..30 {
        let before = counts(&servers);
        for id in 0..4 {
            client.call(id, &format!("echo{method}"), "x");
        }
        let after = counts(&servers);
        let moved = (0..3).filter(|at| after[*at] > before[*at]).count();
        assert_eq!(moved, 1, "{before:?} {after:?}");
    }
    until("retries", || stat(&engine, "upstream_rq_retry") > 0);
}
