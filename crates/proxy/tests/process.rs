//! What concerns a whole process: descriptors that run out, a worker that panics, memory of idle
//! connections. Each test runs in a process of its own.
#![allow(missing_docs)]

#[path = "engine/bed.rs"]
#[allow(dead_code)]
mod bed;
#[path = "engine/toy.rs"]
#[allow(dead_code)]
mod toy;

use std::net::TcpStream;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bed::{Client, Mesh, Server, config, start, stat, until};
use meltemi_proxy::filter::{
    Configuration, Filter, FilterConfig, FilterFactory, RequestView, Verdict,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use toy::Toy;

/// Runs the test `name` of this file alone, as a child process.
fn alone(name: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([
            name,
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .output()
        .unwrap()
}

fn passes_alone(name: &str) {
    let output = alone(name);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn out_of_descriptors_means_a_pause_not_a_spin_and_nobody_is_lost() {
    passes_alone("child_runs_out_of_descriptors");
}

#[test]
#[ignore = "a child of out_of_descriptors_means_a_pause_not_a_spin_and_nobody_is_lost"]
fn child_runs_out_of_descriptors() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut early = Client::connect(mesh.address);
    assert_eq!(early.call(1, "echo", "x").text(), "x@a");
    let before = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(48),
            ..before
        },
    )
    .unwrap();
    // The clients live in this process too: they and the proxy take what there is.
    let mut late = Vec::new();
    while let Ok(stream) = TcpStream::connect(mesh.address) {
        late.push(stream);
    }
    until("counted", || {
        stat(&engine, "accept_out_of_descriptors_total") > 0
    });
    let turns = || stat(&engine, "accept_out_of_descriptors_total");
    let first = turns();
    let time = cpu_time();
    thread::sleep(Duration::from_secs(1));
    assert!(
        turns() - first < 25,
        "{} tries in a second",
        turns() - first
    );
    assert!(cpu_time() - time < Duration::from_millis(300), "it spins");
    assert_eq!(
        early.call(2, "echo", "x").text(),
        "x@a",
        "who is there is served"
    );
    setrlimit(Resource::Nofile, before).unwrap();
    assert!(late.len() > 5);
    for stream in late {
        assert_eq!(Client(stream).call(1, "echo", "late").text(), "late@a");
    }
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

struct Panicking;

impl FilterFactory for Panicking {
    fn compile(&self, _from: &Configuration<'_>) -> Result<Arc<dyn FilterConfig>, String> {
        Ok(Arc::new(|| Box::new(Self) as Box<dyn Filter>))
    }
}

impl Filter for Panicking {
    fn request(&mut self, _request: &mut RequestView<'_>) -> Verdict {
        panic!("a filter that is wrong");
    }
}

#[test]
fn a_worker_that_panics_ends_the_process_with_a_message() {
    let output = alone("child_whose_worker_panics");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("a filter that is wrong"), "{text}");
    assert!(
        text.contains("meltemi: thread meltemi-0 ended by a panic"),
        "{text}"
    );
}

#[test]
#[ignore = "a child of a_worker_that_panics_ends_the_process_with_a_message"]
fn child_whose_worker_panics() {
    let server = Server::start("a");
    let mut mesh = Mesh::of(&[&server]);
    mesh.filters = vec!["panicking"];
    let mut config = config(Toy::with_ids());
    config
        .filters
        .insert("panicking".to_owned(), Arc::new(Panicking));
    let _engine = start(config, &mesh);
    let begin = Instant::now();
    let mut client = Client::connect(mesh.address);
    client.send(&toy::Message::request(1, "echo", b""));
    while begin.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_idle_connection_takes_less_than_a_kilobyte() {
    passes_alone("child_with_idle_connections");
}

#[test]
#[ignore = "a child of an_idle_connection_takes_less_than_a_kilobyte"]
fn child_with_idle_connections() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .unwrap();
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]).with(|cluster| cluster.max_in_flight = Some(1000));
    let engine = start(config(Toy::with_ids()), &mesh);
    Client::connect(mesh.address).call(1, "echo", &"x".repeat(1000));
    let mut clients: Vec<Client> = Vec::with_capacity(8000);
    let before = resident();
    for _ in 0..4000 {
        clients.push(Client::connect(mesh.address));
    }
    until("all there", || {
        stat(&engine, "worker_0.downstream_cx_active") == 4000
    });
    let idle = resident().saturating_sub(before) / 4000;
    for client in &mut clients {
        assert_eq!(client.call(1, "echo", &"x".repeat(600)).payload.len(), 602);
    }
    let used = resident().saturating_sub(before) / 4000;
    println!("{idle} bytes an idle connection, {used} after it was used");
    assert!(idle < 1024, "{idle}");
    assert!(used < 1400, "{used}");
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
