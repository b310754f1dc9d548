//! Routes read in one pass are those that the decoder of whole messages gives.

use meltemi_routing::{Matcher, Route};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::route::header_matcher::HeaderMatchSpecifier as Wanted;
use super::*;
use crate::messages::envoy::r#type::matcher::v3::StringMatcher;
use crate::messages::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use crate::plain_routes::PlainRoutes;
use crate::routes::decoded;

fn read(bytes: &[u8]) -> Option<Route> {
    PlainRoutes::default().read(bytes)
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "method", "X-Lane", "sayHello", "\u{e9}", "a/b"])
        .prop_map(str::to_owned)
}

fn pattern() -> impl Strategy<Value = StringMatcher> {
    let pattern = prop_oneof![
        4 => text().prop_map(MatchPattern::Exact),
        4 => text().prop_map(MatchPattern::Prefix),
        1 => text().prop_map(MatchPattern::Suffix),
    ];
    let pattern = proptest::option::weighted(0.95, pattern);
    let ignore_case = prop::bool::weighted(0.05);
    (pattern, ignore_case).prop_map(|(match_pattern, ignore_case)| StringMatcher {
        match_pattern,
        ignore_case,
    })
}

fn condition() -> impl Strategy<Value = route::HeaderMatcher> {
    let wanted = prop_oneof![
        8 => text().prop_map(Wanted::ExactMatch),
        4 => text().prop_map(Wanted::PrefixMatch),
        4 => pattern().prop_map(Wanted::StringMatch),
        1 => text().prop_map(Wanted::ContainsMatch),
        1 => any::<bool>().prop_map(Wanted::PresentMatch),
    ];
    let wanted = proptest::option::weighted(0.95, wanted);
    let flags = (prop::bool::weighted(0.05), prop::bool::weighted(0.02));
    (text(), wanted, flags).prop_map(
        |(name, header_match_specifier, flags)| route::HeaderMatcher {
            name,
            header_match_specifier,
            invert_match: flags.0,
            treat_missing_header_as_empty: flags.1,
        },
    )
}

fn action() -> impl Strategy<Value = route::RouteAction> {
    let weighted = vec((text(), proptest::option::of(0..3_u32)), 0..3);
    let weighted = weighted.prop_map(|weights| {
        let weights: Vec<_> = weights
            .iter()
            .map(|(name, weight)| (&**name, *weight))
            .collect();
        super::routes::weighted(&weights)
    });
    let single = text().prop_map(|name| route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(name)),
        ..Default::default()
    });
    prop_oneof![single, weighted]
}

fn valid() -> impl Strategy<Value = Vec<u8>> {
    let parts = (text(), vec(condition(), 0..4), action(), text());
    parts.prop_map(|(name, headers, action, removed)| {
        let mut made = with_action(&name, headers, action);
        if removed == "a/b" {
            made.request_headers_to_remove.push(removed);
        }
        made.encode_to_vec()
    })
}

/// A serialized route, plain and valid more often than not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let broken = (valid(), edits).prop_map(|(mut bytes, edits)| {
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes
    });
    // Behind each other, messages are merged.
    let merged = (valid(), valid()).prop_map(|(first, second)| [first, second].concat());
    prop_oneof![4 => valid(), 4 => broken, 1 => merged, 1 => vec(any::<u8>(), 0..40)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn what_is_read_in_one_pass_is_what_the_decoder_gives(bytes in bytes()) {
        if let Some(route) = read(&bytes) {
            prop_assert_eq!(Ok(route), decoded(&bytes));
        }
    }

    #[test]
    fn what_is_shared_with_the_route_before_changes_nothing(
        routes in vec(bytes(), 1..6),
    ) {
        let mut plain = PlainRoutes::default();
        for bytes in &routes {
            prop_assert_eq!(plain.read(bytes), read(bytes));
        }
    }
}

#[test]
fn routes_by_exact_value_and_by_prefix_are_plain() {
    let pattern = |of: MatchPattern| {
        Wanted::StringMatch(StringMatcher {
            match_pattern: Some(of),
            ..Default::default()
        })
    };
    let headers = vec![
        header("method", Wanted::ExactMatch("a".to_owned())),
        header("lane", Wanted::PrefixMatch("b".to_owned())),
        header("x", pattern(MatchPattern::Exact("c".to_owned()))),
        header("y", pattern(MatchPattern::Prefix("d".to_owned()))),
    ];
    let action = super::routes::weighted(&[("v1", Some(80)), ("v2", Some(20))]);
    let found = read(&with_action("r", headers, action).encode_to_vec()).expect("plain");
    let matchers: Vec<_> = found.matches.iter().map(|one| &one.matcher).collect();
    let [exact, prefix] = [Matcher::Exact, Matcher::Prefix];
    let value = |text: &str| Arc::from(text.as_bytes());
    let wanted = [
        exact(value("a")),
        prefix(value("b")),
        exact(value("c")),
        prefix(value("d")),
    ];
    assert_eq!(matchers, wanted.iter().collect::<Vec<_>>());
}

#[test]
fn what_has_more_to_say_is_not_plain() {
    let exact = || Wanted::ExactMatch("a".to_owned());
    let plain = || to_cluster("r", vec![header("method", exact())], "c");
    assert!(read(&plain().encode_to_vec()).is_some());

    let mut inverted = plain();
    inverted.r#match.as_mut().expect("has one").headers[0].invert_match = true;
    assert_eq!(read(&inverted.encode_to_vec()), None);

    let mut mutating = plain();
    mutating.response_headers_to_remove.push("x".to_owned());
    assert_eq!(read(&mutating.encode_to_vec()), None);

    let mut by_path = plain();
    let wanted = by_path.r#match.as_mut().expect("has one");
    wanted.path_specifier = Some(route::route_match::PathSpecifier::Prefix("/a".to_owned()));
    assert_eq!(read(&by_path.encode_to_vec()), None);
}
