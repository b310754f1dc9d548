//! Any 1,000 consecutive choices are within 1 % of the weights.

use meltemi_routing::{WeightedChoice, WeightedClusters};
use proptest::collection::vec;
use proptest::prelude::*;

const RUN: usize = 1_000;

/// 1 % of a run, in choices.
const ALLOWED: f64 = 10.0;

fn clusters(weights: &[u32]) -> WeightedClusters {
    let named = weights
        .iter()
        .enumerate()
        .map(|(place, weight)| (format!("c{place}").into(), *weight));
    WeightedClusters::new(named).expect("the weights have a sum")
}

/// Weights whose sum stays within `u32`.
fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        vec(0_u32..=100, 1..8),
        vec(0_u32..=u32::MAX / 8, 1..8),
        (0_u32..=u32::MAX).prop_map(|one| vec![one, u32::MAX - one]),
    ]
    .prop_filter("a sum above 0", |weights| {
        weights.iter().any(|weight| *weight > 0)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_thousand_consecutive_choices_are_within_one_percent(weights in weights(), seed: u64) {
        let clusters = clusters(&weights);
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut choice = WeightedChoice::new(seed);
        let picks: Vec<usize> = (0..3 * RUN).map(|_| choice.pick(&clusters)).collect();
        let mut counts = vec![0_u32; weights.len()];
        for (place, pick) in picks.iter().enumerate() {
            counts[*pick] += 1;
            if place >= RUN {
                counts[picks[place - RUN]] -= 1;
            }
            if place + 1 >= RUN {
                for (count, weight) in counts.iter().zip(&weights) {
                    let wanted = RUN as f64 * f64::from(*weight) / total;
                    prop_assert!(
                        (f64::from(*count) - wanted).abs() <= ALLOWED,
                        "{count} choices, wanted {wanted}, at {place} of {weights:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_weight_of_zero_is_never_chosen(weights in weights(), seed: u64) {
        let clusters = clusters(&weights);
        let mut choice = WeightedChoice::new(seed);
        for _ in 0..RUN {
            let pick = choice.pick(&clusters);
            prop_assert!(weights[pick] > 0, "chose {pick} of {weights:?}");
        }
    }
}

#[test]
fn twenty_to_eighty_is_within_three_of_a_thousand() {
    let clusters = clusters(&[20, 80]);
    for seed in 0..1_000_u64 {
        let mut choice = WeightedChoice::new(seed.wrapping_mul(0x0123_4567_89AB_CDEF));
        let first = (0..RUN).filter(|_| choice.pick(&clusters) == 0).count();
        assert!(first.abs_diff(200) <= 3, "{first} with seed {seed}");
    }
}

#[test]
fn weights_that_add_up_to_nothing_or_too_much_are_refused() {
    let named = |weights: &[u32]| {
        WeightedClusters::new(weights.iter().map(|weight| ("c".into(), *weight)))
            .map_err(|reason| reason.split(" to ").nth(1).unwrap_or_default().to_owned())
    };
    assert_eq!(
        named(&[0, 0]),
        Err("0, so no cluster could be chosen".to_owned())
    );
    assert_eq!(
        named(&[]),
        Err("0, so no cluster could be chosen".to_owned())
    );
    assert_eq!(
        named(&[u32::MAX, 1]),
        Err("more than 4294967295".to_owned())
    );
    assert!(named(&[u32::MAX]).is_ok());
}

#[test]
fn weights_and_total_read_as_they_were_written() {
    let clusters = clusters(&[20, 0, 80]);
    assert_eq!(clusters.total(), 100);
    assert_eq!(
        clusters
            .iter()
            .map(|(_, weight)| weight)
            .collect::<Vec<_>>(),
        [20, 0, 80]
    );
    assert_eq!(clusters.weight(3), 0);
}
