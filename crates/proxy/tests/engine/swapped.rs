//! Tables that change while connections are open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{Client, Mesh, Server, cluster, config, free_address, start, stat, until};
use crate::toy::{Message, Toy};

fn two(a: &Server, b: &Server) -> Mesh {
    let mut mesh = Mesh::of(&[a]);
    mesh.clusters.push(cluster("two", &[b.address]));
    mesh
}

#[test]
fn an_open_connection_takes_the_new_route_with_its_next_request() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mut mesh = two(&a, &b);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    assert_eq!(client.call(1, "echo", "x").text(), "x@a");
    client.send(&Message::request(2, "sleep200", b"old"));
    mesh.routes = vec![("echo", vec![("two", 1)]), ("", vec![("one", 1)])];
    engine.publish(mesh.snapshot());
    until("in force", || stat(&engine, "tables_in_force_total") == 2);
    assert_eq!(client.receive().text(), "old@a");
    assert_eq!(client.call(3, "echo", "x").text(), "x@b");
    assert_eq!(client.call(4, "other", "x").text(), "x@a");
    assert_eq!(a.connections(), 1, "the pool lived through the swap");
    assert_eq!(stat(&engine, "cluster.one.upstream_rq_total"), 3);
}

#[test]
fn hundreds_of_tables_a_second_lose_no_request_and_keep_the_weights() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mut mesh = two(&a, &b);
    mesh.routes = vec![("", vec![("one", 80), ("two", 20)])];
    let mut config = config(Toy::with_ids());
    config.workers = 2;
    let engine = start(config, &mesh);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|number| {
            let (address, stop) = (mesh.address, Arc::clone(&stop));
            thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let payload = format!("c{number}n{count}");
                    let text = client.call(count, "echo", &payload).text();
                    assert!(text == format!("{payload}@a") || text == format!("{payload}@b"));
                    count += 1;
                }
            })
        })
        .collect();
    let begin = Instant::now();
    let mut published = 1;
    while begin.elapsed() < Duration::from_secs(2) {
        engine.publish(mesh.snapshot());
        published += 1;
        thread::sleep(Duration::from_millis(2));
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
    let in_force = stat(&engine, "meltemi.tables_in_force_total");
    assert!(in_force > published * 9 / 10, "{in_force} of {published}");
    let (to_a, to_b) = (a.requests() as f64, b.requests() as f64);
    let share = to_a / (to_a + to_b);
    assert!((share - 0.8).abs() < 0.01, "{share} of {}", to_a + to_b);
    assert_eq!(stat(&engine, "local_response_error"), 0);
}

#[test]
fn weights_hold_over_any_thousand_requests() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mut mesh = two(&a, &b);
    mesh.routes = vec![("", vec![("one", 20), ("two", 80)])];
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..1000 {
        client.call(id, "echo", "");
    }
    assert!(a.requests().abs_diff(200) <= 10, "{}", a.requests());
}

#[test]
fn a_listener_that_comes_and_one_that_goes_touch_no_open_connection() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(1, "echo", "x");
    let moved = Mesh {
        address: free_address(),
        ..mesh.clone()
    };
    engine.publish(moved.snapshot());
    let mut other = Client::connect(moved.address);
    assert_eq!(other.call(1, "echo", "y").text(), "y@a");
    until("closed", || {
        std::net::TcpStream::connect(mesh.address).is_err()
    });
    assert_eq!(client.call(2, "echo", "x").text(), "x@a");
    let mut none = (*mesh.snapshot()).clone();
    none.listeners.clear();
    engine.publish(Arc::new(none));
    until("closed", || {
        std::net::TcpStream::connect(moved.address).is_err()
    });
    assert_eq!(client.call(3, "echo", "x").text(), "x@a");
    assert_eq!(other.call(3, "echo", "x").text(), "x@a");
}

#[test]
fn an_address_that_is_taken_is_reported_and_tried_again_while_others_go_on() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let taken = std::net::TcpListener::bind(free_address()).unwrap();
    let blocked = Mesh {
        address: taken.local_addr().unwrap(),
        ..mesh.clone()
    };
    let mut both = (*mesh.snapshot()).clone();
    let mut second = (**blocked.snapshot().listeners.values().next().unwrap()).clone();
    second.name = "second".into();
    both.listeners.insert("second".into(), Arc::new(second));
    let engine = meltemi_proxy::Engine::start(config(Toy::with_ids())).unwrap();
    engine.set_log_level(meltemi_proxy::Level::Error);
    engine.publish(Arc::new(both));
    assert_eq!(
        Client::connect(mesh.address).call(1, "echo", "x").text(),
        "x@a"
    );
    until("reported", || engine.listener_errors().len() == 1);
    let (name, error) = engine.listener_errors().remove(0);
    assert_eq!(name, "second");
    assert!(
        error.contains(&blocked.address.to_string()) && error.contains("in use"),
        "{error}"
    );
    drop(taken);
    until("bound", || engine.listener_errors().is_empty());
    assert_eq!(
        Client::connect(blocked.address).call(1, "echo", "x").text(),
        "x@a"
    );
}

#[test]
fn a_listener_without_a_codec_is_named() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.protocols.clear();
    let engine = meltemi_proxy::Engine::start(config).unwrap();
    engine.set_log_level(meltemi_proxy::Level::Error);
    engine.publish(mesh.snapshot());
    assert!(engine.listener_errors()[0].1.contains("no codec \"toy\""));
}

#[test]
fn an_endpoint_that_leaves_gets_no_more_requests_and_its_idle_connections_are_closed() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mesh = Mesh::of(&[&a, &b]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..4 {
        client.call(id, "echo", "");
    }
    client.send(&Message::request(9, "sleep200", b"1"));
    client.send(&Message::request(9, "sleep200", b"2"));
    until("both have one", || a.requests() + b.requests() == 6);
    let only_a = Mesh {
        clusters: vec![cluster("one", &[a.address])],
        ..mesh.clone()
    };
    engine.publish(only_a.snapshot());
    client.receive();
    client.receive();
    until("closed", || b.open() == 0);
    let before = b.requests();
    for id in 0..20 {
        client.call(id, "echo", "");
    }
    assert_eq!(b.requests(), before);
    assert_eq!(a.connections(), 1);
}
