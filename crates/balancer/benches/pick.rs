//! What one pick costs: `cargo bench -p meltemi-balancer`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use divan::{Bencher, black_box};
use meltemi_balancer::{Balancer, Endpoint, Policy, Rng};

fn main() {
    divan::main();
}

/// `heavy`: every second endpoint has three times the weight.
fn balancer(policy: Policy, count: u32, heavy: bool) -> Balancer {
    let endpoint = |number: u32| Endpoint {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::from(number)), 9090),
        weight: if heavy && number % 2 == 1 { 3 } else { 1 },
        healthy: true,
        peer: None,
    };
    let endpoints: Arc<[Endpoint]> = (0..count).map(endpoint).collect();
    Balancer::new(policy, &endpoints)
}

/// A request: picked, started and finished.
fn request(bencher: Bencher<'_, '_>, mut balancer: Balancer) {
    let mut rng = Rng::new(1);
    bencher.bench_local(|| {
        let picked = balancer.pick(&mut rng, black_box(&[]));
        if let Some(index) = picked {
            balancer.started(index);
            balancer.finished(index);
        }
        picked
    });
}

const COUNTS: [u32; 4] = [1, 2, 8, 100];

#[divan::bench(args = COUNTS)]
fn least_request(bencher: Bencher<'_, '_>, count: u32) {
    request(bencher, balancer(Policy::LeastRequest, count, false));
}

#[divan::bench(args = COUNTS)]
fn least_request_by_weight(bencher: Bencher<'_, '_>, count: u32) {
    request(bencher, balancer(Policy::LeastRequest, count, true));
}

#[divan::bench(args = COUNTS)]
fn round_robin(bencher: Bencher<'_, '_>, count: u32) {
    request(bencher, balancer(Policy::RoundRobin, count, false));
}

#[divan::bench(args = COUNTS)]
fn random(bencher: Bencher<'_, '_>, count: u32) {
    request(bencher, balancer(Policy::Random, count, false));
}
