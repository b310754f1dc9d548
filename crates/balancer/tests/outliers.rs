//! Who is ejected, for how long, and how many at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_balancer::{
    Balancer, CircuitBreakers, Consecutive, Detector, Endpoint, OutlierDetection, Policy,
    RetryBudget, Rng, Seen,
};
use proptest::collection::vec;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

/// Anybody may be ejected; rates are not looked at.
fn settings() -> OutlierDetection {
    let mut settings = OutlierDetection {
        max_ejection_percent: 100,
        ..OutlierDetection::default()
    };
    settings.success_rate.enforcing = 0;
    settings
}

/// Whether the last of `seen` ejects the first of two endpoints.
fn ejects(settings: OutlierDetection, seen: &[Seen]) -> bool {
    let (mut detector, mut rng) = (Detector::new(settings, 2), Rng::new(1));
    let (last, before) = seen.split_last().expect("something is seen");
    for one in before {
        assert!(
            !detector.saw(0, *one, SECOND, &mut rng),
            "not yet: {seen:?}"
        );
    }
    detector.saw(0, *last, SECOND, &mut rng)
}

#[test]
fn failures_in_a_row_of_any_kind_eject() {
    use Seen::{ConnectFailed, Connected, Failed, GatewayFailed, Success, Timeout};
    let mixed = [Failed, GatewayFailed, ConnectFailed, Timeout];
    for last in mixed {
        let seen = [&mixed[..], &[last]].concat();
        assert!(ejects(settings(), &seen));
        // A connection is no success, a good reply is.
        assert!(ejects(
            settings(),
            &[&mixed[..], &[Connected, last]].concat()
        ));
        assert!(!ejects(
            settings(),
            &[&mixed[..], &[Success, last]].concat()
        ));
    }
}

#[test]
fn what_is_a_gateways_failure_counts_by_itself() {
    use Seen::{ConnectFailed, Failed, GatewayFailed, Timeout};
    let gateway = OutlierDetection {
        consecutive_5xx: Consecutive {
            threshold: 0,
            enforcing: 100,
        },
        consecutive_gateway_failure: Consecutive {
            threshold: 3,
            enforcing: 100,
        },
        ..settings()
    };
    assert!(ejects(gateway, &[GatewayFailed, ConnectFailed, Timeout]));
    assert!(!ejects(
        gateway,
        &[GatewayFailed, GatewayFailed, Failed, GatewayFailed]
    ));
    assert!(!ejects(gateway, &[Failed; 50]), "0 of any kind: never");
    for (code, seen) in [
        (200, Seen::Success),
        (404, Seen::Success),
        (500, Failed),
        (502, GatewayFailed),
        (503, GatewayFailed),
        (504, GatewayFailed),
        (505, Failed),
    ] {
        assert_eq!(Seen::status(code), seen);
    }
}

#[test]
fn failures_to_reach_it_count_apart_where_the_cluster_says_so() {
    use Seen::{ConnectFailed, Connected, Failed, Success, Timeout};
    let split = OutlierDetection {
        split_local_origin: true,
        consecutive_local_origin_failure: Consecutive {
            threshold: 2,
            enforcing: 100,
        },
        ..settings()
    };
    assert!(ejects(split, &[ConnectFailed, Timeout]));
    assert!(!ejects(split, &[ConnectFailed, Connected, Timeout]));
    assert!(!ejects(split, &[ConnectFailed, Success, Timeout]));
    assert!(ejects(
        split,
        &[Failed, ConnectFailed, Failed, Failed, Failed, Failed]
    ));
    // Otherwise they are of one kind, and this threshold is nobody's.
    let joined = OutlierDetection {
        split_local_origin: false,
        ..split
    };
    assert!(!ejects(joined, &[ConnectFailed, Timeout]));
}

/// Fails until the endpoint 0 is ejected.
fn eject(detector: &mut Detector, now: Duration) {
    let mut rng = Rng::new(1);
    while !detector.saw(0, Seen::Failed, now, &mut rng) {}
}

/// Looks at it every 100 ms; when it comes back.
fn back(detector: &mut Detector, from: Duration) -> Duration {
    let mut now = from;
    while detector.is_ejected(0) {
        now += Duration::from_millis(100);
        assert!(now < from + Duration::from_secs(1_000), "never");
        let mut changes = Vec::new();
        detector.check(now, &mut Rng::new(1), |index, ejected| {
            changes.push((index, ejected));
        });
        assert_eq!(changes.is_empty(), detector.is_ejected(0));
        assert!(changes.is_empty() || changes == [(0, false)]);
    }
    now - from
}

