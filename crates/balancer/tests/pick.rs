//! Who is picked, and who never is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_balancer::{Balancer, Endpoint, Health, Policy, Rng, Spread};
use proptest::collection::vec;
use proptest::prelude::*;

const POLICIES: [Policy; 3] = [Policy::RoundRobin, Policy::LeastRequest, Policy::Random];

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

fn cluster(weights: &[u32]) -> Arc<[Endpoint]> {
    (1..)
        .zip(weights)
        .map(|(number, weight)| endpoint(number, *weight, true))
        .collect()
}

/// Ports of `count` picks, none of which is ever in flight.
fn picks(balancer: &mut Balancer, rng: &mut Rng, count: usize) -> Vec<u16> {
    (0..count)
        .map(|_| {
            let index = balancer.pick(rng, &[], None).expect("an endpoint");
            balancer.endpoints()[index].address.port()
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
fn an_idle_cluster_is_served_strictly_in_turn() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        for seed in 0..20 {
            let (mut balancer, mut rng) =
                (Balancer::new(policy, &cluster(&[1; 3])), Rng::new(seed));
            let ports = picks(&mut balancer, &mut rng, 30);
            for pair in ports.windows(2) {
                assert_eq!(pair[1], pair[0] % 3 + 1, "{policy:?} {ports:?}");
            }
        }
    }
}

#[test]
fn workers_start_at_different_endpoints() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        let firsts: Vec<u16> = (0..60)
            .map(|seed| {
                picks(
                    &mut Balancer::new(policy, &cluster(&[1; 3])),
                    &mut Rng::new(seed),
                    1,
                )[0]
            })
            .collect();
        assert!(
            counts(&firsts).values().all(|count| *count > 5),
            "{policy:?} {firsts:?}"
        );
    }
}

#[test]
fn round_robin_by_weight_is_exact_over_a_cycle_and_spread_within_it() {
    let mut balancer = Balancer::new(Policy::RoundRobin, &cluster(&[1, 2, 5]));
    let ports = picks(&mut balancer, &mut Rng::new(1), 800);
    assert_eq!(counts(&ports), [(1, 100), (2, 200), (3, 500)].into());
    // 5 of 8: never more than three in a row.
    assert!(ports.windows(4).all(|four| four != [3; 4]));
}

#[test]
fn weights_of_any_size_keep_their_ratio() {
    let mut balancer = Balancer::new(
        Policy::RoundRobin,
        &cluster(&[3_000_000_000, 4_000_000_000]),
    );
    let counted = counts(&picks(&mut balancer, &mut Rng::new(1), 7_000));
    assert!(counted[&1].abs_diff(3_000) <= 1, "{counted:?}");
}

#[test]
fn an_idle_cluster_with_weights_is_served_by_weight_under_least_request() {
    let mut balancer = Balancer::new(Policy::LeastRequest, &cluster(&[1, 3]));
    let ports = picks(&mut balancer, &mut Rng::new(1), 400);
    assert_eq!(counts(&ports), [(1, 100), (2, 300)].into());
    assert!(ports.windows(4).all(|four| four != [2; 4]), "evenly spread");
}

#[test]
fn random_follows_the_weights() {
    for weights in [&[1, 1, 1, 1][..], &[1, 2, 3, 4], &[2, 1, 3]] {
        let mut balancer = Balancer::new(Policy::Random, &cluster(weights));
        let counted = counts(&picks(&mut balancer, &mut Rng::new(7), 10_000));
        let total: u32 = weights.iter().sum();
        for (port, weight) in (1..).zip(weights) {
            let wanted = 10_000 * weight / total;
            // Five standard deviations of 10,000 draws are below 250.
            assert!(
                counted[&port].abs_diff(wanted as usize) < 250,
                "{counted:?}"
            );
        }
    }
}

#[test]
fn least_request_goes_to_the_idle_one() {
    let mut balancer = Balancer::new(Policy::LeastRequest, &cluster(&[1; 8]));
    let mut rng = Rng::new(1);
    (0..8)
        .filter(|index| *index != 5)
        .for_each(|index| balancer.started(index));
    assert_eq!(balancer.pick(&mut rng, &[], None), Some(5));
    balancer.started(5);
    balancer.finished(2);
    assert_eq!(balancer.pick(&mut rng, &[], None), Some(2));
}

#[test]
fn least_request_fills_endpoints_by_their_weights() {
    let mut balancer = Balancer::new(Policy::LeastRequest, &cluster(&[1, 3]));
    let mut rng = Rng::new(1);
    for _ in 0..40 {
        let index = balancer.pick(&mut rng, &[], None).expect("an endpoint");
        balancer.started(index);
    }
    assert_eq!([balancer.active(0), balancer.active(1)], [10, 30]);
}

