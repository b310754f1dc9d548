//! What the caller is told when there is no answer from an upstream.

use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use meltemi_resources::{Endpoint, Health};

use crate::bed::{Client, Mesh, Server, cluster, config, free_address, start, stat, until};
use crate::toy::{self, Message, Toy};

#[test]
fn no_route_and_unknown_clusters_and_empty_clusters_are_named() {
    let server = Server::start("a");
    let mut mesh = Mesh::of(&[&server]);
    mesh.clusters.push(cluster("empty", &[]));
    let mut sick = cluster("sick", &[server.address]);
    sick.endpoints = sick
        .endpoints
        .iter()
        .map(|one| Endpoint {
            health: Health::Unhealthy,
            ..one.clone()
        })
        .collect();
    sick.spread.panic_threshold = 0;
    mesh.clusters.push(sick);
    mesh.clusters.push(meltemi_resources::Cluster {
        refuse: Some("TLS origination is not there yet".into()),
        ..cluster("secret", &[server.address])
    });
    mesh.routes = vec![
        ("echo", vec![("one", 1)]),
        ("gone", vec![("outbound|80|v9|nowhere", 1)]),
        ("empty", vec![("empty", 1)]),
        ("sick", vec![("sick", 1)]),
        ("secret", vec![("secret", 1)]),
    ];
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let mut told = |id, method: &str| {
        let reply = client.call(id, method, "");
        assert_eq!((reply.kind, reply.id), (toy::LOCAL, id));
        reply.text()
    };
    assert_eq!(
        told(1, "other"),
        "route_not_found: no route matches in 'toy.test_80'"
    );
    assert_eq!(
        told(2, "gone"),
        "cluster_not_found: unknown cluster 'outbound|80|v9|nowhere'"
    );
    assert_eq!(
        told(3, "empty"),
        "no_healthy_upstream: no healthy upstream for 'empty'"
    );
    assert_eq!(
        told(4, "sick"),
        "no_healthy_upstream: no healthy upstream for 'sick'"
    );
    let refused = "unsupported: cluster 'secret' cannot be used: TLS origination is not there yet";
    assert_eq!(told(5, "secret"), refused);
    assert_eq!(client.call(6, "echo", "x").text(), "x@a");
    assert_eq!(server.requests(), 1);
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_passed_over() {
    let server = Server::start("a");
    for max_in_flight in [1, 100] {
        let mut mesh = Mesh::of(&[&server]);
        mesh.clusters = vec![cluster(
            "one",
            &[free_address(), server.address, free_address()],
        )];
        let mesh = mesh.with(|cluster| cluster.max_in_flight = Some(max_in_flight));
        let engine = start(config(Toy::with_ids()), &mesh);
        let mut client = Client::connect(mesh.address);
        for id in 0..30 {
            assert_eq!(client.call(id, "echo", "x").text(), "x@a");
        }
        assert!(stat(&engine, "upstream_cx_connect_fail") > 0);
    }
}

#[test]
fn when_no_endpoint_can_be_reached_the_last_one_is_named() {
    let mut mesh = Mesh::of(&[]);
    let (first, second) = (free_address(), free_address());
    mesh.clusters = vec![cluster("one", &[first, second])];
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let text = client.call(1, "echo", "x").text();
    assert!(
        text.starts_with("upstream_connect_failure: no endpoint of 'one'"),
        "{text}"
    );
    assert!(
        text.contains("2 tried") && text.contains("refused"),
        "{text}"
    );
    assert!(
        text.contains(&first.to_string()) || text.contains(&second.to_string()),
        "{text}"
    );
}

#[test]
fn a_connect_that_takes_too_long_goes_to_another_endpoint() {
    // A full backlog: the kernel drops what comes on top.
    let deaf = TcpListener::bind(free_address()).unwrap();
    let address = deaf.local_addr().unwrap();
    rustix::net::listen(&deaf, 0).unwrap();
    let _filled: Vec<_> = (0..3)
        .map(|_| thread::spawn(move || drop(std::net::TcpStream::connect(address))))
        .collect();
    let _held = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let server = Server::start("a");
    let mut mesh = Mesh::of(&[&server]);
    mesh.clusters = vec![cluster("one", &[address, server.address])];
    let mesh = mesh.with(|cluster| cluster.connect_timeout = Duration::from_millis(100));
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let begin = Instant::now();
    for id in 0..6 {
        assert_eq!(client.call(id, "echo", "x").text(), "x@a");
    }
    assert!(begin.elapsed() < Duration::from_secs(3));
    assert!(stat(&engine, "upstream_cx_connect_timeout") > 0);
}

#[test]
fn an_upstream_that_closes_without_an_answer_is_named_in_one() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let reply = client.call(1, "reset", "");
    let expected = format!("upstream_reset: upstream {}", server.address);
    assert!(reply.text().starts_with(&expected), "{}", reply.text());
    // It was sent and may have been processed: it is not sent again.
    assert_eq!(server.requests(), 1);
    assert_eq!(client.call(2, "echo", "x").text(), "x@a");
    let half = client.call(3, "half", "a small reply, so none of it went out yet");
    assert_eq!(half.kind, toy::LOCAL);
    assert_eq!(client.call(4, "echo", "x").text(), "x@a");
    assert_eq!(stat(&engine, "upstream_rq_rx_reset"), 2);
}