#[test]
fn each_ejection_lasts_longer_up_to_the_longest_and_good_intervals_take_it_back() {
    let mut detector = Detector::new(
        OutlierDetection {
            max_ejection_time: 80 * SECOND,
            ..settings()
        },
        2,
    );
    let mut now = SECOND;
    for expected in [30, 60, 80, 80] {
        eject(&mut detector, now);
        let away = back(&mut detector, now);
        let interval = 10 * SECOND;
        assert!(
            away >= expected * SECOND && away <= expected * SECOND + interval,
            "{away:?}, not {expected} s"
        );
        now += away;
    }
    // Six intervals in which nothing happens.
    for _ in 0..6 {
        now += 10 * SECOND;
        detector.check(now, &mut Rng::new(1), |_, _| panic!("nobody changes"));
    }
    eject(&mut detector, now);
    assert!(back(&mut detector, now) <= 40 * SECOND);
}

#[test]
fn chance_lengthens_an_ejection_up_to_the_jitter() {
    let jittered = OutlierDetection {
        interval: Duration::from_millis(1),
        max_ejection_time_jitter: 20 * SECOND,
        ..settings()
    };
    let mut times = Vec::new();
    for seed in 0..30 {
        let (mut detector, mut rng) = (Detector::new(jittered, 1), Rng::new(seed));
        while !detector.saw(0, Seen::Failed, SECOND, &mut rng) {}
        times.push(back(&mut detector, SECOND));
    }
    assert!(times.iter().all(|time| (30..=51).contains(&time.as_secs())));
    let (least, most) = (times.iter().min(), times.iter().max());
    assert!(most > least, "{times:?}");
}

#[test]
fn no_more_than_the_bound_are_ejected_at_once() {
    for (percent, always_one, expected) in [
        (0, false, 0),
        (10, false, 0),
        (10, true, 1),
        (50, false, 2),
        (100, false, 5),
    ] {
        let bounded = OutlierDetection {
            max_ejection_percent: percent,
            always_eject_one: always_one,
            ..settings()
        };
        let (mut detector, mut rng) = (Detector::new(bounded, 5), Rng::new(1));
        for index in 0..5 {
            for _ in 0..20 {
                detector.saw(index, Seen::Failed, SECOND, &mut rng);
            }
        }
        assert_eq!(detector.ejected(), expected, "{percent} %");
        assert_eq!(detector.counts().enforced_total, u64::from(expected));
        assert_eq!(detector.counts().overflow > 0, expected < 5);
    }
}

#[test]
fn what_is_not_enforced_is_counted_and_what_is_enforced_by_half_ejects_about_half() {
    let chance = |enforcing| {
        let by_chance = OutlierDetection {
            consecutive_5xx: Consecutive {
                threshold: 1,
                enforcing,
            },
            ..settings()
        };
        let (mut detector, mut rng) = (Detector::new(by_chance, 1_000), Rng::new(4));
        let mut ejected = 0;
        for index in 0..1_000 {
            ejected += u64::from(detector.saw(index, Seen::Failed, SECOND, &mut rng));
        }
        assert_eq!(detector.counts().consecutive_5xx, [1_000, ejected]);
        ejected
    };
    assert_eq!([chance(0), chance(100)], [0, 1_000]);
    assert!(chance(50).abs_diff(500) < 80);
}

/// Ends an interval in which each endpoint had so many good requests of 100; who is ejected by it.
fn by_rates(settings: OutlierDetection, good: &[u32]) -> Vec<usize> {
    let (mut detector, mut rng) = (Detector::new(settings, good.len()), Rng::new(1));
    for (index, good) in good.iter().enumerate() {
        for number in 0..100 {
            let seen = if number < *good {
                Seen::Success
            } else {
                Seen::Failed
            };
            detector.saw(index, seen, SECOND, &mut rng);
        }
    }
    let mut ejected = Vec::new();
    detector.check(60 * SECOND, &mut rng, |index, out| {
        assert!(out);
        ejected.push(index);
    });
    ejected
}

#[test]
fn who_succeeds_much_less_than_the_others_is_ejected() {
    let mut rates = settings();
    rates.consecutive_5xx.threshold = 0;
    rates.success_rate.enforcing = 100;
    // Mean 84, standard deviation 32: below 84 - 1.9 * 32 = 23.2.
    assert_eq!(by_rates(rates, &[100, 100, 100, 100, 20]), [4]);
    // Mean 85, standard deviation 30: below 85 - 1.9 * 30 = 28.
    assert_eq!(by_rates(rates, &[100, 100, 100, 100, 25]), [4]);
    assert_eq!(by_rates(rates, &[90, 95, 92, 97, 91]), [0_usize; 0]);
    assert_eq!(
        by_rates(rates, &[100, 100, 100, 20]),
        [0_usize; 0],
        "too few"
    );
    rates.success_rate.request_volume = 101;
    assert_eq!(by_rates(rates, &[100, 100, 100, 100, 20]), [0_usize; 0]);
}

#[test]
fn who_fails_more_than_so_many_percent_is_ejected_whatever_the_others_do() {
    let mut rates = settings();
    rates.consecutive_5xx.threshold = 0;
    rates.failure_percentage.enforcing = 100;
    assert_eq!(by_rates(rates, &[15, 15, 15, 15, 16]), [0, 1, 2, 3]);
    assert_eq!(by_rates(rates, &[15, 15, 15, 16]), [0_usize; 0], "too few");
}

