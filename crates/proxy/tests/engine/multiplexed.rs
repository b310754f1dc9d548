//! Many requests on one upstream connection, ids rewritten.

use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{Client, Mesh, Server, config, start, stat, until};
use crate::toy::{self, Message, Toy};

fn shared(server: &Server) -> Mesh {
    Mesh::of(&[server]).with(|cluster| cluster.max_in_flight = Some(1000))
}

#[test]
fn many_clients_share_a_connection_and_each_gets_its_own_reply_under_its_own_id() {
    let server = Server::start("a");
    let mesh = shared(&server);
    let engine = start(config(Toy::with_ids()), &mesh);
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let address = mesh.address;
            thread::spawn(move || {
                let mut client = Client::connect(address);
                for round in 0..50 {
                    // All clients use the same ids.
                    for id in 0..4 {
                        let payload = format!("c{number}r{round}i{id}");
                        client.send(&Message::request(id, "echo", payload.as_bytes()));
                    }
                    for id in 0..4 {
                        let reply = client.receive();
                        assert_eq!(reply.id, id);
                        assert_eq!(reply.text(), format!("c{number}r{round}i{id}@a"));
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(server.requests(), 16 * 50 * 4);
    assert!(server.connections() <= 2, "{}", server.connections());
    assert_eq!(stat(&engine, "upstream_rq_unknown_reply"), 0);
}

#[test]
fn a_late_reply_is_dropped_and_counted_and_the_connection_goes_on() {
    let server = Server::start("a");
    let mesh = shared(&server);
    let mut config = config(Toy::with_ids());
    config.limits.request_timeout = Duration::from_millis(150);
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    for round in 0..5 {
        let late = client.call(5, "sleep250", "late");
        assert!(late.text().starts_with("timeout: "), "{}", late.text());
        for step in 0..15 {
            let payload = format!("r{round}s{step}");
            assert_eq!(
                client.call(5, "echo", &payload).text(),
                format!("{payload}@a")
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
    until("late replies", || {
        stat(&engine, "upstream_rq_late_reply") == 5
    });
    assert_eq!(server.connections(), 1);
}

#[test]
fn replies_that_match_nothing_are_counted_and_hurt_nobody() {
    let server = Server::start("a");
    let mesh = shared(&server);
    let mut config = config(Toy::with_ids());
    config.limits.request_timeout = Duration::from_millis(200);
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    assert_eq!(client.call(1, "twice", "x").text(), "x@a");
    assert_eq!(client.call(1, "echo", "y").text(), "y@a");
    assert!(client.call(2, "wrong", "z").text().starts_with("timeout"));
    assert_eq!(client.call(3, "echo", "w").text(), "w@a");
    assert_eq!(stat(&engine, "upstream_rq_late_reply"), 1);
    assert_eq!(stat(&engine, "upstream_rq_unknown_reply"), 1);
}

#[test]
fn a_client_that_leaves_does_not_disturb_the_others_on_the_connection() {
    let server = Server::start("a");
    let mesh = shared(&server);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut staying = Client::connect(mesh.address);
    staying.call(1, "echo", "");
    let mut leaving = Client::connect(mesh.address);
    leaving.send(&Message::request(9, "sleep200", b"gone"));
    until("requests", || server.requests() == 2);
    leaving.abort();
    for id in 0..30 {
        let payload = format!("s{id}");
        assert_eq!(
            staying.call(id, "echo", &payload).text(),
            format!("{payload}@a")
        );
        thread::sleep(Duration::from_millis(10));
    }
    until("the late reply", || {
        stat(&engine, "upstream_rq_late_reply") == 1
    });
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_slow_request_does_not_hold_up_those_of_other_clients() {
    let server = Server::start("a");
    let mesh = shared(&server);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut slow = Client::connect(mesh.address);
    slow.send(&Message::request(1, "sleep500", b"slow"));
    let mut fast = Client::connect(mesh.address);
    let begin = Instant::now();
    for id in 0..20 {
        fast.call(id, "echo", "");
    }
    assert!(begin.elapsed() < Duration::from_millis(300));
    assert_eq!(slow.receive().text(), "slow@a");
}

#[test]
fn a_large_request_takes_a_connection_of_its_own() {
    let server = Server::start("a");
    let mesh = shared(&server);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(1, "echo", "x");
    let big = "b".repeat(100_000);
    assert_eq!(client.call(2, "echo", &big).text(), format!("{big}@a"));
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_large_reply_on_a_shared_connection_arrives_whole() {
    let server = Server::start("a");
    let mesh = shared(&server);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(4, "big3000000", b""));
    client.send(&Message::request(5, "echo", b"behind"));
    let reply = client.receive();
    assert_eq!((reply.id, reply.payload.len()), (4, 3_000_000));
    // The server made it from the id that it saw, which is not ours.
    let made = |at: usize| (at * 31) as u8;
    let first = reply.payload[0];
    assert!(
        reply
            .payload
            .iter()
            .enumerate()
            .all(|(at, byte)| byte.wrapping_sub(made(at)) == first)
    );
    assert_eq!(client.receive().text(), "behind@a");
}

#[test]
fn a_broken_connection_fails_its_requests_each_with_an_answer() {
    let server = Server::start("a");
    let mesh = shared(&server);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(0, "echo", "");
    for id in 1..6 {
        client.send(&Message::request(id, "never", b""));
    }
    until("requests", || server.requests() == 6);
    client.send(&Message::request(6, "reset", b""));
    for id in 1..7 {
        let reply = client.receive();
        assert_eq!((reply.kind, reply.id), (toy::LOCAL, id));
        let expected = format!("upstream_reset: upstream {}", server.address);
        assert!(reply.text().starts_with(&expected), "{}", reply.text());
    }
    assert_eq!(client.call(7, "echo", "x").text(), "x@a");
    assert_eq!(stat(&engine, "upstream_rq_rx_reset"), 6);
}

#[test]
fn more_requests_than_a_connection_may_carry_open_another_one() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]).with(|cluster| cluster.max_in_flight = Some(4));
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..10 {
        client.send(&Message::request(id, "sleep100", b""));
    }
    for id in 0..10 {
        assert_eq!(client.receive().id, id);
    }
    assert_eq!(server.connections(), 3);
}