#[test]
fn two_choices_keep_many_endpoints_about_evenly_loaded() {
    let mut balancer = Balancer::new(Policy::LeastRequest, &cluster(&[1; 50]));
    let mut rng = Rng::new(3);
    for _ in 0..5_000 {
        let index = balancer.pick(&mut rng, &[], None).expect("an endpoint");
        balancer.started(index);
    }
    let most = (0..50).map(|index| balancer.active(index)).max();
    assert!(
        most <= Some(105),
        "100 each on average, but one has {most:?}"
    );
}

#[test]
fn none_is_picked_where_none_can_be() {
    for policy in POLICIES {
        let mut rng = Rng::new(1);
        assert_eq!(
            Balancer::new(policy, &cluster(&[])).pick(&mut rng, &[], None),
            None
        );
        assert_eq!(
            Balancer::new(policy, &cluster(&[0, 0])).pick(&mut rng, &[], None),
            None
        );
        let sick: Arc<[Endpoint]> = Arc::new([endpoint(1, 1, false), endpoint(2, 1, false)]);
        let mut balancer = Balancer::new(policy, &sick);
        balancer.set_spread(CALM);
        assert_eq!(balancer.pick(&mut rng, &[], None), None);
        assert_eq!(
            Balancer::new(policy, &cluster(&[1, 1])).pick(&mut rng, &[0, 1], None),
            None
        );
    }
}

#[test]
fn an_update_goes_on_with_the_next_in_turn_and_keeps_what_is_in_flight() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        let mut balancer = Balancer::new(policy, &cluster(&[1; 4]));
        let mut rng = Rng::new(1);
        while picks(&mut balancer, &mut rng, 1) != [2] {}
        balancer.started(3);
        // 3 leaves, 5 comes first: the next one is 4, which is now elsewhere.
        let new: Arc<[Endpoint]> = [5, 4, 1, 2].map(|number| endpoint(number, 1, true)).into();
        balancer.update(&new);
        assert_eq!(balancer.active(1), 1);
        assert_eq!(balancer.index_of(&new[3].address), Some(3));
        balancer.finished(1);
        assert_eq!(
            picks(&mut balancer, &mut rng, 4),
            [4, 1, 2, 5],
            "{policy:?}"
        );
    }
}

#[test]
fn a_weighted_turn_goes_on_through_an_update() {
    let weights = [1, 9];
    let mut balancer = Balancer::new(Policy::RoundRobin, &cluster(&weights));
    let mut rng = Rng::new(1);
    let mut ports = Vec::new();
    for _ in 0..100 {
        ports.extend(picks(&mut balancer, &mut rng, 3));
        // The same endpoints, as a new version.
        balancer.update(&cluster(&weights));
    }
    let counted = counts(&ports);
    assert!(counted[&1].abs_diff(30) <= 1, "{counted:?}");
}

#[test]
fn a_new_endpoint_is_not_sent_a_burst() {
    let mut balancer = Balancer::new(Policy::RoundRobin, &cluster(&[1, 2]));
    let mut rng = Rng::new(1);
    picks(&mut balancer, &mut rng, 1_000);
    balancer.update(&cluster(&[1, 2, 1]));
    let counted = counts(&picks(&mut balancer, &mut rng, 40));
    assert!(counted[&3].abs_diff(10) <= 1, "{counted:?}");
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(POLICIES.to_vec())
}

fn any_cluster() -> impl Strategy<Value = Arc<[Endpoint]>> {
    let one = (
        1_u16..30,
        prop_oneof![Just(1_u32), 0_u32..5, Just(u32::MAX)],
        prop::bool::weighted(0.8),
    );
    vec(one, 0..20).prop_map(|all| {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (number, weight, healthy) in all {
            let endpoint = endpoint(number, weight, healthy);
            if endpoints
                .iter()
                .all(|known| known.address != endpoint.address)
            {
                endpoints.push(endpoint);
            }
        }
        endpoints.into()
    })
}

proptest! {
    #[test]
    fn only_a_usable_endpoint_that_was_not_tried_is_picked_and_always_if_there_is_one(
        policy in any_policy(),
        seed: u64,
        versions in vec((any_cluster(), vec((0_usize..20, any::<bool>()), 1..40)), 1..6),
    ) {
        let mut rng = Rng::new(seed);
        let mut balancer = Balancer::new(policy, &versions[0].0);
        balancer.set_spread(CALM);
        for (endpoints, steps) in versions {
            balancer.update(&endpoints);
            let mut tried = Vec::new();
            for (index, ends) in steps {
                let usable = |index: usize| {
                    endpoints[index].health == Health::Healthy && endpoints[index].weight > 0 && !tried.contains(&index)
                };
                let picked = balancer.pick(&mut rng, &tried, None);
                prop_assert_eq!(picked.is_some(), (0..endpoints.len()).any(usable));
                if let Some(picked) = picked {
                    prop_assert!(usable(picked));
                    balancer.started(picked);
                }
                if ends {
                    balancer.finished(index);
                    tried.clear();
                } else {
                    tried.push(index);
                }
            }
        }
    }
}
