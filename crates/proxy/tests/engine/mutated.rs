//! Attributes that a route sets and removes, on requests and on replies.

use meltemi_proxy::AccessLogConfig;
use meltemi_routing::Mutation;

use crate::bed::{Client, Mesh, Server, config, remove, set, start, stat, until};
use crate::toy::{self, Message, Place, Toy};

const LARGE: usize = 100_000;
const SKIPPED: [&str; 2] = [".request_mutation_skipped", ".response_mutation_skipped"];

fn mesh(server: &Server, request: &[Mutation], response: &[Mutation]) -> Mesh {
    let mut mesh = Mesh::of(&[server]);
    mesh.request_mutation = request.to_vec();
    mesh.response_mutation = response.to_vec();
    mesh
}

fn methods(server: &Server) -> Vec<String> {
    server.seen.methods.lock().unwrap().clone()
}

#[test]
fn what_a_route_sets_and_removes_is_done_to_request_and_reply_once() {
    for max_in_flight in [1, 100] {
        let server = Server::start("a");
        let request = [set("lane", "blue"), remove("trace"), set("x", "1")];
        let response = [set("by", "us"), remove("lane")];
        let mesh = mesh(&server, &request, &response)
            .with(|cluster| cluster.max_in_flight = Some(max_in_flight));
        let engine = start(config(Toy::with_ids().with_place(Place::Head)), &mesh);
        let mut client = Client::connect(mesh.address);
        let reply = client.call(7, "echo|a=b|trace=9|lane=old", "hi");
        assert_eq!(methods(&server), ["echo|a=b|lane=blue|x=1"]);
        // The server answered with the method that it saw.
        assert_eq!((reply.id, &*reply.method), (7, "echo|a=b|x=1|by=us"));
        assert_eq!(reply.text(), "hi@a");
        for skipped in SKIPPED {
            assert_eq!(stat(&engine, skipped), 0);
        }
    }
}

#[test]
fn attributes_behind_the_payload_are_changed_in_small_and_large_messages() {
    for size in [10, LARGE] {
        for max_in_flight in [1, 100] {
            let server = Server::start("a");
            let mesh = mesh(&server, &[set("lane", "blue")], &[set("by", "us")])
                .with(|cluster| cluster.max_in_flight = Some(max_in_flight));
            let _engine = start(config(Toy::with_ids().with_place(Place::Tail)), &mesh);
            let mut client = Client::connect(mesh.address);
            for id in 0..3 {
                let payload = "p".repeat(size);
                let reply = client.call(id, "echo", &payload);
                assert_eq!(reply.id, id);
                assert!(reply.text() == format!("{payload}|lane=blue@a|by=us"));
            }
        }
    }
}

