//! One request at a time on an upstream connection.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{Client, Mesh, Server, config, start, stat, until};
use crate::toy::{self, Message, Toy};

#[test]
fn requests_of_one_connection_are_spread_over_the_endpoints_in_turn() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mesh = Mesh::of(&[&a, &b]);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..100 {
        let reply = client.call(id, "echo", &format!("p{id}"));
        assert_eq!(reply.id, id);
        assert!(
            reply.text().starts_with(&format!("p{id}@")),
            "{}",
            reply.text()
        );
    }
    assert_eq!((a.requests(), b.requests()), (50, 50));
    assert_eq!((a.connections(), b.connections()), (1, 1));
}

#[test]
fn pipelined_requests_are_in_flight_at_once_each_on_a_connection_of_its_own() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let begin = Instant::now();
    for id in 0..8 {
        client.send(&Message::request(id, "slow200", b"x"));
    }
    for id in 0..8 {
        assert_eq!(client.receive().id, id);
    }
    assert!(
        begin.elapsed() < Duration::from_millis(1200),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(server.connections(), 8);
}

#[test]
fn the_connection_that_was_used_last_is_used_first() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..4 {
        client.send(&Message::request(id, "slow50", b""));
    }
    for _ in 0..4 {
        client.receive();
    }
    for id in 0..50 {
        client.call(id, "echo", "");
    }
    assert_eq!(server.connections(), 4);
}

#[test]
fn an_idle_upstream_connection_is_retired_before_servers_close_theirs() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(1, "echo", "");
    thread::sleep(Duration::from_millis(2000));
    assert_eq!(server.open(), 1, "closed too early");
    thread::sleep(Duration::from_millis(900));
    assert_eq!(
        server.open(),
        0,
        "a default thriftpy2 server would close it after 3 s"
    );
    assert_eq!(stat(&engine, "upstream_cx_idle_timeout"), 1);
    assert_eq!(client.call(2, "echo", "x").text(), "x@a");
}

#[test]
fn a_connection_that_the_server_closed_while_idle_is_not_used_again() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..20 {
        // `twice` leaves a reply that nobody asked for on the connection.
        assert_eq!(client.call(id, "twice", "x").text(), "x@a");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.connections(), 20);
}

#[test]
fn a_oneway_request_is_forwarded_and_its_connection_is_free_at_once() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(0, "echo", "");
    for id in 0..10 {
        client.send(&Message::new(toy::ONEWAY, id, "note", b"x"));
        assert_eq!(client.call(id, "echo", "y").text(), "y@a");
    }
    assert_eq!(server.requests(), 21);
    assert_eq!(server.connections(), 1);
}

#[test]
fn large_frames_are_cut_through_both_ways_without_being_held_whole() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let payload: Vec<u8> = (0..8 << 20).map(|at: u32| (at * 7) as u8).collect();
    let bytes = Message::request(7, "echo", &payload).encode();
    let mut writer = client.0.try_clone().unwrap();
    let sending = thread::spawn(move || writer.write_all(&bytes).unwrap());
    thread::sleep(Duration::from_millis(300));
    assert!(stat(&engine, "meltemi.buffered_bytes") < 4 << 20);
    let reply = client.receive();
    sending.join().unwrap();
    assert_eq!(reply.payload.len(), payload.len() + 2);
    assert_eq!(reply.payload[..payload.len()], payload[..]);
    assert_eq!(client.call(8, "echo", "x").text(), "x@a");
    assert_eq!(server.connections(), 1, "the connection is used again");
}

#[test]
fn a_caller_that_does_not_read_stops_the_upstream_not_the_memory() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.limits.max_frame_bytes = 100 << 20;
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(3, "big60000000", b""));
    let paused = || stat(&engine, "upstream_flow_control_paused_reading_total") > 0;
    until("the upstream is no longer read", paused);
    assert!(stat(&engine, "meltemi.buffered_bytes") < 4 << 20);
    let mut left = 60_000_000 + 14 + "big60000000".len();
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let count = client.0.read(&mut buffer).unwrap();
        assert!(count > 0);
        left -= count;
    }
    assert_eq!(client.call(4, "echo", "x").text(), "x@a");
}

#[test]
fn a_half_closed_client_gets_what_is_in_flight_and_then_the_end() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(1, "sleep200", b"late"));
    client.send(&Message::request(2, "echo", b"fast"));
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.receive().text(), "late@a");
    assert_eq!(client.receive().text(), "fast@a");
    assert!(client.is_closed());
    until("closed", || stat(&engine, "downstream_cx_active") == 0);
}

#[test]
fn a_client_that_leaves_takes_its_upstream_connection_with_it() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut leaving = Client::connect(mesh.address);
    leaving.send(&Message::request(1, "sleep300", b"old"));
    until("the request is there", || server.requests() == 1);
    leaving.abort();
    until("its upstream connection is closed", || {
        stat(&engine, "upstream_cx_active") == 0
    });
    let mut client = Client::connect(mesh.address);
    for id in 1..40 {
        let payload = format!("new{id}");
        assert_eq!(
            client.call(id, "echo", &payload).text(),
            format!("{payload}@a")
        );
        thread::sleep(Duration::from_millis(10));
    }
    until("nothing in flight", || {
        stat(&engine, "cluster.one.upstream_rq_active") == 0
    });
}

#[test]
fn a_late_reply_is_never_given_to_another_request() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.limits.request_timeout = Duration::from_millis(150);
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    let mut timeouts = 0;
    for round in 0..10 {
        // The same id each time: only the connection tells the replies apart.
        let late = client.call(5, "sleep250", &format!("late{round}"));
        if late.kind != toy::LOCAL {
            // A machine so busy that the engine found the reply before it saw that it was late.
            assert_eq!(late.text(), format!("late{round}@a"));
            continue;
        }
        timeouts += 1;
        assert!(
            late.text().starts_with("timeout: upstream"),
            "{}",
            late.text()
        );
        for step in 0..15 {
            let payload = format!("r{round}s{step}");
            assert_eq!(
                client.call(5, "echo", &payload).text(),
                format!("{payload}@a")
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(timeouts > 5, "{timeouts}");
    assert_eq!(stat(&engine, "upstream_rq_timeout"), timeouts);
}

#[test]
fn upstream_connections_come_from_the_configured_address() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.source_address = Some([127, 0, 0, 77].into());
    let _engine = start(config, &mesh);
    Client::connect(mesh.address).call(1, "echo", "");
    assert_eq!(
        *server.seen.callers.lock().unwrap(),
        [std::net::IpAddr::from([127, 0, 0, 77])]
    );
}
