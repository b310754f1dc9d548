//! A filter that waits for an answer from elsewhere.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use meltemi_codec::ErrorKind;
use meltemi_proxy::filter::{
    Configuration, Filter, FilterConfig, FilterFactory, RequestView, Resume, Verdict,
};

use crate::bed::{Client, Mesh, Server, config, start, stat, until};
use crate::toy::{self, Message, Toy};

/// Parks requests of the method `ask` and hands them to a thread that takes its time.
struct Asking(Mutex<mpsc::Sender<Resume>>);

struct Asks(mpsc::Sender<Resume>);

impl FilterFactory for Asking {
    fn compile(&self, _from: &Configuration<'_>) -> Result<Arc<dyn FilterConfig>, String> {
        let sender = self.0.lock().unwrap().clone();
        Ok(Arc::new(move || {
            Box::new(Asks(sender.clone())) as Box<dyn Filter>
        }))
    }
}

impl Filter for Asks {
    fn request(&mut self, request: &mut RequestView<'_>) -> Verdict {
        if request.attribute("method") != Some(b"ask") {
            return Verdict::Continue;
        }
        self.0.send(request.resume()).unwrap();
        Verdict::Park {
            timeout: Duration::from_millis(2500),
        }
    }
}

fn bed() -> (Server, Mesh, meltemi_proxy::Engine, mpsc::Receiver<Resume>) {
    let server = Server::start("a");
    let mut mesh = Mesh::of(&[&server]);
    mesh.filters = vec!["not.known.here", "asking"];
    let (sender, receiver) = mpsc::channel();
    let mut config = config(Toy::any_order());
    config
        .filters
        .insert("asking".to_owned(), Arc::new(Asking(Mutex::new(sender))));
    let engine = start(config, &mesh);
    (server, mesh, engine, receiver)
}

#[test]
fn a_filter_that_waits_for_seconds_delays_nobody_else_on_this_or_another_connection() {
    let (server, mesh, _engine, parked) = bed();
    thread::spawn(move || {
        for resume in parked {
            thread::sleep(Duration::from_millis(1500));
            resume.complete(Verdict::Continue);
            // Once is enough; the second call must not send the request twice.
            resume.complete(Verdict::Continue);
        }
    });
    let mut waiting = Client::connect(mesh.address);
    waiting.send(&Message::request(1, "ask", b"patient"));
    let begin = Instant::now();
    let mut other = Client::connect(mesh.address);
    let mut slowest = Duration::ZERO;
    for id in 2..100 {
        let one = Instant::now();
        assert_eq!(waiting.call(id, "echo", "x").text(), "x@a");
        assert_eq!(other.call(id, "echo", "y").text(), "y@a");
        slowest = slowest.max(one.elapsed());
    }
    assert!(begin.elapsed() < Duration::from_millis(1400) && slowest < Duration::from_millis(500));
    assert_eq!(waiting.receive().text(), "patient@a");
    assert!(begin.elapsed() >= Duration::from_millis(1500));
    assert_eq!(server.requests(), 1 + 2 * 98);
}

#[test]
fn a_parked_request_can_be_answered_instead() {
    let (server, mesh, _engine, parked) = bed();
    thread::spawn(move || {
        for resume in parked {
            let message = "the quota is used up".into();
            resume.complete(Verdict::Answer {
                kind: ErrorKind::RateLimited,
                message,
            });
        }
    });
    let mut client = Client::connect(mesh.address);
    let reply = client.call(1, "ask", "");
    assert_eq!(
        (reply.kind, reply.text().as_str()),
        (toy::LOCAL, "rate_limited: the quota is used up")
    );
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_parked_request_that_nobody_completes_is_answered_at_its_timeout() {
    let (_server, mesh, engine, parked) = bed();
    let mut client = Client::connect(mesh.address);
    let begin = Instant::now();
    let reply = client.call(1, "ask", "");
    assert!(
        reply.text().starts_with("timeout: a filter"),
        "{}",
        reply.text()
    );
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(2400) && took < Duration::from_secs(4),
        "{took:?}"
    );
    drop(parked);
    assert_eq!(stat(&engine, "filter_parked"), 1);
}

#[test]
fn a_parked_request_whose_caller_left_is_forgotten() {
    let (server, mesh, engine, parked) = bed();
    let mut client = Client::connect(mesh.address);
    client.send(&Message::request(1, "ask", b""));
    let resume = parked.recv().unwrap();
    client.abort();
    until("gone", || stat(&engine, "downstream_cx_active") == 0);
    resume.complete(Verdict::Continue);
    assert_eq!(
        Client::connect(mesh.address).call(1, "echo", "x").text(),
        "x@a"
    );
    assert_eq!(server.requests(), 1);
    assert_eq!(stat(&engine, "meltemi.buffered_bytes"), 0);
}

#[test]
fn a_large_request_can_be_parked_while_its_bytes_still_come() {
    let (_server, mesh, _engine, parked) = bed();
    thread::spawn(move || {
        for resume in parked {
            resume.complete(Verdict::Continue);
        }
    });
    let mut client = Client::connect(mesh.address);
    let big = "b".repeat(3_000_000);
    assert_eq!(client.call(1, "ask", &big).text(), format!("{big}@a"));
}
