//! Route configurations as Aeraki maps them.

use std::collections::HashMap;

use meltemi_routing::{Attributes, Matcher, Mutation, RouteTable};

use super::route::header_matcher::HeaderMatchSpecifier as Wanted;
use super::*;
use crate::messages::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use crate::messages::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};

struct Request(HashMap<&'static str, &'static str>);

impl Attributes for Request {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|value| value.as_bytes())
    }
}

fn table(routes: Vec<route::Route>) -> Arc<RouteTable> {
    let mut store = Store::new();
    accept(
        &mut store,
        type_url::ROUTE,
        "r",
        &route_configuration("r", routes),
    );
    Arc::clone(&store.snapshot().routes["r"])
}

fn said(routes: Vec<route::Route>) -> String {
    refusal(type_url::ROUTE, "r", &route_configuration("r", routes))
}

pub(super) fn weighted(weights: &[(&str, Option<u32>)]) -> route::RouteAction {
    let clusters = weights
        .iter()
        .map(|(name, weight)| route::weighted_cluster::ClusterWeight {
            name: (*name).to_owned(),
            weight: *weight,
            ..Default::default()
        });
    let clusters = route::WeightedCluster {
        clusters: clusters.collect(),
        ..route::WeightedCluster::default()
    };
    route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::WeightedClusters(
            clusters,
        )),
        ..route::RouteAction::default()
    }
}

fn regex(pattern: &str) -> Wanted {
    Wanted::SafeRegexMatch(RegexMatcher {
        regex: pattern.to_owned(),
    })
}

#[test]
fn every_kind_of_header_match_has_its_matcher() {
    let text = |text: &str| text.to_owned();
    let string = |pattern| {
        Wanted::StringMatch(StringMatcher {
            ignore_case: false,
            match_pattern: Some(pattern),
        })
    };
    let bytes = |text: &str| text.as_bytes().into();
    for (wanted, matcher) in [
        (Wanted::ExactMatch(text("a")), Matcher::Exact(bytes("a"))),
        (Wanted::PrefixMatch(text("a")), Matcher::Prefix(bytes("a"))),
        (Wanted::SuffixMatch(text("a")), Matcher::Suffix(bytes("a"))),
        (
            Wanted::ContainsMatch(text("a")),
            Matcher::Contains(bytes("a")),
        ),
        (regex("a+"), Matcher::Regex("a+".into())),
        (Wanted::PresentMatch(true), Matcher::Present),
        (
            string(MatchPattern::Exact(text("a"))),
            Matcher::Exact(bytes("a")),
        ),
        (
            string(MatchPattern::Prefix(text("a"))),
            Matcher::Prefix(bytes("a")),
        ),
        (
            string(MatchPattern::Suffix(text("a"))),
            Matcher::Suffix(bytes("a")),
        ),
        (
            string(MatchPattern::Contains(text("a"))),
            Matcher::Contains(bytes("a")),
        ),
    ] {
        let table = table(vec![to_cluster("", vec![header("Method", wanted)], "a")]);
        assert_eq!(table.routes()[0].matches[0].matcher, matcher);
        assert!(!table.routes()[0].matches[0].invert);
    }
    let absent = table(vec![to_cluster(
        "",
        vec![header("x", Wanted::PresentMatch(false))],
        "a",
    )]);
    assert!(absent.routes()[0].matches[0].invert);
}

#[test]
fn a_header_that_says_nothing_has_to_be_present() {
    let bare = route::HeaderMatcher {
        name: "x".to_owned(),
        ..Default::default()
    };
    let table = table(vec![to_cluster("", vec![bare], "a")]);
    assert_eq!(table.select(&Request([("x", "")].into())), Some(0));
    assert_eq!(table.select(&Request(HashMap::new())), None);
}

