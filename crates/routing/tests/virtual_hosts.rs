//! Which virtual host serves an authority: Envoy's order.

use std::sync::Arc;

use meltemi_routing::{
    HttpAction, Mutation, Mutations, RetryPolicy, Route, RouteTable, VirtualHost, VirtualHosts,
    WeightedClusters,
};

fn host(name: &str, domains: &[&str]) -> Arc<VirtualHost> {
    Arc::new(VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|domain| Arc::from(*domain)).collect(),
        table: RouteTable::new(name, Vec::new()).expect("no routes"),
        mutations: Mutations::default(),
        most_specific_wins: false,
        retry: None,
        notes: Box::default(),
    })
}

fn hosts(all: &[&[&str]], ignore_port: bool) -> VirtualHosts {
    let named = all.iter().enumerate();
    let hosts = named.map(|(place, domains)| host(&place.to_string(), domains));
    VirtualHosts::new("r", hosts.collect(), ignore_port).expect("domains of their own")
}

fn chosen(hosts: &VirtualHosts, authority: &str) -> Option<usize> {
    hosts
        .select(authority)
        .map(|host| host.name.parse().expect("a place"))
}

#[test]
fn exact_comes_before_the_longest_suffix_before_the_longest_prefix_before_any() {
    let all = hosts(
        &[
            &["*"],
            &["reviews.*", "reviews.default.*"],
            &["*.local", "Upper.Case"],
            &["*.svc.cluster.local", "*-dev.test"],
            &["reviews.default.svc.cluster.local", "10.0.0.1"],
            &["reviews", "reviews:9080"],
        ],
        false,
    );
    for (authority, wanted) in [
        ("reviews", 5),
        ("REVIEWS", 5),
        ("reviews:9080", 5),
        ("reviews:9081", 0),
        ("reviews.default.svc.cluster.local", 4),
        ("reviews.default.svc.cluster.local:9080", 1),
        ("ratings.default.svc.cluster.local", 3),
        ("ratings.local", 2),
        ("upper.case", 2),
        ("a-dev.test", 3),
        ("-dev.test", 0),
        (".local", 0),
        ("reviews.x", 1),
        ("reviews.", 0),
        ("10.0.0.1", 4),
        ("10.0.0.1:80", 0),
        ("", 0),
    ] {
        assert_eq!(chosen(&all, authority), Some(wanted), "{authority}");
    }
}

#[test]
fn without_a_host_for_any_authority_others_are_not_served() {
    let all = hosts(&[&["reviews"], &["*.test"]], false);
    assert_eq!(chosen(&all, "ratings"), None);
    assert_eq!(chosen(&hosts(&[], false), "ratings"), None);
}

#[test]
fn a_port_is_part_of_the_authority_unless_it_is_ignored() {
    let domains: &[&[&str]] = &[&["reviews", "[::1]"], &["reviews:9080"], &["*"]];
    let counted = hosts(domains, false);
    let ignored = hosts(domains, true);
    for (authority, with, without) in [
        ("reviews", 0, 0),
        ("reviews:9080", 1, 0),
        ("reviews:1", 2, 0),
        ("[::1]:80", 2, 0),
        ("[::1]", 0, 0),
        ("::1", 2, 2),
    ] {
        assert_eq!(chosen(&counted, authority), Some(with), "{authority}");
        assert_eq!(chosen(&ignored, authority), Some(without), "{authority}");
    }
}

#[test]
fn a_domain_that_is_there_twice_is_an_error_that_names_its_place() {
    for (first, second) in [
        ("*", "*"),
        ("a", "A"),
        ("*.a", "*.A"),
        ("a.*", "a.*"),
        ("a:80", "a:80"),
    ] {
        let both = vec![host("one", &[first]), host("two", &["b", second])];
        let errors = VirtualHosts::new("r", both, false).expect_err("twice");
        assert_eq!(errors.len(), 1, "{first}");
        assert_eq!((errors[0].host, errors[0].place), (1, 1), "{first}");
        assert!(errors[0].reason.contains("\"one\""), "{}", errors[0].reason);
    }
    assert_eq!(hosts(&[&["a", "*a", "a*"]], false).hosts().len(), 1);
}

