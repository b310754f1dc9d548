//! Everything at once: whatever clients and servers do, every reply is the one that was asked for, and
//! in the end nothing is left over.

use std::thread;
use std::time::{Duration, Instant};

use meltemi_balancer::Rng;

use crate::bed::{Client, Mesh, Server, config, start, stat, until};
use crate::toy::{self, Message, Toy};

/// What servers do. A reply under a wrong id shows on a connection that carries one request, a second
/// reply on one that carries many under ids of their own; neither shows on the other, to anybody.
const METHODS: [&str; 11] = [
    "echo", "echo", "echo", "sleep5", "slow3", "fail", "reset", "half", "never", "big40000", "",
];

/// One client: connections come and go, requests are pipelined, replies are compared.
fn behave(address: std::net::SocketAddr, seed: u64, any_order: bool, methods: &[&str]) -> u64 {
    let mut rng = Rng::new(seed);
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        let mut client = Client::connect(address);
        for round in 0..rng.below(8) {
            let depth = 1 + rng.below(6);
            let mut sent = Vec::new();
            for id in 0..depth {
                let method = methods[rng.below(methods.len() as u64) as usize];
                let payload = format!("s{seed}c{count}r{round}i{id}");
                count += 1;
                let kind = if rng.below(10) == 0 {
                    toy::ONEWAY
                } else {
                    toy::REQUEST
                };
                client.send(&Message::new(kind, id, method, payload.as_bytes()));
                if kind == toy::REQUEST {
                    sent.push((id, method, payload));
                }
            }
            if rng.below(12) == 0 {
                break;
            }
            while !sent.is_empty() {
                let reply = client.receive();
                let at = sent.iter().position(|(id, ..)| *id == reply.id);
                let at = at.unwrap_or_else(|| panic!("nobody asked for {reply:?}"));
                assert!(any_order || at == 0, "not its turn: {reply:?}");
                let (_, method, payload) = sent.remove(at);
                check(method, &payload, &reply);
            }
        }
        if rng.below(3) == 0 {
            client.abort();
        }
    }
    count
}

fn check(method: &str, payload: &str, reply: &Message) {
    assert_eq!(reply.method, method);
    if reply.kind == toy::LOCAL {
        let text = reply.text();
        let known = ["upstream_reset", "timeout", "bad_response"];
        assert!(known.iter().any(|kind| text.starts_with(kind)), "{text}");
        return;
    }
    match method {
        "fail" => assert_eq!(reply.text(), "no"),
        "big40000" => assert_eq!(reply.payload.len(), 40_000),
        _ => assert!(
            reply.text().starts_with(&format!("{payload}@")),
            "{reply:?}"
        ),
    }
}

#[test]
fn every_reply_is_the_one_that_was_asked_for_and_nothing_is_left_over() {
    for (max_in_flight, any_order) in [(1, false), (50, false), (1, true), (50, true)] {
        let servers = [Server::start("a"), Server::start("b"), Server::start("c")];
        let mesh = Mesh::of(&[&servers[0], &servers[1], &servers[2]])
            .with(|cluster| cluster.max_in_flight = Some(max_in_flight));
        let protocol = if any_order {
            Toy::any_order()
        } else {
            Toy::with_ids()
        };
        let mut config = config(protocol);
        config.workers = 2;
        config.limits.request_timeout = Duration::from_millis(300);
        let engine = start(config, &mesh);
        let address = mesh.address;
        let mut methods = METHODS;
        methods[10] = if max_in_flight == 1 { "wrong" } else { "twice" };
        let clients: Vec<_> = (0..8)
            .map(|seed| thread::spawn(move || behave(address, seed + 1, any_order, &methods)))
            .collect();
        let publishing = Instant::now();
        while publishing.elapsed() < Duration::from_secs(2) {
            engine.publish(mesh.snapshot());
            thread::sleep(Duration::from_millis(20));
        }
        let asked: u64 = clients.into_iter().map(|one| one.join().unwrap()).sum();
        assert!(asked > 500, "{asked}");
        until("all connections are gone", || {
            stat(&engine, "downstream_cx_active") == 0
        });
        until("nothing is in flight", || {
            stat(&engine, "upstream_rq_active") == 0
        });
        until("no bytes wait", || {
            stat(&engine, "meltemi.buffered_bytes") == 0
        });
        until("idle connections are retired", || {
            stat(&engine, "upstream_cx_active") == 0
        });
        assert_eq!(stat(&engine, "request_active"), 0);
        for endpoint in &engine.clusters()[0].endpoints {
            assert_eq!(endpoint.active, 0);
        }
    }
}
