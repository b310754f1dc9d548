//! Priorities, localities and panic: the tables that Envoy documents, and what holds for all others.

use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_balancer::{Balancer, Endpoint, HashTable, Health, Locality, Policy, Rng, Spread};
use proptest::collection::vec;
use proptest::prelude::*;

fn endpoint(number: usize, priority: u32, health: Health) -> Endpoint {
    let port = u16::try_from(number + 1).expect("few endpoints");
    Endpoint {
        priority,
        health,
        ..Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// A hundred endpoints a priority: healthy and degraded so many, the others unhealthy.
fn cluster(levels: &[(usize, usize)]) -> Arc<[Endpoint]> {
    let mut all = Vec::new();
    for (priority, (healthy, degraded)) in (0..).zip(levels) {
        for place in 0..100 {
            let health = match place {
                place if place < *healthy => Health::Healthy,
                place if place < healthy + degraded => Health::Degraded,
                _ => Health::Unhealthy,
            };
            all.push(endpoint(all.len(), priority, health));
        }
    }
    all.into()
}

/// The share of each priority in whole percent, and of these of who is not healthy.
fn shares(balancer: &Balancer) -> Vec<(u32, u32)> {
    let endpoints = balancer.endpoints();
    let levels = endpoints.iter().map(|one| one.priority + 1).max();
    let mut all = vec![(0.0, 0.0); levels.unwrap_or_default() as usize];
    for (priority, members, share) in balancer.shares() {
        let sum = &mut all[priority as usize];
        sum.0 += share * 100.0;
        let sick = |index: &&usize| endpoints[**index].health != Health::Healthy;
        let sick = members.iter().filter(sick).count() as f64;
        sum.1 += share * 100.0 * sick / members.len() as f64;
    }
    let whole = |share: f64| share.round() as u32;
    all.into_iter()
        .map(|(all, sick)| (whole(all), whole(sick)))
        .collect()
}

fn spread(levels: &[(usize, usize)], spread: Spread) -> Vec<(u32, u32)> {
    let mut balancer = Balancer::new(Policy::RoundRobin, &cluster(levels));
    balancer.set_spread(spread);
    shares(&balancer)
}

#[test]
fn load_spills_over_as_in_envoys_table_of_two_priorities() {
    for (healthy, first, second) in [
        (100, 100, 0),
        (72, 100, 0),
        (71, 99, 1),
        (50, 70, 30),
        (25, 35, 65),
        (0, 0, 100),
    ] {
        let seen = spread(&[(healthy, 0), (100, 0)], Spread::ENVOY);
        assert_eq!(seen, [(first, 0), (second, 0)], "{healthy} % are healthy");
    }
}

#[test]
fn load_spills_over_as_in_envoys_table_of_three_priorities() {
    for (healthy, expected) in [
        ([100, 100, 100], [100, 0, 0]),
        ([72, 72, 100], [100, 0, 0]),
        ([71, 71, 100], [99, 1, 0]),
        ([50, 50, 100], [70, 30, 0]),
        ([25, 100, 100], [35, 65, 0]),
        ([25, 25, 100], [35, 35, 30]),
    ] {
        let seen = spread(&healthy.map(|healthy| (healthy, 0)), Spread::ENVOY);
        assert_eq!(seen, expected.map(|share| (share, 0)), "{healthy:?}");
    }
}

#[test]
fn degraded_endpoints_get_what_healthy_ones_of_no_priority_can_take() {
    for (first, second, expected) in [
        ((100, 0), (100, 0), [(100, 0), (0, 0)]),
        ((60, 40), (100, 0), [(84, 0), (16, 0)]),
        ((90, 10), (100, 0), [(100, 0), (0, 0)]),
        ((0, 100), (100, 0), [(0, 0), (100, 0)]),
        ((0, 0), (0, 100), [(0, 0), (100, 100)]),
        // 5 % healthy: 7, and 80 % degraded: the other 93.
        ((5, 80), (0, 0), [(100, 93), (0, 0)]),
    ] {
        let spread = spread(&[first, second], Spread::ENVOY);
        assert_eq!(spread, expected, "{first:?} {second:?}");
    }
}

#[test]
fn too_few_healthy_endpoints_make_a_priority_panic_unless_all_together_suffice() {
    let panics = |levels: &[(usize, usize)], threshold| {
        let settings = Spread {
            panic_threshold: threshold,
            ..Spread::ENVOY
        };
        spread(levels, settings)
    };
    // Together they suffice: nobody panics, however few the first one has.
    assert_eq!(panics(&[(25, 0), (100, 0)], 50), [(35, 0), (65, 0)]);
    // Neither does: both do, by the number of their endpoints.
    assert_eq!(panics(&[(25, 0), (25, 0)], 50), [(50, 38), (50, 38)]);
    // 7 and 91 of 98: the first one panics, the second does not; it has what rounding left.
    assert_eq!(panics(&[(5, 0), (65, 0)], 50), [(8, 8), (92, 0)]);
    // Half of them is enough.
    assert_eq!(panics(&[(50, 0)], 50), [(100, 0)]);
    assert_eq!(panics(&[(49, 0)], 50), [(100, 51)]);
    assert_eq!(panics(&[(49, 0)], 0), [(100, 0)]);
    // Nobody is well: all are asked, or nobody.
    assert_eq!(panics(&[(0, 0)], 1), [(100, 100)]);
    assert_eq!(panics(&[(0, 0)], 0), [(0, 0)]);
}

#[test]
fn another_overprovisioning_factor_and_weights_move_the_load() {
    let exact = Spread {
        overprovisioning: 100,
        ..Spread::ENVOY
    };
    assert_eq!(spread(&[(71, 0), (100, 0)], exact), [(71, 0), (29, 0)]);
    let mut endpoints = vec![
        endpoint(0, 0, Health::Healthy),
        endpoint(1, 0, Health::Unhealthy),
        endpoint(2, 1, Health::Healthy),
    ];
    endpoints[1].weight = 3;
    let mut balancer = Balancer::new(Policy::RoundRobin, &endpoints.into());
    // 1 of 2 endpoints, 140: 70 %. A quarter of the weight, 140: 35 %.
    assert_eq!(shares(&balancer), [(70, 0), (30, 0)]);
    balancer.set_spread(Spread {
        weighted_health: true,
        ..Spread::ENVOY
    });
    assert_eq!(shares(&balancer), [(35, 0), (65, 0)]);
}

/// Two localities of a priority, a hundred endpoints each, of which the first has so many healthy ones.
fn two_localities(healthy: usize, weights: [u32; 2]) -> Vec<Endpoint> {
    let mut all = Vec::new();
    for (zone, weight) in ["x", "y"].into_iter().zip(weights) {
        let locality = Arc::new(Locality {
            zone: zone.into(),
            weight,
            ..Locality::default()
        });
        for place in 0..100 {
            let well = zone == "y" || place < healthy;
            let health = if well {
                Health::Healthy
            } else {
                Health::Unhealthy
            };
            all.push(Endpoint {
                locality: Some(Arc::clone(&locality)),
                ..endpoint(all.len(), 0, health)
            });
        }
    }
    all
}

const BY_LOCALITY: Spread = Spread {
    by_locality: true,
    ..Spread::ENVOY
};

/// How many of 10,000 picks go to the first hundred endpoints.
fn first_hundred(policy: Policy, spread: Spread, endpoints: Vec<Endpoint>) -> usize {
    let endpoints: Arc<[Endpoint]> = endpoints.into();
    let mut balancer = Balancer::new(policy, &endpoints);
    balancer.set_spread(spread);
    let table = HashTable::new(policy, &spread, &endpoints).map(Arc::new);
    balancer.set_table(table.as_ref());
    let (mut rng, mut hashes) = (Rng::new(1), Rng::new(2));
    (0..10_000)
        .filter(|_| {
            let hash = Some(hashes.next_u64());
            balancer.pick(&mut rng, &[], hash).expect("an endpoint") < 100
        })
        .count()
}

#[test]
fn localities_share_by_weight_and_health_as_in_envoys_table() {
    for (healthy, percent) in [(100, 33), (70, 33), (69, 32), (50, 26), (25, 15), (0, 0)] {
        let count = first_hundred(
            Policy::RoundRobin,
            BY_LOCALITY,
            two_localities(healthy, [1, 2]),
        );
        assert!(
            count.abs_diff(percent * 100) <= 100,
            "{healthy} % healthy: {count} of 10,000"
        );
    }
}

#[test]
fn localities_do_not_matter_unless_the_cluster_says_so_or_where_none_has_a_weight() {
    let half = |spread, weights| {
        let count = first_hundred(Policy::RoundRobin, spread, two_localities(100, weights));
        count.abs_diff(5_000) <= 50
    };
    assert!(half(Spread::ENVOY, [1, 2]));
    assert!(half(BY_LOCALITY, [0, 0]));
    assert!(!half(BY_LOCALITY, [1, 2]));
    // Without a weight beside one that has it: nothing.
    assert_eq!(
        first_hundred(Policy::RoundRobin, BY_LOCALITY, two_localities(100, [0, 1])),
        0
    );
}

const TABLES: [Policy; 2] = [
    Policy::RingHash {
        min: 1024,
        max: 8 << 20,
    },
    Policy::Maglev { table_size: 65537 },
];

#[test]
fn tables_give_localities_their_parts() {
    for policy in TABLES {
        let count = first_hundred(policy, BY_LOCALITY, two_localities(100, [1, 3]));
        assert!(count.abs_diff(2_500) < 600, "{policy:?}: {count}");
        let count = first_hundred(policy, Spread::ENVOY, two_localities(100, [1, 3]));
        assert!(count.abs_diff(5_000) < 600, "{policy:?}: {count}");
    }
}

#[test]
fn a_hash_decides_the_priority_and_the_endpoint_in_it() {
    for policy in TABLES {
        let endpoints = cluster(&[(50, 0), (100, 0)]);
        let mut balancer = Balancer::new(policy, &endpoints);
        let table = HashTable::new(policy, &Spread::ENVOY, &endpoints).map(Arc::new);
        balancer.set_table(table.as_ref());
        let (mut hashes, mut first) = (Rng::new(3), 0);
        for seed in 0..5_000 {
            let hash = hashes.next_u64();
            let mut pick = |seed| balancer.pick(&mut Rng::new(seed), &[], Some(hash));
            let picked = pick(seed).expect("an endpoint");
            assert_eq!(pick(seed + 1), Some(picked));
            let expected = u32::from(hash % 100 >= 70);
            assert_eq!(endpoints[picked].priority, expected);
            assert_eq!(endpoints[picked].health, Health::Healthy);
            first += usize::from(expected == 0);
        }
        assert!(first.abs_diff(3_500) < 200);
    }
}

#[test]
fn who_is_ejected_loses_its_hashes_and_nobody_else_does() {
    for policy in TABLES {
        let endpoints = cluster(&[(100, 0)]);
        let mut balancer = Balancer::new(policy, &endpoints);
        let table = HashTable::new(policy, &Spread::ENVOY, &endpoints).map(Arc::new);
        balancer.set_table(table.as_ref());
        let owners = |balancer: &mut Balancer| -> Vec<usize> {
            let mut hashes = Rng::new(5);
            let pick = |_| balancer.pick(&mut Rng::new(1), &[], Some(hashes.next_u64()));
            (0..3_000).flat_map(pick).collect()
        };
        let before = owners(&mut balancer);
        balancer.set_ejected(7, true);
        for (old, new) in before.iter().zip(owners(&mut balancer)) {
            assert!(new != 7 && (new == *old || *old == 7));
        }
        balancer.set_ejected(7, false);
        assert_eq!(owners(&mut balancer), before);
    }
}

#[test]
fn any_thousand_requests_in_a_row_have_the_shares_of_the_priorities() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::Random] {
        let endpoints = cluster(&[(50, 0), (100, 0)]);
        let mut balancer = Balancer::new(policy, &endpoints);
        let mut rng = Rng::new(9);
        let picks: Vec<bool> = (0..5_000)
            .map(|_| balancer.pick(&mut rng, &[], None).expect("an endpoint") < 100)
            .collect();
        for window in picks.windows(1_000) {
            let first = window.iter().filter(|first| **first).count();
            assert!(first.abs_diff(700) <= 10, "{policy:?}: {first}");
        }
    }
}

