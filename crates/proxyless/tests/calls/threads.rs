//! Many threads that call, while others update.
#![expect(clippy::disallowed_methods, reason = "threads are what is tested")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use meltemi_proxyless::Failure;

use crate::bed::{Calls, Mesh, cluster, outliers, retried, retry, weighted};

const THREADS: usize = 4;
const CALLS: usize = 4_000;

#[test]
fn nothing_in_flight_is_left_when_all_calls_of_all_threads_have_ended() {
    let route = || {
        retried(
            weighted([("v1", 3), ("v2", 1)]),
            retry("5xx,connect-failure", 2),
        )
    };
    let mesh = move |round: u16| {
        let mut clusters = [cluster("v1", [1, 2, 3 + round % 3]), cluster("v2", [9, 10])];
        for one in &mut clusters {
            one.outlier = Some(Box::new(outliers(50, Duration::from_millis(1))));
        }
        Mesh::of(vec![route()], clusters)
    };
    let router = Arc::new(mesh(0).router());
    let stop = Arc::new(AtomicBool::new(false));
    let updates = {
        let (router, stop) = (Arc::clone(&router), Arc::clone(&stop));
        thread::spawn(move || {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                router.publish(Arc::new(mesh(round).0));
                thread::yield_now();
            }
        })
    };
    let of_v2 = Arc::new(AtomicUsize::new(0));
    let callers = (0..THREADS).map(|thread| {
        let (router, of_v2) = (Arc::clone(&router), Arc::clone(&of_v2));
        thread::spawn(move || {
            let failure = Failure::parse("connect-failure").unwrap();
            for number in 0..CALLS {
                let now = Duration::from_micros(number as u64);
                let mut call = router.at(now);
                of_v2.fetch_add(usize::from(&**call.cluster() == "v2"), Ordering::Relaxed);
                match (number + thread) % 4 {
                    0 => call.succeeded(Some(503), now),
                    1 => while call.failed(failure, None, now).is_some() {},
                    2 => drop(call),
                    _ => call.succeeded(None, now),
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.join().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    updates.join().unwrap();
    for state in router.clusters() {
        assert_eq!(state.requests, 0, "{}", state.name);
        let active: Vec<_> = state.endpoints.iter().map(|one| one.active).collect();
        assert_eq!(active, vec![0; active.len()], "{}", state.name);
    }
    let share = of_v2.load(Ordering::Relaxed) as f64 / (THREADS * CALLS) as f64;
    assert!((share - 0.25).abs() < 0.01, "{share}");
}