#[test]
fn a_balancer_leaves_out_whom_its_detector_ejects_through_updates() {
    let endpoint = |port: u16| Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)));
    let endpoints: Arc<[Endpoint]> = [endpoint(1), endpoint(2), endpoint(3)].into();
    let mut balancer = Balancer::new(Policy::RoundRobin, &endpoints);
    let mut rng = Rng::new(1);
    assert!(
        !balancer.saw(1, Seen::Failed, SECOND, &mut rng),
        "not watched"
    );
    balancer.set_outlier_detection(Some(&settings()));
    assert_eq!(balancer.next_check(), None);
    for _ in 0..5 {
        balancer.saw(1, Seen::Failed, SECOND, &mut rng);
    }
    assert!(balancer.is_ejected(1));
    let moved: Arc<[Endpoint]> = [endpoint(4), endpoint(3), endpoint(2)].into();
    balancer.update(&moved);
    assert!(balancer.is_ejected(2) && !balancer.is_ejected(1));
    for _ in 0..30 {
        assert_ne!(balancer.pick(&mut rng, &[], None), Some(2));
    }
    assert_eq!(balancer.next_check(), Some(11 * SECOND));
    let mut now = SECOND;
    while let Some(next) = balancer.next_check() {
        now = next;
        balancer.check(now, &mut rng);
    }
    assert!(!balancer.is_ejected(2));
    assert!(
        (31..=61).contains(&now.as_secs()),
        "{now:?}: nothing is waited for any more"
    );
    for _ in 0..5 {
        balancer.saw(2, Seen::Failed, now, &mut rng);
    }
    balancer.set_outlier_detection(None);
    assert!(!balancer.is_ejected(2));
}

#[test]
fn a_retry_budget_grows_with_the_requests_and_takes_the_place_of_the_limit() {
    let budget = RetryBudget::default();
    for (requests, retries) in [(0, 3), (15, 3), (19, 3), (20, 4), (1_000, 200)] {
        assert_eq!(budget.retries(requests), retries);
    }
    let limits = CircuitBreakers {
        max_retries: Some(0),
        retry_budget: Some(budget),
        ..CircuitBreakers::default()
    };
    assert!(limits.may_retry(2, 0) && !limits.may_retry(3, 0) && limits.may_retry(3, 20));
    let none = CircuitBreakers::default();
    assert!(none.may_retry(u32::MAX, 0) && none.may_connect(9) && none.may_wait(9));
    let one = CircuitBreakers {
        max_connections: Some(1),
        max_pending_requests: Some(1),
        max_requests: Some(1),
        max_retries: Some(1),
        retry_budget: None,
    };
    assert!(one.may_connect(0) && one.may_wait(0) && one.may_begin(0) && one.may_retry(0, 9));
    assert!(!one.may_connect(1) && !one.may_wait(1) && !one.may_begin(1) && !one.may_retry(1, 9));
}

fn any_seen() -> impl Strategy<Value = Seen> {
    prop::sample::select(vec![
        Seen::Connected,
        Seen::ConnectFailed,
        Seen::Timeout,
        Seen::Success,
        Seen::Failed,
        Seen::GatewayFailed,
    ])
}

proptest! {
    #[test]
    fn whatever_is_seen_the_bound_holds_and_everybody_comes_back(
        count in 1_usize..12,
        percent in 0_u32..=100,
        always_eject_one: bool,
        split_local_origin: bool,
        seed: u64,
        steps in vec((0_usize..12, any_seen(), 0_u64..4_000), 1..400),
    ) {
        let mut rng = Rng::new(seed);
        let mut detector = Detector::new(
            OutlierDetection {
                max_ejection_percent: percent,
                always_eject_one,
                split_local_origin,
                ..OutlierDetection::default()
            },
            count,
        );
        let mut out = vec![false; count];
        let mut now = Duration::ZERO;
        for (index, seen, ms) in steps {
            now += Duration::from_millis(ms);
            if detector.saw(index, seen, now, &mut rng) {
                prop_assert!(!std::mem::replace(&mut out[index], true));
            }
            detector.check(now, &mut rng, |index, ejected| {
                assert_ne!(std::mem::replace(&mut out[index], ejected), ejected);
            });
            let ejected = out.iter().filter(|out| **out).count();
            prop_assert_eq!(ejected, detector.ejected() as usize);
            let least = usize::from(always_eject_one);
            prop_assert!(ejected <= least.max(count * percent as usize / 100));
        }
        // Left alone, all come back, and nothing is waited for any more.
        for _ in 0..1_000 {
            let Some(next) = detector.next_check() else { break };
            prop_assert!(next >= now);
            now = next;
            detector.check(now, &mut rng, |_, _| {});
        }
        prop_assert_eq!((detector.ejected(), detector.next_check()), (0, None));
    }
}
