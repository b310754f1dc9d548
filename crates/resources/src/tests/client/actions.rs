//! Destinations, answers, timeouts, retries.

use std::time::Duration;

use meltemi_routing::{Answer, HttpAction, RetryOn, RetryPolicy};

use super::*;
use crate::messages::envoy::config::core::v3::DataSource;
use crate::messages::envoy::config::core::v3::data_source::Specifier;
use route::route::Action;
use route::route_action::{ClusterSpecifier, MaxStreamDuration};

fn to(specifier: ClusterSpecifier) -> route::RouteAction {
    route::RouteAction {
        cluster_specifier: Some(specifier),
        ..route::RouteAction::default()
    }
}

fn to_a() -> route::RouteAction {
    to(ClusterSpecifier::Cluster("a".to_owned()))
}

fn acting(action: Action) -> route::Route {
    route::Route {
        action: Some(action),
        ..to_cluster("", Vec::new(), "a")
    }
}

fn http(from: route::RouteAction) -> HttpAction {
    let route = read(acting(Action::Route(from)));
    route.http.map_or_else(HttpAction::default, |http| *http)
}

fn weight(name: &str, weight: Option<u32>) -> route::weighted_cluster::ClusterWeight {
    route::weighted_cluster::ClusterWeight {
        name: name.to_owned(),
        weight,
        ..Default::default()
    }
}

fn weighted(
    clusters: Vec<route::weighted_cluster::ClusterWeight>,
    total_weight: Option<u32>,
) -> route::Route {
    let clusters = route::WeightedCluster {
        clusters,
        total_weight,
    };
    acting(Action::Route(to(ClusterSpecifier::WeightedClusters(
        clusters,
    ))))
}

#[test]
fn a_plain_route_costs_nothing_more_than_a_sidecars() {
    assert_eq!(read(to_cluster("it", Vec::new(), "a")).http, None);
}

#[test]
fn clusters_of_weight_0_are_left_out() {
    let all = vec![
        weight("none", Some(0)),
        weight("a", Some(20)),
        weight("unset", None),
        weight("b", Some(80)),
    ];
    let route = read(weighted(all, Some(100)));
    let weights: Vec<_> = route.clusters.iter().collect();
    assert_eq!(weights, [(&"a".into(), 20), (&"b".into(), 80)]);
    let zero = weighted(vec![weight("a", Some(0))], None);
    let said = refused_route(zero);
    assert!(said.starts_with("route.weighted_clusters.clusters: the weights add up to 0"));
    let wrong = weighted(vec![weight("a", Some(1))], Some(2));
    assert_eq!(
        refused_route(wrong),
        "route.weighted_clusters.total_weight: 2, but the weights add up to 1"
    );
    let unnamed = weighted(vec![weight("", Some(1))], None);
    assert_eq!(
        refused_route(unnamed),
        "route.weighted_clusters.clusters[0].name: is empty"
    );
}

#[test]
fn what_a_cluster_changes_stays_with_it_when_others_are_left_out() {
    let mut changing = weight("b", Some(1));
    changing.request_headers_to_remove = vec!["X".to_owned()];
    let all = vec![weight("none", Some(0)), weight("a", Some(1)), changing];
    let route = read(weighted(all, None));
    let http = route.http.expect("a cluster changes something");
    assert_eq!(http.of_cluster.len(), 2);
    assert!(http.of_cluster[0].is_empty());
    assert_eq!(http.of_cluster[1].request.len(), 1);
}

