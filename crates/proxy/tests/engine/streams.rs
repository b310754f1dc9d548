//! A message that opens a stream of further frames, pinned to one upstream.

use crate::bed::{Client, Mesh, Server, config, start, stat, until};
use crate::toy::{self, Message, Toy};

#[test]
fn frames_of_a_stream_stay_with_the_upstream_that_got_the_first_one() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mesh = Mesh::of(&[&a, &b]);
    let engine = start(config(Toy::any_order()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::new(toy::OPEN, 50, "chat", b"hello"));
    let first = client.receive();
    assert_eq!((first.kind, first.id), (toy::DATA, 50));
    let server = first.text().split('@').next_back().unwrap().to_owned();
    for round in 0..10 {
        // Requests go on beside the stream, to both endpoints.
        assert_eq!(client.call(round, "echo", "x").kind, toy::REPLY);
        let payload = format!("f{round}");
        client.send(&Message::new(toy::DATA, 50, "", payload.as_bytes()));
        let frame = client.receive();
        assert_eq!((frame.kind, frame.id), (toy::DATA, 50));
        assert_eq!(frame.text(), format!("{payload}@{server}"));
    }
    assert!(a.requests() > 0 && b.requests() > 0);
    client.send(&Message::new(toy::CLOSE, 50, "", b""));
    assert_eq!(client.receive().kind, toy::CLOSE);
    until("the stream is over", || {
        stat(&engine, "upstream_rq_active") == 0
    });
    assert_eq!(client.call(60, "echo", "x").kind, toy::REPLY);
}

#[test]
fn two_streams_of_one_connection_do_not_mix() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mesh = Mesh::of(&[&a, &b]);
    let _engine = start(config(Toy::any_order()), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in [1, 2] {
        client.send(&Message::new(toy::OPEN, id, "chat", b"o"));
        for frame in 0..5 {
            client.send(&Message::new(
                toy::DATA,
                id,
                "",
                format!("{frame}").as_bytes(),
            ));
        }
    }
    let mut texts = [Vec::new(), Vec::new()];
    for _ in 0..12 {
        let frame = client.receive();
        texts[frame.id as usize - 1].push(frame.text());
    }
    for texts in texts {
        let server = texts[0].clone().split_off(2);
        let expected: Vec<String> = ["o", "0", "1", "2", "3", "4"]
            .iter()
            .map(|text| format!("{text}@{server}"))
            .collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn a_stream_whose_upstream_dies_ends_with_an_error_to_its_caller() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::any_order()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::new(toy::OPEN, 5, "chat", b"o"));
    assert_eq!(client.receive().kind, toy::DATA);
    client.send(&Message::new(toy::DATA, 5, "reset", b""));
    let end = client.receive();
    assert_eq!((end.kind, end.id), (toy::LOCAL, 5));
    assert!(end.text().starts_with("upstream_reset"), "{}", end.text());
    assert_eq!(client.call(6, "echo", "x").text(), "x@a");
    assert_eq!(stat(&engine, "upstream_rq_active"), 0);
}

#[test]
fn a_caller_that_leaves_ends_its_streams() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::any_order()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::new(toy::OPEN, 5, "chat", b"o"));
    client.receive();
    client.abort();
    until("the upstream connection is closed", || server.open() == 0);
}

#[test]
fn a_heartbeat_is_answered_here_and_never_forwarded() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::any_order()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::new(toy::HEARTBEAT, 77, "", b""));
    let reply = client.receive();
    assert_eq!((reply.kind, reply.id), (toy::HEARTBEAT_REPLY, 77));
    assert_eq!(server.requests(), 0);
}
