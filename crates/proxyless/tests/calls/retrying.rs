//! Attempts that fail, and what comes next.

use std::time::Duration;

use meltemi_proxyless::Failure;
use meltemi_routing::{AnyMatch, AttributeMatch, HashPolicy, HashSource, Matcher, Route};

use crate::bed::{Calls, Mesh, cluster, ms, retried, retry, to, with};

fn failure(word: &str) -> Failure {
    Failure::parse(word).unwrap()
}

/// Whether a call by a policy `on` is tried again after `word`; nothing is when it was the last.
fn again(on: &str, word: &str, status: Option<u32>) -> bool {
    let mut policy = retry(on, 1);
    policy.statuses = Box::new([418]);
    let router = Mesh::of(vec![retried(to("v1"), policy)], [cluster("v1", [1])]).router();
    let mut call = router.to_reviews(&[]).unwrap();
    let wait = call.failed(failure(word), status, Duration::ZERO);
    assert_eq!(call.is_over(), wait.is_none());
    wait.is_some()
}

#[test]
fn conditions_are_envoys() {
    let no_reply = [
        "connect-failure",
        "reset-before-request",
        "reset",
        "refused-stream",
        "timeout",
    ];
    for word in no_reply {
        for on in ["5xx", "gateway-error", "reset"] {
            assert!(again(on, word, None), "{on} {word}");
        }
        for on in [
            "",
            "retriable-4xx",
            "unavailable",
            "retriable-status-codes",
            "cancelled",
        ] {
            assert!(!again(on, word, None), "{on} {word}");
        }
        assert_eq!(
            again("connect-failure", word, None),
            word == "connect-failure"
        );
        assert_eq!(
            again("refused-stream", word, None),
            word == "refused-stream"
        );
        let early = ["connect-failure", "reset-before-request"].contains(&word);
        assert_eq!(again("reset-before-request", word, None), early, "{word}");
    }
    let statuses: [(&str, &[u32]); 4] = [
        ("5xx", &[500, 501, 502, 503, 504, 599]),
        ("gateway-error", &[502, 503, 504]),
        ("retriable-4xx", &[409]),
        ("retriable-status-codes", &[418]),
    ];
    for (on, retriable) in statuses {
        for status in [
            200, 400, 404, 409, 418, 429, 499, 500, 501, 502, 503, 504, 599, 600,
        ] {
            let wanted = retriable.contains(&status);
            assert_eq!(again(on, "status", Some(status)), wanted, "{on} {status}");
        }
    }
    let grpc = [
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ];
    for on in grpc {
        for word in grpc {
            assert_eq!(again(on, word, None), on == word, "{on} {word}");
        }
        assert!(!again(on, "unknown", None));
        assert!(
            !again("5xx,reset", on, None),
            "a gRPC status is no HTTP status"
        );
    }
    assert!(again("cancelled,unavailable", "unavailable", None));
}

#[test]
fn there_are_as_many_retries_as_the_policy_says() {
    let route = retried(to("v1"), retry("5xx", 3));
    let router = Mesh::of(vec![route], [cluster("v1", 1..=8)]).router();
    let mut call = router.to_reviews(&[]).unwrap();
    let mut attempts = vec![call.place().address.port()];
    while call
        .failed(failure("status"), Some(503), Duration::ZERO)
        .is_some()
    {
        assert_eq!(call.attempt() as usize, attempts.len());
        attempts.push(call.place().address.port());
    }
    assert_eq!(attempts.len(), 4);
    attempts.sort_unstable();
    attempts.dedup();
    assert_eq!(attempts.len(), 4, "each at an endpoint of its own");
    assert_eq!(
        call.failed(failure("status"), Some(503), Duration::ZERO),
        None
    );
}

#[test]
fn endpoints_are_tried_again_when_there_are_no_others() {
    let route = retried(to("v1"), retry("reset", 4));
    let router = Mesh::of(vec![route], [cluster("v1", [1, 2])]).router();
    let mut call = router.to_reviews(&[]).unwrap();
    let mut ports = vec![call.place().address.port()];
    while call
        .failed(failure("reset"), None, Duration::ZERO)
        .is_some()
    {
        ports.push(call.place().address.port());
    }
    assert_eq!(ports.len(), 5);
    assert_ne!(ports[0], ports[1]);
}

#[test]
fn what_was_never_sent_goes_to_each_other_endpoint_at_once_without_a_policy() {
    let router = Mesh::of(vec![to("v1")], [cluster("v1", 1..=4)]).router();
    let mut call = router.to_reviews(&[]).unwrap();
    let mut ports = vec![call.place().address.port()];
    while let Some(wait) = call.failed(failure("connect-failure"), None, Duration::ZERO) {
        assert_eq!(wait, Duration::ZERO);
        ports.push(call.place().address.port());
    }
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3, 4]);

    let mut sent = router.to_reviews(&[]).unwrap();
    assert_eq!(sent.failed(failure("reset"), None, Duration::ZERO), None);
}

#[test]
fn retries_of_the_policy_are_left_when_endpoints_could_not_be_reached() {
    let route = retried(to("v1"), retry("connect-failure", 2));
    let router = Mesh::of(vec![route], [cluster("v1", 1..=3)]).router();
    let mut call = router.to_reviews(&[]).unwrap();
    let mut attempts = 1;
    while call
        .failed(failure("connect-failure"), None, Duration::ZERO)
        .is_some()
    {
        attempts += 1;
    }
    assert_eq!(attempts, 3 + 2);
}