fn refused_call(from: route::Route) -> String {
    let route = read(from);
    assert!(route.clusters.names().is_empty());
    match route.http.and_then(|http| http.answer) {
        Some(Answer::Refused(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_destination_that_cannot_be_known_is_an_answer_with_the_reason() {
    let header = ClusterSpecifier::ClusterHeader("x-to".to_owned());
    let plugin = ClusterSpecifier::ClusterSpecifierPlugin("p".to_owned());
    let mut named_by_header = weight("", Some(1));
    named_by_header.cluster_header = "x-to".to_owned();
    for (from, word) in [
        (acting(Action::Route(to(header))), "\"x-to\""),
        (acting(Action::Route(to(plugin))), "plugin"),
        (
            weighted(vec![weight("a", Some(1)), named_by_header], None),
            "\"x-to\"",
        ),
        (acting(Action::Redirect(())), "redirect"),
        (
            acting(Action::NonForwardingAction(())),
            "non_forwarding_action",
        ),
        (acting(Action::FilterAction(())), "filter_action"),
    ] {
        let reason = refused_call(from);
        assert!(reason.contains(word), "{reason}");
    }
    let nowhere = route::Route {
        action: None,
        ..to_cluster("", Vec::new(), "a")
    };
    assert!(refused_route(nowhere).starts_with("action: one of route"));
    let empty = acting(Action::Route(to(ClusterSpecifier::Cluster(String::new()))));
    assert_eq!(refused_route(empty), "route.cluster: is empty");
    let unsaid = acting(Action::Route(route::RouteAction::default()));
    assert!(refused_route(unsaid).starts_with("route: a cluster"));
}

fn direct(status: u32, body: Option<Specifier>) -> route::Route {
    let body = body.map(|specifier| DataSource {
        specifier: Some(specifier),
    });
    acting(Action::DirectResponse(Box::new(
        route::DirectResponseAction { status, body },
    )))
}

#[test]
fn a_direct_response_has_its_status_and_body() {
    let text = Specifier::InlineString("gone".to_owned());
    let bytes = Specifier::InlineBytes(b"gone".to_vec());
    for (body, wanted) in [(Some(text), "gone"), (Some(bytes), "gone"), (None, "")] {
        let http = read(direct(503, body)).http.expect("an answer");
        let answer = Answer::Response {
            status: 503,
            body: wanted.into(),
        };
        assert_eq!(http.answer, Some(answer));
        assert!(http.notes.is_empty());
    }
    let file = Specifier::Filename("/etc/body".to_owned());
    let http = read(direct(200, Some(file))).http.expect("an answer");
    assert!(http.notes[0].contains("body of the direct_response"));
    assert!(refused_route(direct(99, None)).starts_with("direct_response.status: 99"));
}

#[test]
fn the_timeout_is_the_shorter_one_of_two_and_0_is_none() {
    let stream = |max, grpc| MaxStreamDuration {
        max_stream_duration: max,
        grpc_timeout_header_max: grpc,
    };
    let none = prost_types::Duration::default();
    let of = Duration::from_secs;
    for (timeout, stream, wanted) in [
        (None, None, None),
        (seconds(3), None, Some(of(3))),
        (Some(none), None, Some(of(0))),
        (None, Some(stream(seconds(2), None)), Some(of(2))),
        (None, Some(stream(seconds(2), seconds(4))), Some(of(4))),
        (seconds(3), Some(stream(seconds(2), None)), Some(of(2))),
        (Some(none), Some(stream(seconds(2), None)), Some(of(2))),
        (seconds(3), Some(stream(Some(none), None)), Some(of(3))),
        (Some(none), Some(stream(Some(none), None)), Some(of(0))),
    ] {
        let action = route::RouteAction {
            timeout,
            max_stream_duration: stream,
            ..to_a()
        };
        assert_eq!(http(action).timeout, wanted, "{timeout:?} {stream:?}");
    }
    let negative = route::RouteAction {
        timeout: seconds(-1),
        ..to_a()
    };
    let said = refused_route(acting(Action::Route(negative)));
    assert_eq!(said, "route.timeout: a duration is never negative");
}

fn retrying(policy: route::RetryPolicy) -> route::RouteAction {
    route::RouteAction {
        retry_policy: Some(Box::new(policy)),
        ..to_a()
    }
}

#[test]
fn a_retry_policy_that_says_nothing_has_envoys_defaults() {
    let retry = http(retrying(route::RetryPolicy::default())).retry;
    let wanted = RetryPolicy {
        on: RetryOn::default(),
        num_retries: 1,
        per_try_timeout: None,
        statuses: Box::default(),
        reply_headers: Default::default(),
        request_headers: Default::default(),
        base_interval: Duration::from_millis(25),
        max_interval: Duration::from_millis(250),
        previous_hosts: false,
        host_selection_max_attempts: 1,
    };
    assert_eq!(retry.as_deref(), Some(&wanted));
}

#[test]
fn istios_own_retry_policy_is_read_whole() {
    use route::header_matcher::HeaderMatchSpecifier as Wanted;
    let predicate = |name: &str| route::retry_policy::RetryHostPredicate {
        name: name.to_owned(),
    };
    let policy = route::RetryPolicy {
        retry_on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
            .to_owned(),
        num_retries: Some(2),
        per_try_timeout: seconds(1),
        retriable_status_codes: vec![503],
        retry_host_predicate: vec![
            predicate("envoy.retry_host_predicates.previous_hosts"),
            predicate("envoy.retry_host_predicates.omit_canary_hosts"),
        ],
        host_selection_retry_max_attempts: 5,
        retry_back_off: Some(route::retry_policy::RetryBackOff {
            base_interval: seconds(1),
            max_interval: seconds(2),
        }),
        retriable_headers: vec![header("x-again", Wanted::PresentMatch(true))],
        ..route::RetryPolicy::default()
    };
    let http = http(retrying(policy));
    let retry = http.retry.expect("a policy");
    assert!(retry.on.has(RetryOn::UNAVAILABLE) && !retry.on.has(RetryOn::RESET));
    assert_eq!(retry.num_retries, 2);
    assert_eq!(retry.per_try_timeout, Some(Duration::from_secs(1)));
    assert_eq!(*retry.statuses, [503]);
    assert!(retry.previous_hosts);
    assert_eq!(retry.host_selection_max_attempts, 5);
    assert_eq!(retry.base_interval, Duration::from_secs(1));
    assert_eq!(retry.max_interval, Duration::from_secs(2));
    let again = Request::new("", "", "", "/", &[("X-Again", "")]);
    assert!(retry.reply_headers.holds(&again));
    assert!(retry.request_headers.wanted().is_empty());
    assert!(
        http.notes[0].contains("omit_canary_hosts"),
        "{:?}",
        http.notes
    );
}

#[test]
fn a_retry_policy_that_is_broken_is_refused_with_its_field() {
    use route::header_matcher::HeaderMatchSpecifier as Wanted;
    let intervals = route::RetryPolicy {
        retry_back_off: Some(route::retry_policy::RetryBackOff {
            base_interval: seconds(2),
            max_interval: seconds(1),
        }),
        ..route::RetryPolicy::default()
    };
    let said = refused_route(acting(Action::Route(retrying(intervals))));
    let wanted = "route.retry_policy.retry_back_off.max_interval: has to be base_interval or more";
    assert_eq!(said, wanted);
    let expression = route::RetryPolicy {
        retriable_headers: vec![header("x", Wanted::SafeRegexMatch(regex("(")))],
        ..route::RetryPolicy::default()
    };
    let said = refused_route(acting(Action::Route(retrying(expression))));
    assert!(said.starts_with("route.retry_policy.retriable_headers[0]: unclosed group"));
}

#[test]
fn what_has_no_effect_on_calls_is_noted() {
    let action = route::RouteAction {
        prefix_rewrite: "/x".to_owned(),
        request_mirror_policies: vec![()],
        metadata_match: Some(()),
        host_rewrite_specifier: Some(route::route_action::HostRewriteSpecifier::AutoHostRewrite(
            false,
        )),
        ..to_a()
    };
    let notes = http(action).notes.join("; ");
    for word in [
        "rewrite of the path",
        "request_mirror_policies",
        "metadata_match",
    ] {
        assert!(notes.contains(word), "{notes}");
    }
    assert!(!notes.contains("host_rewrite"), "{notes}");
}