#[test]
fn a_wildcard_never_cuts_a_letter_in_two() {
    let all = hosts(&[&["*ä"], &["ä*"], &["*"]], false);
    assert_eq!(chosen(&all, "xä"), Some(0));
    assert_eq!(chosen(&all, "äx"), Some(1));
    // The suffix would begin inside of the last letter.
    assert_eq!(chosen(&all, "x\u{8a4}"), Some(2));
}

fn set(value: &str) -> Vec<Mutation> {
    vec![Mutation::Set("lane".into(), value.into())]
}

/// A route with a change of its own and of its second cluster.
fn route() -> Route {
    let of_cluster = Mutations {
        request: set("cluster"),
        response: set("cluster"),
    };
    Route {
        name: "".into(),
        matches: Vec::new(),
        clusters: WeightedClusters::new([("a".into(), 1), ("b".into(), 1)]).expect("weights"),
        hash_policy: Vec::new(),
        request_mutation: set("route"),
        response_mutation: set("route"),
        http: Some(Box::new(HttpAction {
            of_cluster: [Mutations::default(), of_cluster].into(),
            ..HttpAction::default()
        })),
    }
}

#[test]
fn changes_are_made_in_envoys_order() {
    let with = |most_specific_wins| VirtualHost {
        mutations: Mutations {
            request: [set("host"), set("all")].concat(),
            response: set("host"),
        },
        most_specific_wins,
        ..Arc::into_inner(host("h", &["*"])).expect("the only one")
    };
    let values = |changes: Vec<&Mutation>| -> Vec<String> {
        let value = |change: &&Mutation| match change {
            Mutation::Set(_, value) => value.to_string(),
            other => format!("{other:?}"),
        };
        changes.iter().map(value).collect()
    };
    let route = route();
    let request =
        |host: &VirtualHost, cluster| values(host.request_changes(&route, cluster).collect());
    let response = |host: &VirtualHost| values(host.response_changes(&route, 1).collect());
    assert_eq!(request(&with(false), 0), ["route", "host", "all"]);
    assert_eq!(
        request(&with(false), 1),
        ["cluster", "route", "host", "all"]
    );
    assert_eq!(request(&with(true), 1), ["cluster", "host", "all", "route"]);
    assert_eq!(response(&with(false)), ["cluster", "route", "host"]);
    assert_eq!(response(&with(true)), ["cluster", "host", "route"]);
}

fn retry(num_retries: u32) -> Arc<RetryPolicy> {
    Arc::new(RetryPolicy {
        on: meltemi_routing::RetryOn::RESET,
        num_retries,
        per_try_timeout: None,
        statuses: Box::default(),
        reply_headers: Default::default(),
        request_headers: Default::default(),
        base_interval: RetryPolicy::BASE_INTERVAL,
        max_interval: RetryPolicy::BASE_INTERVAL,
        previous_hosts: false,
        host_selection_max_attempts: 1,
    })
}

#[test]
fn a_route_without_a_retry_policy_has_its_hosts() {
    let host = VirtualHost {
        retry: Some(retry(1)),
        ..Arc::into_inner(host("h", &["*"])).expect("the only one")
    };
    let mut own = route();
    assert_eq!(host.retry_of(&own).map(|retry| retry.num_retries), Some(1));
    if let Some(http) = &mut own.http {
        http.retry = Some(retry(2));
    }
    assert_eq!(host.retry_of(&own).map(|retry| retry.num_retries), Some(2));
    own.http = None;
    assert_eq!(host.retry_of(&own).map(|retry| retry.num_retries), Some(1));
}