#[test]
fn names_weights_and_mutations_of_a_route_are_kept() {
    let option = |key: &str, value: &str| core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            raw_value: Vec::new(),
        }),
        ..core::HeaderValueOption::default()
    };
    let mut split = with_action(
        "split",
        vec![],
        weighted(&[("a", Some(20)), ("b", Some(80)), ("c", None)]),
    );
    split.request_headers_to_add = vec![option("lane", "blue")];
    split.request_headers_to_remove = vec!["trace".to_owned()];
    split.response_headers_to_add = vec![option("served-by", "a")];
    split.response_headers_to_remove = vec!["host".to_owned(), "pod".to_owned()];
    let table = table(vec![split]);
    let route = &table.routes()[0];
    assert_eq!(&*route.name, "split");
    let weights: Vec<_> = route
        .clusters
        .iter()
        .map(|(name, weight)| (&**name, weight))
        .collect();
    assert_eq!(weights, [("a", 20), ("b", 80), ("c", 0)]);
    let set = |name: &str, value: &str| Mutation::Set(name.into(), value.into());
    let remove = |name: &str| Mutation::Remove(name.into());
    let expected = [set("lane", "blue"), remove("trace")];
    assert_eq!(route.request_mutation, expected);
    let expected = [set("served-by", "a"), remove("host"), remove("pod")];
    assert_eq!(route.response_mutation, expected);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_field() {
    let only = |from: route::Route| said(vec![to_cluster("", vec![], "a"), from]);
    let zero = with_action("", vec![], weighted(&[("a", Some(0)), ("b", None)]));
    assert_eq!(
        only(zero),
        "r: virtual_hosts[0].routes[1].route.weighted_clusters.clusters: the weights add up to 0, so \
         no cluster could be chosen"
    );
    let unnamed = with_action("", vec![], weighted(&[("", Some(1))]));
    assert!(only(unnamed).contains("routes[1].route.weighted_clusters.clusters[0].name: is empty"));
    let nowhere = route::Route {
        action: None,
        ..to_cluster("", vec![], "a")
    };
    assert!(only(nowhere).contains("routes[1].route: is missing"));
    let redirect = route::Route {
        action: Some(route::route::Action::Redirect(())),
        ..Default::default()
    };
    assert!(only(redirect).contains("routes[1].action: only `route`"));
    let mut path = to_cluster("", vec![], "a");
    if let Some(wanted) = &mut path.r#match {
        wanted.path_specifier = Some(route::route_match::PathSpecifier::Path("/x".to_owned()));
    }
    assert!(only(path).contains("routes[1].match.path: is not supported"));
}

#[test]
fn case_and_missing_values_count_as_the_route_says() {
    let any_case = Wanted::StringMatch(StringMatcher {
        ignore_case: true,
        match_pattern: Some(MatchPattern::Exact("BLUE".to_owned())),
    });
    let not_blue = route::HeaderMatcher {
        invert_match: true,
        treat_missing_header_as_empty: true,
        ..header("lane", any_case.clone())
    };
    let table = table(vec![
        to_cluster("", vec![header("lane", any_case)], "a"),
        to_cluster("", vec![not_blue], "b"),
    ]);
    assert_eq!(table.select(&Request([("lane", "Blue")].into())), Some(0));
    assert_eq!(table.select(&Request([("lane", "red")].into())), Some(1));
    assert_eq!(table.select(&Request(HashMap::new())), Some(1));
}

#[test]
fn an_expression_that_the_engine_does_not_take_names_its_route() {
    let headers = vec![header("user", regex("(a{1000}){1000}"))];
    assert_eq!(
        said(vec![
            to_cluster("first", vec![], "a"),
            to_cluster("wide", headers, "a")
        ]),
        "r: virtual_hosts[0].routes[1]: route \"wide\", attribute \"user\": the compiled expression \
         is larger than 1048576 bytes"
    );
}

#[test]
fn there_is_one_virtual_host_or_none() {
    let none = route::RouteConfiguration {
        name: "r".to_owned(),
        ..Default::default()
    };
    let mut store = Store::new();
    accept(&mut store, type_url::ROUTE, "r", &none);
    assert!(store.snapshot().routes["r"].routes().is_empty());
    let mut two = route_configuration("r", vec![]);
    two.virtual_hosts.push(two.virtual_hosts[0].clone());
    assert!(refusal(type_url::ROUTE, "r", &two).starts_with("r: virtual_hosts: 2 virtual hosts"));
}

