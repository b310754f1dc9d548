//! Requests that a local rate limit answers instead of forwarding.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use meltemi_proxy::{AccessLogConfig, Engine, EngineConfig, LocalRateLimits};
use meltemi_resources::TypedConfig;

use crate::bed::{Client, Mesh, Server, cluster, config, free_address, start, stat, until};
use crate::limit::{Bucket, HOUR, limit};
use crate::toy::{self, Message, Toy};

fn limits() -> EngineConfig {
    let mut config = config(Toy::with_ids());
    let name = LocalRateLimits::NAME.to_owned();
    let filters = &mut config.filters;
    filters.insert(name, Arc::new(LocalRateLimits::default()));
    config
}

fn limited(servers: &[&Server], filter: TypedConfig) -> Mesh {
    let mut mesh = Mesh::of(servers);
    mesh.configured = vec![filter];
    mesh
}

/// How many of `calls` the server answered; the others have to say why not.
fn passed(client: &mut Client, method: &str, calls: u64) -> u64 {
    let mut count = 0;
    for id in 0..calls {
        let reply = client.call(id, method, "x");
        if reply.kind == toy::LOCAL {
            let text = reply.text();
            let start = "rate_limited: local rate limit of 'hello.shop' reached: ";
            assert!(text.starts_with(start), "{text}");
        } else {
            assert_eq!(reply.text(), "x@a");
            count += 1;
        }
    }
    count
}

/// What Istio's metric has of requests with the flag of a rate limit.
fn refused(engine: &Engine) -> Option<u64> {
    let metrics = engine.prometheus();
    let limited =
        |line: &&str| line.starts_with("istio_requests_total{") && line.contains("\"RL\"");
    metrics
        .lines()
        .find(limited)?
        .rsplit(' ')
        .next()?
        .parse()
        .ok()
}

/// The snapshot is in force on every worker.
fn publish(engine: &Engine, mesh: &Mesh) {
    let before = stat(engine, "snapshots_total");
    let workers = stat(engine, "server.concurrency");
    engine.publish(mesh.snapshot());
    until("in force", || {
        stat(engine, "snapshots_total") == before + workers
    });
}

#[test]
fn the_first_condition_that_matches_decides_else_the_default_bucket() {
    let server = Server::start("a");
    let conditions = [
        ("echo", Bucket(2, 2, HOUR)),
        ("echo", Bucket(100, 1, HOUR)),
        ("other", Bucket(1, 1, HOUR)),
    ];
    let mesh = limited(&[&server], limit(&conditions, Some(Bucket(5, 5, HOUR))));
    let engine = start(limits(), &mesh);
    let mut client = Client::connect(mesh.address);
    assert_eq!(passed(&mut client, "echo", 10), 2);
    assert_eq!(passed(&mut client, "other", 10), 1);
    assert_eq!(passed(&mut client, "third", 4), 4);
    assert_eq!(
        passed(&mut client, "fourth", 4),
        1,
        "one bucket for the rest"
    );
    assert_eq!(server.requests(), 8);
    let text = client.call(1, "echo", "").text();
    let why = "2 requests, and 2 more every 3600s where method exact \"echo\"";
    assert!(text.ends_with(why), "{text}");
    assert_eq!(stat(&engine, "hello.shop.local_rate_limit.ok"), 8);
    assert_eq!(
        stat(&engine, "hello.shop.local_rate_limit.rate_limited"),
        21
    );
}

#[test]
fn without_a_default_bucket_what_no_condition_matches_passes() {
    let server = Server::start("a");
    let mesh = limited(&[&server], limit(&[("echo", Bucket(2, 2, HOUR))], None));
    let engine = start(limits(), &mesh);
    let mut client = Client::connect(mesh.address);
    assert_eq!(passed(&mut client, "free", 20), 20);
    assert_eq!(passed(&mut client, "echo", 10), 2);
    assert_eq!(stat(&engine, "hello.shop.local_rate_limit.ok"), 22);
}

#[test]
fn a_bucket_is_filled_while_nobody_looks() {
    let server = Server::start("a");
    let every = Duration::from_millis(1500);
    let mesh = limited(&[&server], limit(&[], Some(Bucket(3, 2, every))));
    let begin = Instant::now();
    let _engine = start(limits(), &mesh);
    let mut client = Client::connect(mesh.address);
    assert_eq!(passed(&mut client, "echo", 9), 3);
    thread::sleep((every + Duration::from_millis(100)).saturating_sub(begin.elapsed()));
    assert_eq!(passed(&mut client, "echo", 9), 2);
}

