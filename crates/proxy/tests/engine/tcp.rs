//! Ports without a codec: bytes forwarded as TCP.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;

use crate::bed::{Client, Mesh, Server, cluster, config, free_address, start, stat, until};
use crate::toy::Toy;

fn tunnel(servers: &[&Server]) -> Mesh {
    Mesh {
        tcp: true,
        ..Mesh::of(servers)
    }
}

#[test]
fn connections_go_to_the_endpoints_in_turn_and_are_counted() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mesh = tunnel(&[&a, &b]);
    let engine = start(config(Toy::with_ids()), &mesh);
    for _ in 0..10 {
        let mut client = Client::connect(mesh.address);
        let first = client.call(1, "echo", "x").text();
        assert_eq!(
            client.call(2, "echo", "x").text(),
            first,
            "one connection, one endpoint"
        );
    }
    assert_eq!((a.connections(), b.connections()), (5, 5));
    until("all closed", || stat(&engine, "downstream_cx_active") == 0);
    let text = engine.prometheus();
    let value = |name: &str| -> u64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")))
            .unwrap();
        assert!(line.contains("reporter=\"source\"") && line.contains("source_workload=\"me\""));
        assert!(
            line.contains("destination_workload=\"one-workload\""),
            "{line}"
        );
        assert!(line.contains("request_protocol=\"tcp\""), "{line}");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value("istio_tcp_connections_opened_total"), 10);
    assert_eq!(value("istio_tcp_connections_closed_total"), 10);
    assert_eq!(value("istio_tcp_received_bytes_total"), 20 * 19);
    assert_eq!(value("istio_tcp_sent_bytes_total"), 20 * 21);
    assert_eq!(stat(&engine, "upstream_cx_active"), 0);
}

#[test]
fn a_half_closed_side_still_gets_the_other_sides_bytes() {
    let listener = TcpListener::bind(free_address()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        // Answers only after the client's FIN came through.
        stream.read_to_end(&mut all).unwrap();
        all.reverse();
        stream.write_all(&all).unwrap();
    });
    let mut mesh = tunnel(&[]);
    mesh.clusters = vec![cluster("one", &[address])];
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    client.0.write_all(&bytes).unwrap();
    client.0.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    client.0.read_to_end(&mut back).unwrap();
    back.reverse();
    assert!(back == bytes);
    server.join().unwrap();
    until("closed", || stat(&engine, "downstream_cx_active") == 0);
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_passed_over_and_none_at_all_closes_the_connection() {
    let server = Server::start("a");
    let mut mesh = tunnel(&[&server]);
    mesh.clusters = vec![cluster("one", &[free_address(), server.address])];
    let engine = start(config(Toy::with_ids()), &mesh);
    for _ in 0..4 {
        assert_eq!(
            Client::connect(mesh.address).call(1, "echo", "x").text(),
            "x@a"
        );
    }
    let mesh = Mesh {
        clusters: vec![cluster("one", &[free_address()])],
        ..mesh
    };
    engine.publish(mesh.snapshot());
    until("the tables are in force", || {
        stat(&engine, "meltemi.snapshots_total") == 2
    });
    assert!(Client::connect(mesh.address).is_closed());
}

#[test]
fn a_reset_on_one_side_ends_the_other() {
    let server = Server::start("a");
    let mesh = tunnel(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(1, "echo", "x");
    client.abort();
    until("the server's side is closed", || server.open() == 0);
    until("closed", || stat(&engine, "downstream_cx_active") == 0);
}
