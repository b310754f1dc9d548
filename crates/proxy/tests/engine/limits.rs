//! What is allowed at most.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{Client, Mesh, Server, config, start, stat, until};
use crate::toy::{self, Message, Toy};

#[test]
fn a_connection_too_many_is_closed_and_counted_and_there_is_room_again_later() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.limits.max_connections = 3;
    let engine = start(config, &mesh);
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(mesh.address)).collect();
    for client in &mut clients {
        assert_eq!(client.call(1, "echo", "x").text(), "x@a");
    }
    assert!(Client::connect(mesh.address).is_closed());
    assert_eq!(stat(&engine, "downstream_cx_overflow_total"), 1);
    clients.pop();
    until("room", || {
        let mut client = Client::connect(mesh.address);
        client
            .0
            .write_all(&Message::request(1, "echo", b"x").encode())
            .is_ok()
            && crate::bed::receive(&mut client.0).is_ok()
    });
}

#[test]
fn further_requests_of_a_connection_are_not_read_while_too_many_are_in_flight() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.limits.max_connection_requests = 4;
    let _engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..12 {
        client.send(&Message::request(
            id,
            "slow150",
            format!("p{id}").as_bytes(),
        ));
    }
    thread::sleep(Duration::from_millis(75));
    assert_eq!(server.requests(), 4);
    for id in 0..12 {
        assert_eq!(client.receive().text(), format!("p{id}@a"));
    }
}

#[test]
fn a_request_too_many_is_answered_with_an_error() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.limits.max_requests = 4;
    let _engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..6 {
        client.send(&Message::request(id, "sleep100", b""));
    }
    let kinds: Vec<u8> = (0..6).map(|_| client.receive().kind).collect();
    assert_eq!(
        kinds,
        [
            toy::REPLY,
            toy::REPLY,
            toy::REPLY,
            toy::REPLY,
            toy::LOCAL,
            toy::LOCAL
        ]
    );
    assert_eq!(client.call(9, "echo", "x").text(), "x@a");
}

#[test]
fn requests_wait_for_one_of_the_connections_that_a_cluster_may_have() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]).with(|cluster| cluster.limits.max_connections = Some(2));
    let mut config = config(Toy::with_ids());
    config.limits.max_waiting_requests = 6;
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..10 {
        client.send(&Message::request(id, "slow50", format!("p{id}").as_bytes()));
    }
    for id in 0..8 {
        assert_eq!(client.receive().text(), format!("p{id}@a"));
    }
    for _ in 8..10 {
        let text = client.receive().text();
        assert_eq!(
            text,
            "overflow: too many requests wait for a connection of 'one'"
        );
    }
    assert_eq!(server.connections(), 2);
    assert_eq!(stat(&engine, "upstream_rq_pending_overflow"), 2);
}

#[test]
fn an_idle_downstream_connection_is_closed_and_a_busy_one_is_not() {
    let server = Server::start("a");
    let mut mesh = Mesh::of(&[&server]);
    mesh.idle_timeout = Some(Duration::from_millis(300));
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut idle = Client::connect(mesh.address);
    let mut busy = Client::connect(mesh.address);
    assert_eq!(busy.call(1, "sleep700", "x").text(), "x@a");
    assert!(idle.is_closed());
    assert_eq!(busy.call(1, "echo", "x").text(), "x@a");
    assert_eq!(stat(&engine, "downstream_cx_idle_timeout"), 1);
}

#[test]
fn a_client_that_never_reads_is_closed_when_too_much_waits_for_it() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.limits.write_timeout = Duration::from_millis(500);
    config.limits.max_frame_bytes = 100 << 20;
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(1, "big60000000", b""));
    until("closed", || {
        stat(&engine, "downstream_cx_write_timeout") == 1
    });
    until("closed", || stat(&engine, "upstream_rq_active") == 0);
    until("freed", || stat(&engine, "meltemi.buffered_bytes") == 0);
}

#[test]
fn drain_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut idle = Client::connect(mesh.address);
    idle.call(1, "echo", "");
    let mut busy = Client::connect(mesh.address);
    busy.send(&Message::request(1, "sleep300", b"last"));
    until("the request is there", || server.requests() == 2);
    let begin = Instant::now();
    let address = mesh.address;
    let reader = thread::spawn(move || {
        let text = busy.receive().text();
        (text, busy.is_closed())
    });
    assert!(engine.drain(Duration::from_secs(5)));
    assert!(begin.elapsed() < Duration::from_secs(3));
    assert_eq!(reader.join().unwrap(), ("last@a".to_owned(), true));
    assert!(idle.is_closed());
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "it still accepts"
    );
}

#[test]
fn drain_gives_up_at_its_deadline() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(1, "never", b""));
    until("the request is there", || server.requests() == 1);
    let begin = Instant::now();
    assert!(!engine.drain(Duration::from_millis(200)));
    assert!(begin.elapsed() < Duration::from_secs(2));
    engine.stop();
    let answer = client.receive().text();
    assert!(answer.contains("drain deadline"), "{answer}");
    assert!(client.is_closed());
}

#[test]
fn drain_loses_no_request_of_a_caller_that_calls_one_after_the_other() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let mut client = Client::connect(mesh.address);
            thread::spawn(move || {
                // A reply and the end of the connection come together; a call after a reply without
                // the end is answered.
                for id in 1.. {
                    client.send(&Message::request(id, "echo", b"x"));
                    assert_eq!(client.receive().text(), "x@a");
                    thread::sleep(Duration::from_millis(1));
                    if client.has_ended() {
                        return id;
                    }
                }
                0
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    assert!(engine.drain(Duration::from_secs(5)));
    for caller in callers {
        assert!(caller.join().unwrap() > 1);
    }
}

#[test]
fn while_too_many_bytes_wait_in_memory_new_requests_are_refused() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.limits.max_buffered_bytes = 1 << 20;
    let engine = start(config, &mesh);
    // Replies that have to wait for their turn behind one that never comes.
    let mut holding = Client::connect(mesh.address);
    holding.send(&Message::request(0, "sleep3000", b""));
    for id in 1..10 {
        holding.send(&Message::request(id, "big200000", b""));
    }
    until("they wait", || {
        stat(&engine, "meltemi.buffered_bytes") > 1 << 20
    });
    let mut client = Client::connect(mesh.address);
    let text = client.call(1, "echo", "x").text();
    assert_eq!(text, "overflow: too many bytes wait in memory");
    for _ in 0..10 {
        holding.receive();
    }
    until("there is room", || {
        stat(&engine, "meltemi.buffered_bytes") == 0
    });
    assert_eq!(client.call(2, "echo", "x").text(), "x@a");
}
