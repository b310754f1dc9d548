//! Requests that are kept after they were sent: sent again elsewhere, or copied to a second upstream.

use std::sync::Arc;
use std::time::Duration;

use meltemi_codec::{ErrorKind, Status};
use meltemi_proxy::filter::{
    Again, Configuration, Filter, FilterConfig, FilterFactory, RequestView, Verdict,
};

use crate::bed::{Client, Mesh, Server, cluster, config, start, stat, until};
use crate::toy::{self, Message, Toy};

/// Keeps every request and sends it up to three times.
struct Retrying;

impl FilterFactory for Retrying {
    fn compile(&self, _from: &Configuration<'_>) -> Result<Arc<dyn FilterConfig>, String> {
        Ok(Arc::new(|| Box::new(Self) as Box<dyn Filter>))
    }
}

impl Filter for Retrying {
    fn request(&mut self, request: &mut RequestView<'_>) -> Verdict {
        request.keep();
        Verdict::Continue
    }

    fn replied(&mut self, status: Status, attempts: u32) -> Again {
        if status == Status::Error && attempts < 3 {
            Again::Yes
        } else {
            Again::No
        }
    }

    fn failed(&mut self, error: ErrorKind, attempts: u32) -> Again {
        let transient = matches!(error, ErrorKind::UpstreamReset | ErrorKind::Timeout);
        if transient && attempts < 3 {
            Again::Yes
        } else {
            Again::No
        }
    }
}

/// Copies every request to the cluster `shadow`.
struct Copying;

impl FilterFactory for Copying {
    fn compile(&self, _from: &Configuration<'_>) -> Result<Arc<dyn FilterConfig>, String> {
        Ok(Arc::new(|| Box::new(Self) as Box<dyn Filter>))
    }
}

impl Filter for Copying {
    fn request(&mut self, request: &mut RequestView<'_>) -> Verdict {
        request.copy_to("shadow".into());
        Verdict::Continue
    }
}

fn retrying(mesh: &mut Mesh, protocol: Toy) -> meltemi_proxy::Engine {
    mesh.filters = vec!["retrying"];
    let mut config = config(protocol);
    config.limits.request_timeout = Duration::from_millis(300);
    config
        .filters
        .insert("retrying".to_owned(), Arc::new(Retrying));
    start(config, mesh)
}

#[test]
fn a_request_whose_upstream_broke_is_sent_again_to_another_endpoint() {
    for max_in_flight in [1, 100] {
        let (bad, good) = (breaking(), Server::start("good"));
        let mut mesh = Mesh::of(&[&good]);
        mesh.clusters = vec![cluster("one", &[bad, good.address])];
        let mut mesh = mesh.with(|cluster| cluster.max_in_flight = Some(max_in_flight));
        let engine = retrying(&mut mesh, Toy::with_ids());
        let mut client = Client::connect(mesh.address);
        for id in 0..10 {
            let payload = format!("p{id}");
            assert_eq!(
                client.call(id, "echo", &payload).text(),
                format!("{payload}@good")
            );
        }
        assert!(stat(&engine, "upstream_rq_rx_reset") >= 5);
        assert_eq!(good.requests(), 10);
    }
}

/// Reads a request, and closes.
fn breaking() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind(crate::bed::free_address()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whatever comes, and then no answer.
            let _ = crate::bed::receive(&mut stream);
        }
    });
    address
}

#[test]
fn a_reply_that_says_failed_is_not_passed_on_while_there_are_attempts_left() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mut mesh = Mesh::of(&[&a, &b]);
    let _engine = retrying(&mut mesh, Toy::with_ids());
    let mut client = Client::connect(mesh.address);
    assert_eq!(client.call(1, "fail", "").kind, toy::FAILURE);
    assert_eq!(a.requests() + b.requests(), 3);
    assert!(
        a.requests() > 0 && b.requests() > 0,
        "each attempt elsewhere"
    );
    assert_eq!(client.call(2, "echo", "x").id, 2);
}

#[test]
fn a_request_that_timed_out_is_sent_again_and_the_late_reply_reaches_nobody() {
    let server = Server::start("r");
    let mut mesh = Mesh::of(&[&server]);
    let _engine = retrying(&mut mesh, Toy::with_ids());
    let mut client = Client::connect(mesh.address);
    let reply = client.call(1, "never", "");
    assert!(reply.text().starts_with("timeout"), "{}", reply.text());
    assert_eq!(server.requests(), 3);
    assert_eq!(client.call(1, "echo", "x").text(), "x@r");
}

#[test]
fn a_request_is_copied_to_a_second_upstream_whose_reply_nobody_sees() {
    for max_in_flight in [1, 100] {
        let (server, shadow) = (Server::start("a"), Server::start("shadow"));
        let mut mesh = Mesh::of(&[&server]);
        mesh.clusters.push(cluster("shadow", &[shadow.address]));
        for cluster in &mut mesh.clusters {
            cluster.max_in_flight = Some(max_in_flight);
        }
        mesh.filters = vec!["copying"];
        let mut config = config(Toy::with_ids());
        config
            .filters
            .insert("copying".to_owned(), Arc::new(Copying));
        let engine = start(config, &mesh);
        let mut client = Client::connect(mesh.address);
        for id in 0..20 {
            let payload = format!("p{id}");
            assert_eq!(
                client.call(id, "echo", &payload).text(),
                format!("{payload}@a")
            );
        }
        client.send(&Message::new(toy::ONEWAY, 30, "note", b""));
        let big = "b".repeat(200_000);
        assert_eq!(client.call(31, "echo", &big).text(), format!("{big}@a"));
        until("all copied", || shadow.requests() == 22);
        assert_eq!(server.requests(), 22);
        until("nothing in flight", || {
            stat(&engine, "upstream_rq_active") == 0
        });
        assert_eq!(stat(&engine, "cluster.shadow.upstream_rq_mirrored"), 22);
    }
}

#[test]
fn a_shadow_that_is_gone_hurts_nobody() {
    let server = Server::start("a");
    let mut mesh = Mesh::of(&[&server]);
    mesh.clusters
        .push(cluster("shadow", &[crate::bed::free_address()]));
    mesh.filters = vec!["copying"];
    let mut config = config(Toy::with_ids());
    config
        .filters
        .insert("copying".to_owned(), Arc::new(Copying));
    let _engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    for id in 0..20 {
        assert_eq!(client.call(id, "echo", "x").text(), "x@a");
    }
}

#[test]
fn no_more_requests_are_tried_again_at_once_than_the_cluster_allows() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let mut mesh = Mesh::of(&[&a, &b]).with(|cluster| {
        cluster.limits.max_retries = Some(0);
    });
    let engine = retrying(&mut mesh, Toy::with_ids());
    let mut client = Client::connect(mesh.address);
    assert_eq!(client.call(1, "fail", "").kind, toy::FAILURE);
    assert_eq!(a.requests() + b.requests(), 1);
    assert_eq!(stat(&engine, "upstream_rq_retry_overflow"), 1);
    assert_eq!(stat(&engine, "upstream_rq_retry"), 0);
}
