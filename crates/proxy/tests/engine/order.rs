//! In which order replies come.

use std::time::{Duration, Instant};

use crate::bed::{Client, Mesh, Server, config, start};
use crate::toy::{Message, Toy};

#[test]
fn replies_come_in_the_order_of_the_requests_though_a_later_one_was_faster() {
    for max_in_flight in [1, 100] {
        let server = Server::start("a");
        let mesh = Mesh::of(&[&server]).with(|cluster| cluster.max_in_flight = Some(max_in_flight));
        let _engine = start(config(Toy::with_ids()), &mesh);
        let mut client = Client::connect(mesh.address);
        for (id, method) in [(1, "sleep200"), (2, "echo"), (3, "sleep100"), (4, "echo")] {
            client.send(&Message::request(id, method, b""));
        }
        let order: Vec<u64> = (0..4).map(|_| client.receive().id).collect();
        assert_eq!(order, [1, 2, 3, 4]);
    }
}

#[test]
fn a_large_reply_waits_for_its_turn_and_then_comes_whole() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(1, "sleep300", b"first"));
    client.send(&Message::request(2, "big3000000", b""));
    client.send(&Message::request(3, "big3000000", b""));
    client.send(&Message::request(4, "echo", b"last"));
    assert_eq!(client.receive().text(), "first@a");
    for id in 2..4 {
        let reply = client.receive();
        assert_eq!((reply.id, reply.payload.len()), (id, 3_000_000));
        let made = |at: usize| (at * 31 + id as usize) as u8;
        assert!(
            reply
                .payload
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == made(at))
        );
    }
    assert_eq!(client.receive().text(), "last@a");
}

#[test]
fn a_protocol_whose_ids_are_trusted_gets_replies_as_they_come() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::any_order()), &mesh);
    let mut client = Client::connect(mesh.address);
    let begin = Instant::now();
    client.send(&Message::request(1, "sleep400", b"slow"));
    client.send(&Message::request(2, "echo", b"fast"));
    assert_eq!(client.receive().id, 2);
    assert!(begin.elapsed() < Duration::from_millis(300));
    assert_eq!(client.receive().id, 1);
}

#[test]
fn a_listener_can_say_that_replies_come_in_any_order() {
    let server = Server::start("a");
    let mut mesh = Mesh::of(&[&server]);
    mesh.any_order = true;
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(1, "sleep300", b""));
    client.send(&Message::request(2, "echo", b""));
    assert_eq!([client.receive().id, client.receive().id], [2, 1]);
}

#[test]
fn two_requests_that_share_an_id_are_answered_in_order_always() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::any_order()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(7, "sleep200", b"first"));
    client.send(&Message::request(7, "echo", b"second"));
    assert_eq!(client.receive().text(), "first@a");
    assert_eq!(client.receive().text(), "second@a");
    // When none of them is left, replies may pass each other again.
    client.send(&Message::request(1, "sleep200", b"slow"));
    client.send(&Message::request(2, "echo", b"fast"));
    assert_eq!(client.receive().text(), "fast@a");
    assert_eq!(client.receive().text(), "slow@a");
}

#[test]
fn replies_in_any_order_never_cut_into_a_large_one() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::any_order()), &mesh);
    let mut client = Client::connect(mesh.address);
    for round in 0..5 {
        client.send(&Message::request(round * 10, "big2000000", b""));
        for id in 1..9 {
            client.send(&Message::request(round * 10 + id, "echo", b"small"));
        }
        let mut seen: Vec<u64> = (0..9)
            .map(|_| {
                let reply = client.receive();
                let large = reply.id.is_multiple_of(10);
                assert_eq!(reply.payload.len(), if large { 2_000_000 } else { 7 });
                reply.id - round * 10
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..9).collect::<Vec<_>>());
    }
}

#[test]
fn a_protocol_without_ids_is_multiplexed_by_position() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::by_position()), &mesh);
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(mesh.address)).collect();
    clients[0].call(0, "echo", "");
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            // All ids are 0: nothing but the position tells the replies apart.
            client.send(&Message::request(
                0,
                "echo",
                format!("c{number}r{round}").as_bytes(),
            ));
            client.send(&Message::request(
                0,
                "echo",
                format!("c{number}s{round}").as_bytes(),
            ));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.receive().text(), format!("c{number}r{round}@a"));
            assert_eq!(client.receive().text(), format!("c{number}s{round}@a"));
        }
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn by_position_a_reply_that_comes_late_is_passed_over_not_given_to_the_next_request() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::by_position());
    config.limits.request_timeout = Duration::from_millis(150);
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(0, "echo", "");
    assert!(
        client
            .call(0, "slow400", "late")
            .text()
            .starts_with("timeout")
    );
    std::thread::sleep(Duration::from_millis(300));
    for round in 0..10 {
        assert_eq!(
            client.call(0, "echo", &format!("r{round}")).text(),
            format!("r{round}@a")
        );
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(crate::bed::stat(&engine, "upstream_rq_late_reply"), 1);
}

#[test]
fn a_request_can_say_that_its_reply_may_pass_others_which_holds_among_its_like_only() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let mut order = |methods: [&str; 3]| {
        for (id, method) in (1..).zip(methods) {
            client.send(&Message::request(id, method, b""));
        }
        [0; 3].map(|_| client.receive().id)
    };
    assert_eq!(
        order(["free:sleep200", "free:echo", "free:sleep100"]),
        [2, 3, 1]
    );
    assert_eq!(order(["free:sleep200", "echo", "free:echo"]), [1, 2, 3]);
    assert_eq!(order(["sleep200", "free:echo", "free:echo"]), [1, 2, 3]);
    assert_eq!(order(["free:sleep200", "free:echo", "free:echo"])[2], 1);
}
