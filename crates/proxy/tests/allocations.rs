//! The path of a request takes no memory from the allocator.
#![allow(missing_docs)]

#[path = "engine/bed.rs"]
#[allow(dead_code)]
mod bed;
#[path = "engine/limit.rs"]
mod limit;
#[path = "engine/toy.rs"]
#[allow(dead_code)]
mod toy;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bed::{Client, Mesh, Server, cluster, config, remove, set, start};
use limit::{Bucket, HOUR, limit};
use meltemi_proxy::LocalRateLimits;
use meltemi_proxy::filter::{
    Configuration, Filter, FilterConfig, FilterFactory, RequestView, Verdict,
};
use toy::{Message, Toy};

/// Counts what the workers ask for.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_WORKER.with(Cell::get) {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A filter runs on the worker's thread, and tells which one that is.
struct Marking;

impl FilterFactory for Marking {
    fn compile(&self, _from: &Configuration<'_>) -> Result<Arc<dyn FilterConfig>, String> {
        Ok(Arc::new(|| Box::new(Self) as Box<dyn Filter>))
    }
}

impl Filter for Marking {
    fn request(&mut self, _request: &mut RequestView<'_>) -> Verdict {
        IS_WORKER.with(|is| is.set(true));
        Verdict::Continue
    }
}

fn pipelined(client: &mut Client, rounds: u64) {
    for _ in 0..rounds {
        // The slow endpoint's replies come last: the others are held back until their turn.
        for id in 0..8 {
            client.send(&Message::request(id, "echo", b"some payload"));
        }
        for id in 0..8 {
            assert_eq!(client.receive().id, id);
        }
    }
}

#[test]
fn a_request_allocates_nothing_once_the_worker_is_warm() {
    // What a route changes is handed to the codec without memory of its own (which `codec` tests); this
    // one has no place for it.
    for (max_in_flight, mutates) in [(1, false), (100, false), (100, true)] {
        let (a, b) = (Server::start("a"), Server::start("b"));
        let mut mesh = Mesh::of(&[&a]);
        mesh.clusters.push(cluster("two", &[b.address]));
        mesh.routes = vec![("", vec![("one", 80), ("two", 20)])];
        mesh.filters = vec!["marking"];
        let much = Bucket(1_000_000, 1, HOUR);
        mesh.configured = vec![limit(&[("echo", much)], Some(much))];
        if mutates {
            mesh.request_mutation = vec![set("lane", "blue"), remove("trace")];
            mesh.response_mutation = mesh.request_mutation.clone();
        }
        for cluster in &mut mesh.clusters {
            cluster.max_in_flight = Some(max_in_flight);
        }
        let mut config = config(Toy::with_ids());
        config
            .filters
            .insert("marking".to_owned(), Arc::new(Marking));
        let limits = Arc::new(LocalRateLimits::default());
        config
            .filters
            .insert(LocalRateLimits::NAME.to_owned(), limits);
        config.limits.upstream_idle_timeout = Duration::from_secs(60);
        let _engine = start(config, &mesh);
        let mut client = Client::connect(mesh.address);
        pipelined(&mut client, 50);
        let before = COUNT.load(Ordering::Relaxed);
        pipelined(&mut client, 100);
        for id in 0..500 {
            assert_eq!(client.call(id, "echo", "x").id, id);
        }
        let taken = COUNT.load(Ordering::Relaxed) - before;
        // 1,300 requests; a buffer may still grow to its final size now and then.
        assert!(taken < 30, "{taken} allocations, {max_in_flight} in flight");
    }
}