/// A table of one route a letter, which goes to the cluster of that name.
fn letters(store: &mut Store, letters: &str) -> Arc<RouteTable> {
    let routes = letters.chars().map(|letter| {
        let name = letter.to_string();
        let wanted = Wanted::ExactMatch(name.clone());
        to_cluster(&name, vec![header("method", wanted)], &name)
    });
    let message = route_configuration("r", routes.collect());
    accept(store, type_url::ROUTE, "r", &message);
    Arc::clone(&store.snapshot().routes["r"])
}

#[test]
fn a_new_version_compiles_only_the_routes_that_are_new() {
    let mut store = Store::new();
    let versions = [
        "abcdef", "abXdef", "bXdef", "ZbXdef", "ZbXdefg", "fdbX", "", "aa", "ba", "cabd",
    ];
    let mut before = letters(&mut store, "");
    for version in versions {
        let table = letters(&mut store, version);
        let named: String = table.routes().iter().map(|route| &*route.name).collect();
        assert_eq!(named, version);
        for route in table.routes() {
            assert_eq!(route.name, route.clusters.names()[0]);
            let mut old = before.routes().iter();
            let known = old.clone().any(|old| old.name == route.name);
            let shared = old.any(|old| Arc::ptr_eq(old, route));
            assert_eq!(known, shared, "{} in {version:?}", route.name);
            let method = table.select(&Request(HashMap::from([("method", "d")])));
            assert_eq!(method, version.find('d'));
        }
        before = table;
    }
}

#[test]
fn a_route_that_is_no_message_is_named_by_its_place() {
    let mut broken = route_configuration("r", vec![to_cluster("a", vec![], "a")]);
    let route = prost::bytes::Bytes::from_static(&[0x0a, 0x05, b'x']);
    let mut host = route::VirtualHost::decode(&*broken.virtual_hosts[0]).unwrap();
    host.routes.push(route);
    broken.virtual_hosts[0] = host.encode_to_vec().into();
    let said = refusal(type_url::ROUTE, "r", &broken);
    let place = "r: virtual_hosts[0].routes[1]: not a valid envoy.config.route.v3.Route: ";
    assert!(said.starts_with(place), "{said}");
}

#[test]
fn routes_are_found_wherever_they_stand_in_their_virtual_host_and_a_cut_one_is_refused() {
    let one = |name: &str| route::Route {
        name: name.to_owned(),
        action: Some(route::route::Action::Route(weighted(&[("a", Some(1))]))),
        ..Default::default()
    };
    let only = |name: &str| {
        let configuration = route_configuration("r", vec![one(name)]);
        let host = route::VirtualHost::decode(&*configuration.virtual_hosts[0]).unwrap();
        let routes = route::VirtualHost {
            routes: host.routes,
            ..Default::default()
        };
        routes.encode_to_vec()
    };
    // A number, four and eight bytes, and a group, of fields that nobody knows, and a name behind them.
    let unknown =
        b"\xf8\x07\x96\x01\xfd\x07abcd\xf9\x07abcdefgh\xfb\x07\xf8\x07\x01\xfc\x07\x0a\x01h";
    let host = [&only("first")[..], unknown, &only("second")].concat();
    let mut configuration = route_configuration("r", Vec::new());
    for length in 0..=host.len() {
        configuration.virtual_hosts[0] = host[..length].to_vec().into();
        let by_prost = route::VirtualHost::decode(&host[..length]);
        let table = crate::route_table(&configuration.encode_to_vec());
        match (by_prost, table) {
            (Ok(host), Ok(table)) => {
                assert_eq!(table.routes().len(), host.routes.len(), "{length}")
            }
            (Err(_), Err(reason)) => {
                assert!(
                    reason.starts_with("virtual_hosts[0]: not a valid"),
                    "{reason}"
                );
            }
            (by_prost, table) => panic!("{length}: {by_prost:?}, {table:?}"),
        }
    }
    let names: Vec<_> = crate::route_table(&configuration.encode_to_vec())
        .unwrap()
        .routes()
        .iter()
        .map(|route| route.name.to_string())
        .collect();
    assert_eq!(names, ["first", "second"]);
}