#[test]
fn a_reply_that_answers_another_id_is_an_error_and_its_connection_is_closed() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let reply = client.call(1, "wrong", "");
    assert!(
        reply.text().starts_with("bad_response: upstream"),
        "{}",
        reply.text()
    );
    assert!(
        reply.text().contains("id 2 where 1 was asked"),
        "{}",
        reply.text()
    );
    assert_eq!(client.call(2, "echo", "x").text(), "x@a");
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_call_that_is_never_answered_frees_its_slot_at_the_timeout() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.limits.request_timeout = Duration::from_millis(200);
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(1, "never", b""));
    client.send(&Message::request(2, "echo", b"behind"));
    let reply = client.receive();
    let expected = format!(
        "upstream {} of 'one' gave no reply in 0.2 s",
        server.address
    );
    assert_eq!(reply.text(), format!("timeout: {expected}"));
    assert_eq!(client.receive().text(), "behind@a");
    until("nothing in flight", || {
        stat(&engine, "upstream_rq_active") == 0
    });
}

#[test]
fn what_is_no_request_closes_the_connection_after_what_came_before_was_answered() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(1, "sleep200", b"before"));
    client.0.write_all(&[0, 0, 0, 1, 99]).unwrap();
    client.0.write_all(&[7; 5000]).unwrap();
    assert_eq!(client.receive().text(), "before@a");
    assert!(client.is_closed());
    assert_eq!(stat(&engine, "request_decoding_error"), 1);
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_frame_that_declares_too_much_is_refused_before_it_is_buffered() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.limits.max_frame_bytes = 1 << 20;
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    client.0.write_all(&[0x7f, 0xff, 0xff, 0xff]).unwrap();
    assert!(client.is_closed());
    assert_eq!(stat(&engine, "request_decoding_error"), 1);
}

#[test]
fn a_connection_that_the_kernel_made_is_used_though_the_word_of_it_comes_after_the_connect_timeout()
{
    let server = Server::start("a");
    // Over at once: the first look at the clock comes before the first event of the connection.
    let mesh = Mesh::of(&[&server]).with(|cluster| cluster.connect_timeout = Duration::ZERO);
    let engine = start(config(Toy::with_ids()), &mesh);
    for _ in 0..20 {
        let mut client = Client::connect(mesh.address);
        assert_eq!(client.call(1, "echo", "x").text(), "x@a");
    }
    assert_eq!(stat(&engine, "upstream_cx_connect_timeout"), 0);
}
