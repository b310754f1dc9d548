//! Several workers.

use std::thread;

use crate::bed::{Client, Mesh, Server, config, start, stat, until};
use crate::toy::Toy;

#[test]
fn connections_are_spread_over_the_workers_evenly_and_stay_so_when_some_close() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.workers = 4;
    let engine = start(config, &mesh);
    let mut clients: Vec<_> = (0..40).map(|_| Client::connect(mesh.address)).collect();
    let on_each = || -> Vec<u64> {
        (0..4)
            .map(|number| stat(&engine, &format!("worker_{number}.downstream_cx_active")))
            .collect()
    };
    until("all placed", || on_each().iter().sum::<u64>() == 40);
    assert_eq!(on_each(), [10, 10, 10, 10]);
    // Every fourth leaves: all of them were on one worker.
    for at in (0..10).rev() {
        drop(clients.remove(at * 4));
    }
    until("gone", || on_each().iter().sum::<u64>() == 30);
    clients.extend((0..10).map(|_| Client::connect(mesh.address)));
    until("placed again", || on_each().iter().sum::<u64>() == 40);
    assert_eq!(on_each(), [10, 10, 10, 10]);
    for client in &mut clients {
        assert_eq!(client.call(1, "echo", "x").text(), "x@a");
    }
}

#[test]
fn what_the_workers_counted_is_added_up() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    config.workers = 3;
    let engine = start(config, &mesh);
    let callers: Vec<_> = (0..6)
        .map(|_| {
            let address = mesh.address;
            thread::spawn(move || {
                let mut client = Client::connect(address);
                for id in 0..50 {
                    client.call(id, "echo", "x");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    assert_eq!(stat(&engine, "cluster.one.upstream_rq_total"), 300);
    assert_eq!(engine.clusters()[0].endpoints[0].total, 300);
    assert_eq!(engine.clusters()[0].endpoints[0].active, 0);
    let total = engine
        .prometheus()
        .lines()
        .find(|line| line.starts_with("istio_requests_total{"))
        .and_then(|line| line.rsplit(' ').next().map(str::to_owned));
    assert_eq!(total.as_deref(), Some("300"));
}