#[test]
fn a_request_goes_on_to_the_next_priority_when_all_of_its_own_were_tried() {
    let endpoints: Arc<[Endpoint]> = [
        endpoint(0, 0, Health::Healthy),
        endpoint(1, 0, Health::Healthy),
        endpoint(2, 1, Health::Healthy),
        endpoint(3, 1, Health::Unhealthy),
    ]
    .into();
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::Random] {
        let mut balancer = Balancer::new(policy, &endpoints);
        let mut rng = Rng::new(1);
        assert!(balancer.pick(&mut rng, &[], None) < Some(2));
        assert_eq!(balancer.pick(&mut rng, &[0, 1], None), Some(2));
        assert_eq!(balancer.pick(&mut rng, &[0, 1, 2], None), None);
    }
}

fn any_health() -> impl Strategy<Value = Health> {
    prop_oneof![
        4 => Just(Health::Healthy),
        1 => Just(Health::Degraded),
        1 => Just(Health::Unhealthy),
        1 => Just(Health::Draining),
    ]
}

fn any_endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let one = (any_health(), 0_u32..4, 1_u32..5, prop::option::of(0_u32..3));
    vec(one, 0..25).prop_map(|all| {
        let made = all.into_iter().enumerate();
        made.map(|(number, (health, priority, weight, locality))| Endpoint {
            weight,
            locality: locality.map(|weight| {
                Arc::new(Locality {
                    zone: weight.to_string().into(),
                    weight,
                    ..Locality::default()
                })
            }),
            ..endpoint(number, priority, health)
        })
        .collect()
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let ring = Policy::RingHash { min: 64, max: 256 };
    let maglev = Policy::Maglev { table_size: 101 };
    prop::sample::select(vec![
        Policy::RoundRobin,
        Policy::LeastRequest,
        Policy::Random,
        ring,
        maglev,
    ])
}

proptest! {
    #[test]
    fn who_drains_is_never_picked_and_who_is_sick_or_ejected_only_in_panic(
        policy in any_policy(),
        seed: u64,
        panic_threshold in prop_oneof![Just(0_u32), Just(50), Just(100)],
        by_locality: bool,
        endpoints in any_endpoints(),
        ejected in vec(0_usize..25, 0..8),
    ) {
        let spread = Spread { panic_threshold, by_locality, ..Spread::ENVOY };
        let endpoints: Arc<[Endpoint]> = endpoints.into();
        let mut balancer = Balancer::new(policy, &endpoints);
        balancer.set_spread(spread);
        let table = HashTable::new(policy, &spread, &endpoints).map(Arc::new);
        balancer.set_table(table.as_ref());
        for index in &ejected {
            balancer.set_ejected(*index, true);
        }
        let well = |index: usize| {
            matches!(endpoints[index].health, Health::Healthy | Health::Degraded)
                && !balancer.is_ejected(index)
        };
        let sum: f64 = balancer.shares().map(|(_, _, share)| share).sum();
        let served = (0..endpoints.len()).any(well);
        prop_assert!(sum == 0.0 || (sum - 1.0).abs() < 1e-9);
        // Whoever has no weight among localities that have one is left out; else somebody is found.
        if served && !by_locality {
            prop_assert!(sum > 0.0);
        }
        let wells: Vec<bool> = (0..endpoints.len()).map(well).collect();
        let may_panic = |index: usize| {
            let priority = endpoints[index].priority;
            let of = |other: &usize| endpoints[*other].priority == priority;
            let all = (0..endpoints.len()).filter(of).count();
            let good = (0..endpoints.len()).filter(of).filter(|index| wells[*index]).count();
            good * 100 < all * panic_threshold as usize
        };
        let mut rng = Rng::new(seed);
        for _ in 0..50 {
            let hash = Some(rng.next_u64());
            let mut tried = Vec::new();
            while let Some(index) = balancer.pick(&mut rng, &tried, hash) {
                prop_assert!(!tried.contains(&index));
                prop_assert!(endpoints[index].health != Health::Draining);
                prop_assert!(wells[index] || may_panic(index));
                tried.push(index);
            }
            if !by_locality {
                let well = |index: &usize| wells[*index];
                prop_assert!((0..endpoints.len()).filter(well).all(|one| tried.contains(&one)));
            }
        }
    }

    #[test]
    fn picks_follow_the_shares(endpoints in any_endpoints(), seed: u64, by_locality: bool) {
        let endpoints: Arc<[Endpoint]> = endpoints.into();
        let mut balancer = Balancer::new(Policy::RoundRobin, &endpoints);
        balancer.set_spread(Spread { by_locality, ..Spread::ENVOY });
        let shares: Vec<(Vec<usize>, f64)> = balancer
            .shares()
            .map(|(_, members, share)| (members.to_vec(), share))
            .collect();
        let mut counts = vec![0_u32; endpoints.len()];
        let mut rng = Rng::new(seed);
        for _ in 0..2_000 {
            if let Some(index) = balancer.pick(&mut rng, &[], None) {
                counts[index] += 1;
            }
        }
        for (members, share) in shares.iter().filter(|(_, share)| *share > 0.0) {
            let seen: u32 = members.iter().map(|index| counts[*index]).sum();
            prop_assert!((f64::from(seen) - share * 2_000.0).abs() <= 12.0, "{seen} {share}");
        }
    }
}
