//! What one pick costs: `cargo bench -p meltemi-balancer`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use divan::{Bencher, black_box};
use meltemi_balancer::{Balancer, Endpoint, HashTable, Policy, Rng, Spread};

fn main() {
    divan::main();
}

/// `heavy`: every second endpoint has three times the weight.
fn balancer(policy: Policy, count: u32, heavy: bool) -> Balancer {
    let endpoint = |number: u32| Endpoint {
        weight: if heavy && number % 2 == 1 { 3 } else { 1 },
        ..Endpoint::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(number)), 9090))
    };
    let endpoints: Arc<[Endpoint]> = (0..count).map(endpoint).collect();
    Balancer::new(policy, &endpoints)
}

/// A request: picked, started and finished.
fn request(bencher: Bencher<'_, '_>, mut balancer: Balancer) {
    let mut rng = Rng::new(1);
    bencher.bench_local(|| {
        let picked = balancer.pick(&mut rng, black_box(&[]), None);
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

const RING: Policy = Policy::RingHash {
    min: 1024,
    max: 8 << 20,
};
const MAGLEV: Policy = Policy::Maglev { table_size: 65537 };

/// As `request`, with a table and another hash each time.
fn hashed(bencher: Bencher<'_, '_>, policy: Policy, count: u32) {
    let mut balancer = balancer(policy, count, false);
    let table = HashTable::new(policy, &Spread::ENVOY, balancer.endpoints()).map(Arc::new);
    balancer.set_table(table.as_ref());
    let (mut rng, mut hash) = (Rng::new(1), 0_u64);
    bencher.bench_local(|| {
        hash = hash.wrapping_add(0x9E37_79B9_7F4A_7C15);
        balancer.pick(&mut rng, black_box(&[]), black_box(Some(hash)))
    });
}

#[divan::bench(args = COUNTS)]
fn ring_hash(bencher: Bencher<'_, '_>, count: u32) {
    hashed(bencher, RING, count);
}

#[divan::bench(args = COUNTS)]
fn maglev(bencher: Bencher<'_, '_>, count: u32) {
    hashed(bencher, MAGLEV, count);
}

/// What a change of the endpoints costs, off the workers.
#[divan::bench(args = [2, 100])]
fn ring_is_made(bencher: Bencher<'_, '_>, count: u32) {
    made(bencher, RING, count);
}

#[divan::bench(args = [2, 100])]
fn maglev_is_made(bencher: Bencher<'_, '_>, count: u32) {
    made(bencher, MAGLEV, count);
}

fn made(bencher: Bencher<'_, '_>, policy: Policy, count: u32) {
    let balancer = balancer(policy, count, false);
    bencher.bench_local(|| HashTable::new(policy, &Spread::ENVOY, black_box(balancer.endpoints())));
}
