//! Where a hash leads: the same place each time, and few move when endpoints come and go.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_balancer::{Balancer, Endpoint, HashTable, Health, Policy, Rng, Spread};
use proptest::collection::vec;
use proptest::prelude::*;

const RING: Policy = Policy::RingHash {
    min: 1024,
    max: 8 << 20,
};
const MAGLEV: Policy = Policy::Maglev { table_size: 65537 };

/// Never panics: who is sick gets nothing.
const CALM: Spread = Spread {
    panic_threshold: 0,
    ..Spread::ENVOY
};

fn endpoint(number: u16, weight: u32, healthy: bool) -> Endpoint {
    Endpoint {
        weight,
        health: if healthy {
            Health::Healthy
        } else {
            Health::Unhealthy
        },
        ..Endpoint::new(SocketAddr::from(([127, 0, 0, 1], number)))
    }
}

fn even(count: u16) -> Arc<[Endpoint]> {
    (1..=count)
        .map(|number| endpoint(number, 1, true))
        .collect()
}

fn balancer(policy: Policy, endpoints: &Arc<[Endpoint]>) -> Balancer {
    let mut balancer = Balancer::new(policy, endpoints);
    balancer.set_spread(CALM);
    let table = HashTable::new(policy, &CALM, endpoints).map(Arc::new);
    balancer.set_table(table.as_ref());
    balancer
}

/// The port that each of `count` hashes goes to.
fn owners(policy: Policy, endpoints: &Arc<[Endpoint]>, count: usize) -> Vec<u16> {
    let mut balancer = balancer(policy, endpoints);
    let (mut hashes, mut rng) = (Rng::new(7), Rng::new(1));
    (0..count)
        .map(|_| {
            let picked = balancer.pick(&mut rng, &[], Some(hashes.next_u64()));
            endpoints[picked.expect("an endpoint")].address.port()
        })
        .collect()
}

fn counts(ports: &[u16]) -> HashMap<u16, usize> {
    let mut counts = HashMap::new();
    for port in ports {
        *counts.entry(*port).or_default() += 1;
    }
    counts
}

#[test]
fn a_hash_leads_to_one_endpoint_whatever_the_chance_and_whoever_is_busy() {
    let endpoints = even(5);
    for policy in [RING, MAGLEV] {
        let mut balancers = [balancer(policy, &endpoints), balancer(policy, &endpoints)];
        for seed in 0..200 {
            let hash = Some(Rng::new(seed).next_u64());
            let first = balancers[0].pick(&mut Rng::new(seed), &[], hash).unwrap();
            balancers[0].started(first);
            for balancer in &mut balancers {
                assert_eq!(
                    balancer.pick(&mut Rng::new(seed + 1), &[], hash),
                    Some(first)
                );
            }
        }
    }
}

#[test]
fn without_a_hash_all_endpoints_are_picked_by_chance() {
    for policy in [RING, MAGLEV] {
        let mut balancer = balancer(policy, &even(4));
        let mut rng = Rng::new(3);
        let mut seen = [0; 4];
        for _ in 0..4000 {
            seen[balancer.pick(&mut rng, &[], None).unwrap()] += 1;
        }
        assert!(
            seen.iter().all(|count| (700..1300).contains(count)),
            "{seen:?}"
        );
    }
}

#[test]
fn shares_follow_the_weights() {
    let endpoints: Arc<[Endpoint]> = [endpoint(1, 1, true), endpoint(2, 3, true)].into();
    for (policy, off) in [(RING, 600), (MAGLEV, 200)] {
        let seen = counts(&owners(policy, &endpoints, 10_000));
        assert!(seen[&2].abs_diff(7500) < off, "{policy:?} {seen:?}");
    }
}

#[test]
fn who_is_sick_or_has_no_weight_is_not_in_the_table() {
    let endpoints: Arc<[Endpoint]> = [
        endpoint(1, 1, false),
        endpoint(2, 0, true),
        endpoint(3, 1, true),
    ]
    .into();
    for policy in [RING, MAGLEV] {
        assert_eq!(
            counts(&owners(policy, &endpoints, 500))
                .into_keys()
                .collect::<Vec<_>>(),
            [3]
        );
        let none: Arc<[Endpoint]> = [endpoint(1, 1, false)].into();
        assert!(HashTable::new(policy, &CALM, &none).is_none());
        assert_eq!(
            balancer(policy, &none).pick(&mut Rng::new(1), &[], Some(5)),
            None
        );
    }
}