#[test]
fn all_workers_share_one_bucket_exactly() {
    for workers in [2, 4] {
        let server = Server::start("a");
        let mesh = limited(&[&server], limit(&[], Some(Bucket(100, 1, HOUR))));
        let mut config = limits();
        config.workers = workers;
        let engine = start(config, &mesh);
        let mut clients: Vec<_> = (0..8).map(|_| Client::connect(mesh.address)).collect();
        for client in &mut clients {
            client.send(&Message::new(toy::HEARTBEAT, 0, "", b""));
            client.receive();
        }
        let (total, start) = (AtomicU64::new(0), Barrier::new(clients.len()));
        thread::scope(|scope| {
            for client in &mut clients {
                let (total, start) = (&total, &start);
                scope.spawn(move || {
                    start.wait();
                    total.fetch_add(passed(client, "echo", 50), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(total.into_inner(), 100, "{workers} workers");
        for number in 0..workers {
            let name = format!("worker_{number}.downstream_cx_active");
            assert_eq!(stat(&engine, &name), 8 / workers as u64);
        }
        assert_eq!(stat(&engine, "local_rate_limit.ok"), 100);
        assert_eq!(stat(&engine, "local_rate_limit.rate_limited"), 300);
    }
}

#[test]
fn a_bucket_keeps_its_state_through_every_change_that_does_not_concern_it() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let used = ("echo", Bucket(2, 2, HOUR));
    let mut mesh = limited(&[&a], limit(&[used], Some(Bucket(3, 3, HOUR))));
    let mut config = limits();
    config.workers = 2;
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    assert_eq!(passed(&mut client, "echo", 10), 2);
    publish(&engine, &mesh);
    assert_eq!(passed(&mut client, "echo", 10), 0, "sent again");
    mesh.routes = vec![("sum", vec![("two", 1)]), ("", vec![("one", 1)])];
    publish(&engine, &mesh);
    assert_eq!(passed(&mut client, "echo", 10), 0, "another route");
    mesh.clusters.push(cluster("two", &[b.address]));
    publish(&engine, &mesh);
    assert_eq!(passed(&mut client, "echo", 10), 0, "another cluster");
    mesh.idle_timeout = Some(Duration::from_secs(60));
    publish(&engine, &mesh);
    assert_eq!(passed(&mut client, "echo", 10), 0, "the listener itself");
    let first = ("sum", Bucket(1, 1, HOUR));
    mesh.configured = vec![limit(&[first, used], Some(Bucket(9, 3, HOUR)))];
    publish(&engine, &mesh);
    assert_eq!(
        passed(&mut client, "echo", 10),
        0,
        "other buckets of the limit"
    );
    assert_eq!(
        Client::connect(mesh.address).call(1, "sum", "x").text(),
        "x@b"
    );
    assert_eq!(a.requests(), 2);
    assert_eq!(stat(&engine, "local_rate_limit.ok"), 3);
    assert_eq!(stat(&engine, "local_rate_limit.rate_limited"), 58);
}

#[test]
fn a_changed_limit_starts_full_and_holds_for_connections_that_are_open() {
    let server = Server::start("a");
    let mut mesh = limited(&[&server], limit(&[], Some(Bucket(2, 2, HOUR))));
    let engine = start(limits(), &mesh);
    let mut client = Client::connect(mesh.address);
    assert_eq!(passed(&mut client, "echo", 10), 2);
    mesh.configured = vec![limit(&[], Some(Bucket(5, 5, HOUR)))];
    publish(&engine, &mesh);
    assert_eq!(passed(&mut client, "echo", 10), 5);
    mesh.configured.clear();
    publish(&engine, &mesh);
    assert_eq!(passed(&mut client, "echo", 30), 30);
    mesh.configured = vec![limit(&[("echo", Bucket(1, 1, HOUR))], None)];
    publish(&engine, &mesh);
    assert_eq!(passed(&mut client, "echo", 10), 1);
    // Taken away and back before any worker saw it.
    let taken_back = mesh.snapshot();
    mesh.configured.clear();
    engine.publish(mesh.snapshot());
    engine.publish(taken_back);
    let end = Instant::now() + Duration::from_secs(5);
    while passed(&mut client, "echo", 1) == 0 {
        assert!(Instant::now() < end, "it starts full again");
    }
    assert_eq!(stat(&engine, "downstream_cx_destroy"), 0);
    assert_eq!(stat(&engine, "downstream_cx_total"), 1);
    assert_eq!(stat(&engine, "local_rate_limit.ok"), 2 + 5 + 1 + 1);
    assert!(stat(&engine, "local_rate_limit.rate_limited") >= 8 + 5 + 9);
}

#[test]
fn two_doors_to_one_service_share_its_bucket_and_another_service_has_its_own() {
    let server = Server::start("a");
    let mesh = limited(&[&server], limit(&[], Some(Bucket(3, 3, HOUR))));
    let door = Mesh {
        address: free_address(),
        ..mesh.clone()
    };
    let mut both = (*mesh.snapshot()).clone();
    let mut second = (**door.snapshot().listeners.values().next().unwrap()).clone();
    second.name = "second".into();
    both.listeners.insert("second".into(), Arc::new(second));
    let engine = start(limits(), &mesh);
    engine.publish(Arc::new(both));
    assert_eq!(passed(&mut Client::connect(mesh.address), "echo", 2), 2);
    assert_eq!(passed(&mut Client::connect(door.address), "echo", 9), 1);
}

#[test]
fn a_refused_oneway_is_dropped_and_counted_and_the_connection_goes_on() {
    let server = Server::start("a");
    let mesh = limited(&[&server], limit(&[("tell", Bucket(1, 1, HOUR))], None));
    let engine = start(limits(), &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..5 {
        client.send(&Message::new(toy::ONEWAY, id, "tell", b"x"));
    }
    assert_eq!(client.call(9, "echo", "x").text(), "x@a");
    assert_eq!(server.requests(), 2);
    assert_eq!(stat(&engine, "local_rate_limit.rate_limited"), 4);
    assert_eq!(refused(&engine), Some(4));
}

#[test]
fn a_refused_request_that_is_still_coming_is_answered_at_once_and_the_rest_is_passed_over() {
    let server = Server::start("a");
    let mesh = limited(&[&server], limit(&[("take", Bucket(1, 1, HOUR))], None));
    let _engine = start(limits(), &mesh);
    let mut client = Client::connect(mesh.address);
    let big = "b".repeat(3_000_000);
    assert_eq!(client.call(1, "take", &big).text(), format!("{big}@a"));
    assert_eq!(client.call(2, "take", &big).kind, toy::LOCAL);
    assert_eq!(client.call(3, "echo", "x").text(), "x@a");
    assert_eq!(server.requests(), 2);
}

#[test]
fn a_refusal_keeps_its_place_among_the_replies() {
    let server = Server::start("a");
    let mesh = limited(&[&server], limit(&[("echo", Bucket(1, 1, HOUR))], None));
    let _engine = start(limits(), &mesh);
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(1, "sleep200", b"first"));
    client.send(&Message::request(2, "echo", b"second"));
    client.send(&Message::request(3, "echo", b"third"));
    assert_eq!(client.receive().text(), "first@a");
    assert_eq!(client.receive().text(), "second@a");
    let third = client.receive();
    assert_eq!((third.id, third.kind), (3, toy::LOCAL));
}

#[test]
fn a_refusal_is_seen_in_the_metrics_and_in_the_access_log() {
    let server = Server::start("a");
    let mesh = limited(&[&server], limit(&[], Some(Bucket(1, 1, HOUR))));
    let mut config = limits();
    let path = std::env::temp_dir().join(format!("limited-{}.log", std::process::id()));
    config.access_log = Some(AccessLogConfig {
        target: path.to_string_lossy().into_owned(),
        format: "%RESPONSE_FLAGS% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%".to_owned(),
    });
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    passed(&mut client, "echo", 3);
    assert_eq!(refused(&engine), Some(2));
    let metrics = engine.prometheus();
    let original = "envoy_meta_protocol_hello_shop_local_rate_limit_rate_limited{} 2";
    assert!(metrics.lines().any(|line| line == original), "{metrics}");
    engine.stop();
    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines[0], "- 0 via_upstream");
    assert_eq!(lines[1..], ["RL 1 rate_limited"; 2]);
}

#[test]
fn a_limit_that_cannot_be_is_not_served_and_says_why() {
    let server = Server::start("a");
    let mesh = limited(&[&server], limit(&[], Some(Bucket(0, 1, HOUR))));
    let engine = Engine::start(limits()).unwrap();
    engine.set_log_level(meltemi_proxy::Level::Error);
    engine.publish(mesh.snapshot());
    let (_, reason) = engine.listener_errors().remove(0);
    let wanted = "local_ratelimit: token_bucket.max_tokens: has to be above 0";
    assert!(reason.ends_with(wanted), "{reason}");
}