#[test]
fn waits_are_drawn_from_intervals_that_double_up_to_the_longest() {
    let route = retried(to("v1"), retry("5xx", 6));
    let router = Mesh::of(vec![route], [cluster("v1", [1])]).router();
    let mut longest = [Duration::ZERO; 6];
    let mut shortest = [Duration::MAX; 6];
    for _ in 0..400 {
        let mut call = router.to_reviews(&[]).unwrap();
        for place in 0..6 {
            let wait = call
                .failed(failure("status"), Some(500), Duration::ZERO)
                .unwrap();
            longest[place] = longest[place].max(wait);
            shortest[place] = shortest[place].min(wait);
        }
    }
    for (place, most) in [25, 75, 175, 250, 250, 250].into_iter().enumerate() {
        assert!(longest[place] < ms(most), "{place}: {:?}", longest[place]);
        assert!(
            longest[place] > ms(most * 9 / 10),
            "{place}: {:?}",
            longest[place]
        );
        assert!(
            shortest[place] < ms(most / 10),
            "{place}: {:?}",
            shortest[place]
        );
    }
}

#[test]
fn nothing_is_tried_when_the_time_of_the_call_is_over_or_would_be() {
    let route = retried(to("v1"), retry("5xx", 5));
    let timely = with(route, |http| http.timeout = Some(ms(100)));
    let router = Mesh::of(vec![timely.clone()], [cluster("v1", 1..=4)]).router();
    let mut call = router.at(ms(1_000));
    assert_eq!(call.timeout(), Some(ms(100)));
    assert!(
        call.failed(failure("status"), Some(500), ms(1_010))
            .is_some()
    );
    assert_eq!(call.failed(failure("status"), Some(500), ms(1_100)), None);
    let mut unsent = router.at(ms(2_000));
    assert_eq!(
        unsent.failed(failure("connect-failure"), None, ms(2_100)),
        None
    );

    let endless = with(timely, |http| http.timeout = Some(Duration::ZERO));
    let router = Mesh::of(vec![endless], [cluster("v1", 1..=4)]).router();
    let mut call = router.at(ms(1_000));
    assert_eq!(call.timeout(), Some(Duration::ZERO));
    assert!(
        call.failed(failure("status"), Some(500), ms(900_000))
            .is_some()
    );
}

#[test]
fn no_more_calls_are_tried_again_at_once_than_the_limit() {
    let mut limited = cluster("v1", 1..=4);
    limited.limits.max_retries = Some(1);
    let route = retried(to("v1"), retry("5xx", 2));
    let router = Mesh::of(vec![route], [limited]).router();
    let mut first = router.to_reviews(&[]).unwrap();
    let mut second = router.to_reviews(&[]).unwrap();
    assert!(
        first
            .failed(failure("status"), Some(503), Duration::ZERO)
            .is_some()
    );
    assert_eq!(
        second.failed(failure("status"), Some(503), Duration::ZERO),
        None
    );
    first.succeeded(Some(200), Duration::ZERO);
    let mut third = router.to_reviews(&[]).unwrap();
    assert!(
        third
            .failed(failure("status"), Some(503), Duration::ZERO)
            .is_some()
    );
    drop(third);
    let mut fourth = router.to_reviews(&[]).unwrap();
    assert!(
        fourth
            .failed(failure("status"), Some(503), Duration::ZERO)
            .is_some()
    );
}

#[test]
fn a_key_stays_unless_the_policy_wants_another_endpoint() {
    let run = |previous_hosts: bool| {
        let mut policy = retry("5xx", 1);
        policy.previous_hosts = previous_hosts;
        let route = Route {
            hash_policy: vec![HashPolicy {
                source: HashSource::Attribute("user".into()),
                terminal: false,
            }],
            ..retried(to("v1"), policy)
        };
        let mut ring = cluster("v1", 1..=8);
        ring.policy = meltemi_resources::Policy::RingHash { min: 64, max: 64 };
        let table = meltemi_resources::HashTable::new(ring.policy, &ring.spread, &ring.endpoints);
        ring.table = table.map(std::sync::Arc::new);
        let router = Mesh::of(vec![route], [ring]).router();
        let mut call = router.to_reviews(&[("user", "ada")]).unwrap();
        let first = call.place().address;
        assert!(
            call.failed(failure("status"), Some(500), Duration::ZERO)
                .is_some()
        );
        call.place().address == first
    };
    assert!(run(false));
    assert!(!run(true));
}

#[test]
fn only_requests_that_the_policy_is_about_are_tried_again() {
    let condition = AttributeMatch {
        name: "x-idempotent".into(),
        matcher: Matcher::Present,
        invert: false,
        missing_is_empty: false,
    };
    let mut policy = retry("5xx", 1);
    policy.request_headers = AnyMatch::new(vec![condition]).unwrap();
    let router = Mesh::of(vec![retried(to("v1"), policy)], [cluster("v1", [1])]).router();
    let again = |headers| {
        let mut call = router.to_reviews(headers).unwrap();
        call.failed(failure("status"), Some(500), Duration::ZERO)
            .is_some()
    };
    assert!(again(&[("x-idempotent", "1")]));
    assert!(!again(&[]));
}

#[test]
fn words_are_those_that_are_listed() {
    for word in Failure::words() {
        assert!(Failure::parse(word).is_some(), "{word}");
    }
    assert_eq!(Failure::parse("5xx"), None);
    assert_eq!(Failure::words().count(), 22);
}