#[test]
fn the_order_of_the_endpoints_does_not_matter() {
    let endpoints = even(9);
    let reversed: Arc<[Endpoint]> = endpoints.iter().rev().cloned().collect();
    for policy in [RING, MAGLEV] {
        assert_eq!(
            owners(policy, &endpoints, 2000),
            owners(policy, &reversed, 2000)
        );
    }
}

/// How many of 10,000 hashes go elsewhere when one endpoint comes to `count`, and how many of those not
/// to the new one.
fn moved(policy: Policy, count: u16) -> (usize, usize) {
    let before = owners(policy, &even(count), 10_000);
    let after = owners(policy, &even(count + 1), 10_000);
    let moved: Vec<u16> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .map(|(_, after)| *after)
        .collect();
    let to_others = moved.iter().filter(|port| **port != count + 1).count();
    (moved.len(), to_others)
}

#[test]
fn a_table_of_other_endpoints_is_not_used() {
    let (old, new) = (even(5), even(1));
    let mut balancer = balancer(RING, &old);
    balancer.update(&new);
    let stale = HashTable::new(RING, &CALM, &old).map(Arc::new);
    balancer.set_table(stale.as_ref());
    for hash in 0..50 {
        assert_eq!(
            balancer.pick(&mut Rng::new(hash), &[], Some(hash << 50)),
            Some(0)
        );
    }
}

#[test]
fn an_endpoint_too_light_for_a_place_is_asked_when_all_others_were() {
    let endpoints: Arc<[Endpoint]> = [endpoint(1, 1, true), endpoint(2, 1_000_000, true)].into();
    let policy = Policy::RingHash { min: 1, max: 4 };
    let mut balancer = balancer(policy, &endpoints);
    for tried in [vec![0], vec![1]] {
        let other = 1 - tried[0];
        assert_eq!(
            balancer.pick(&mut Rng::new(1), &tried, Some(9)),
            Some(other)
        );
    }
    assert_eq!(balancer.pick(&mut Rng::new(1), &[0, 1], Some(9)), None);
}

proptest! {
    #[test]
    fn a_retry_goes_to_an_untried_endpoint_always_the_same(
        weights in vec((0_u32..5, any::<bool>()), 1..12),
        hash: u64,
        maglev: bool,
    ) {
        let endpoints: Arc<[Endpoint]> = (1..)
            .zip(&weights)
            .map(|(number, (weight, healthy))| endpoint(number, *weight, *healthy))
            .collect();
        let policy = if maglev { Policy::Maglev { table_size: 251 } } else { RING };
        let walk = |seed: u64| {
            let mut balancer = balancer(policy, &endpoints);
            let mut tried = Vec::new();
            while let Some(next) = balancer.pick(&mut Rng::new(seed), &tried, Some(hash)) {
                tried.push(next);
            }
            tried
        };
        let tried = walk(1);
        prop_assert_eq!(&tried, &walk(2));
        let mut each = tried.clone();
        each.sort_unstable();
        let usable = (0..weights.len()).filter(|at| weights[*at].0 > 0 && weights[*at].1);
        prop_assert_eq!(each, usable.collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn one_endpoint_more_moves_its_share_of_the_hashes_and_few_others(
        count in 2_u16..30,
        maglev: bool,
    ) {
        let (all, to_others) = moved(if maglev { MAGLEV } else { RING }, count);
        let share = 10_000 / usize::from(count + 1);
        // A ring keeps its size, so that each endpoint has fewer places than before, and Maglev trades
        // for equal shares: others move, too, but no more than the hash of a few places.
        prop_assert!(all > share / 2 && all < 2 * share + 300, "{all} of {share}");
        prop_assert!(to_others < share + 200, "{to_others} of {share}");
    }
}