#[test]
fn the_head_of_a_large_message_is_edited_and_the_rest_passes_as_it_comes() {
    let server = Server::start("a");
    let mesh = mesh(&server, &[set("lane", "blue")], &[set("by", "us")]);
    let _engine = start(config(Toy::with_ids().with_place(Place::Head)), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..3 {
        let payload = "p".repeat(LARGE);
        let reply = client.call(id, "echo", &payload);
        assert_eq!((reply.id, &*reply.method), (id, "echo|lane=blue|by=us"));
        assert!(reply.text() == format!("{payload}@a"));
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn replies_that_wait_for_their_turn_are_edited_too() {
    let server = Server::start("a");
    let mesh =
        mesh(&server, &[], &[set("by", "us")]).with(|cluster| cluster.max_in_flight = Some(100));
    let _engine = start(config(Toy::with_ids().with_place(Place::Head)), &mesh);
    let mut client = Client::connect(mesh.address);
    for (id, method) in [(1, "sleep60"), (2, "echo"), (3, "sleep20")] {
        client.send(&Message::request(id, method, b""));
    }
    for (id, method) in [
        (1, "sleep60|by=us"),
        (2, "echo|by=us"),
        (3, "sleep20|by=us"),
    ] {
        let reply = client.receive();
        assert_eq!((reply.id, &*reply.method), (id, method));
    }
}

#[test]
fn a_message_without_a_place_goes_on_as_it_came_and_is_counted() {
    let server = Server::start("a");
    let mesh = mesh(&server, &[set("lane", "blue")], &[remove("by")]);
    let cases: [(Place, &str, [u64; 2]); 3] = [
        (Place::None, "echo", [2, 2]),
        // A checksum covers request and reply.
        (Place::Head, "sealed", [2, 2]),
        // Its caller reads no attributes in replies.
        (Place::Head, "old:echo", [0, 2]),
    ];
    for (place, method, skipped) in cases {
        let engine = start(config(Toy::with_ids().with_place(place)), &mesh);
        let mut client = Client::connect(mesh.address);
        for id in 0..2 {
            let reply = client.call(id, method, "hi");
            assert_eq!(
                (reply.id, reply.text()),
                (id, "hi@a".to_owned()),
                "{method}"
            );
        }
        let counted = SKIPPED.map(|name| stat(&engine, name));
        assert_eq!(counted, skipped, "{method}");
    }
}

#[test]
fn more_changes_than_are_usual_are_made_too() {
    let server = Server::start("a");
    let names: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
    let request: Vec<Mutation> = names.iter().map(|name| set(name, "v")).collect();
    let mut mesh = mesh(&server, &request, &[]);
    mesh.request_mutation.push(remove("gone"));
    let _engine = start(config(Toy::with_ids().with_place(Place::Tail)), &mesh);
    let reply = Client::connect(mesh.address).call(1, "echo", "hi|gone=1");
    let expected: String = names.iter().map(|name| format!("|{name}=v")).collect();
    assert_eq!(reply.text(), format!("hi{expected}@a"));
}

#[test]
fn a_request_that_goes_to_another_endpoint_is_edited_once() {
    let server = Server::start("a");
    let mut mesh = mesh(&server, &[set("lane", "blue")], &[]);
    // Nobody listens there: the first attempt fails.
    let nobody = crate::bed::free_address();
    mesh.clusters = vec![crate::bed::cluster("one", &[nobody, server.address])];
    let _engine = start(config(Toy::with_ids().with_place(Place::Tail)), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..4 {
        assert_eq!(client.call(id, "echo", "hi").text(), "hi|lane=blue@a");
    }
}

#[test]
fn a_reply_that_its_caller_could_not_read_is_answered_with_an_error() {
    for max_in_flight in [1, 100] {
        let server = Server::start("a");
        let mesh =
            mesh(&server, &[], &[]).with(|cluster| cluster.max_in_flight = Some(max_in_flight));
        let engine = start(config(Toy::with_ids()), &mesh);
        let mut client = Client::connect(mesh.address);
        let reply = client.call(5, "strange", "");
        assert_eq!((reply.kind, reply.id), (toy::LOCAL, 5));
        let expected = format!(
            "bad_response: upstream {} answered in another protocol than it was asked in",
            server.address
        );
        assert_eq!(reply.text(), expected);
        assert_eq!(client.call(6, "echo", "hi").text(), "hi@a");
        assert_eq!(stat(&engine, "upstream_cx_protocol_error"), 1);
    }
}

#[test]
fn the_access_log_shows_attributes_of_the_reply() {
    let server = Server::start("a");
    let mesh = mesh(&server, &[], &[]);
    let file = std::env::temp_dir().join(format!("meltemi-resp-{}.log", std::process::id()));
    let mut config = config(Toy::with_ids());
    config.access_log = Some(AccessLogConfig {
        target: file.to_string_lossy().into_owned(),
        format: "%REQ(METHOD)% %RESP(METHOD)% %RESP(NONE)% %RESPONSE_CODE%".to_owned(),
    });
    let _engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(1, "echo", "x");
    client.call(2, "wrong", "x");
    client.call(3, "fail", "x");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    until("three lines", || read().lines().count() == 3);
    let lines: Vec<String> = read().lines().map(str::to_owned).collect();
    assert_eq!(lines, ["echo echo - 0", "wrong - - 1", "fail fail - 1"]);
    std::fs::remove_file(&file).unwrap();
}
