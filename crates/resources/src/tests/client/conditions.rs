//! Matches of routes. What they mean is held against a stock Envoy in tests/interop.

use super::*;
use crate::messages::envoy::config::core::v3::RuntimeFractionalPercent;
use crate::messages::envoy::r#type::matcher::v3::StringMatcher;
use crate::messages::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use crate::messages::envoy::r#type::v3::FractionalPercent;
use route::header_matcher::HeaderMatchSpecifier as Wanted;
use route::query_parameter_matcher::QueryParameterMatchSpecifier as Parameter;
use route::route_match::PathSpecifier;

fn path(specifier: PathSpecifier) -> route::RouteMatch {
    route::RouteMatch {
        path_specifier: Some(specifier),
        ..route::RouteMatch::default()
    }
}

fn any_path() -> route::RouteMatch {
    path(PathSpecifier::Prefix("/".to_owned()))
}

fn text(pattern: MatchPattern, ignore_case: bool) -> StringMatcher {
    StringMatcher {
        ignore_case,
        match_pattern: Some(pattern),
    }
}

#[test]
fn each_kind_of_path_is_compared_as_envoy_does() {
    let of = |text: &str| text.to_owned();
    for (specifier, yes, no) in [
        (
            PathSpecifier::Path(of("/a.S/M")),
            ["/a.S/M", "/a.S/M?x=1"],
            ["/a.S/Mx", "/a.s/m"],
        ),
        (
            PathSpecifier::Prefix(of("/a")),
            ["/a", "/ab?x"],
            ["/A", "/?/a"],
        ),
        (
            PathSpecifier::PathSeparatedPrefix(of("/a")),
            ["/a?x", "/a/b"],
            ["/ab", "/A"],
        ),
        (
            PathSpecifier::SafeRegex(regex("/[a-c]+")),
            ["/abc", "/a?d"],
            ["/abcd", "/a/b"],
        ),
    ] {
        for path_yes in yes {
            assert!(holds(&path(specifier.clone()), path_yes, &[]), "{path_yes}");
        }
        for path_no in no {
            assert!(!holds(&path(specifier.clone()), path_no, &[]), "{path_no}");
        }
    }
    let mut any_case = path(PathSpecifier::Path(of("/a.S/M")));
    any_case.case_sensitive = Some(false);
    assert!(holds(&any_case, "/A.s/m?x", &[]));
    let connect = path(PathSpecifier::ConnectMatcher(()));
    assert!(!holds(&connect, "/", &[]), "a call is no CONNECT");
}

#[test]
fn all_conditions_on_one_header_count() {
    let mut wanted = any_path();
    wanted.headers = vec![
        header("Lane", Wanted::PrefixMatch("b".to_owned())),
        header("lane", Wanted::SuffixMatch("e".to_owned())),
    ];
    assert!(holds(&wanted, "/", &[("LANE", "blue")]));
    assert!(!holds(&wanted, "/", &[("lane", "black")]));
    assert!(!holds(&wanted, "/", &[("lane", "white")]));
    assert!(!holds(&wanted, "/", &[]));
}

#[test]
fn a_whole_header_is_compared_not_a_part_of_it() {
    let mut wanted = any_path();
    let exact = text(MatchPattern::Exact("env=dev".to_owned()), false);
    wanted.headers = vec![header("baggage", Wanted::StringMatch(exact))];
    assert!(holds(&wanted, "/", &[("baggage", "env=dev")]));
    assert!(!holds(&wanted, "/", &[("baggage", "env=dev,user=1")]));
    let whole = text(MatchPattern::SafeRegex(regex("env=.")), false);
    wanted.headers = vec![header("baggage", Wanted::StringMatch(whole))];
    assert!(!holds(&wanted, "/", &[("baggage", "env=dev")]));
}

#[test]
fn a_header_condition_on_the_path_sees_its_query() {
    let mut wanted = any_path();
    wanted.headers = vec![header(":Path", Wanted::ExactMatch("/a?x=1".to_owned()))];
    assert!(holds(&wanted, "/a?x=1", &[]));
    assert!(!holds(&wanted, "/a", &[]));
}

#[test]
fn a_missing_header_is_an_empty_one_where_the_route_says_so() {
    let mut wanted = any_path();
    wanted.headers = vec![route::HeaderMatcher {
        invert_match: true,
        treat_missing_header_as_empty: true,
        ..header("lane", Wanted::ExactMatch("blue".to_owned()))
    }];
    assert!(holds(&wanted, "/", &[]));
    assert!(!holds(&wanted, "/", &[("lane", "blue")]));
    wanted.headers[0].treat_missing_header_as_empty = false;
    assert!(!holds(&wanted, "/", &[]));
}

#[test]
fn case_is_ignored_where_the_matcher_says_so() {
    for pattern in [
        MatchPattern::Exact("BLUE".to_owned()),
        MatchPattern::Prefix("BL".to_owned()),
        MatchPattern::Suffix("UE".to_owned()),
        MatchPattern::Contains("LU".to_owned()),
    ] {
        for (ignore_case, wanted) in [(true, true), (false, false)] {
            let mut of_header = any_path();
            let matcher = text(pattern.clone(), ignore_case);
            of_header.headers = vec![header("lane", Wanted::StringMatch(matcher))];
            assert_eq!(holds(&of_header, "/", &[("lane", "blue")]), wanted);
        }
    }
}

#[test]
fn parameters_of_the_query_are_told_apart_by_case() {
    let parameter = |wanted| {
        let mut of_query = any_path();
        of_query.query_parameters = vec![route::QueryParameterMatcher {
            name: "User".to_owned(),
            query_parameter_match_specifier: wanted,
        }];
        of_query
    };
    let exact = text(MatchPattern::Exact("1".to_owned()), false);
    let exact = parameter(Some(Parameter::StringMatch(exact)));
    assert!(holds(&exact, "/?a=0&User=1", &[]));
    assert!(!holds(&exact, "/?user=1", &[]));
    assert!(holds(&parameter(None), "/?User", &[]));
    let absent = parameter(Some(Parameter::PresentMatch(false)));
    assert!(holds(&absent, "/?user", &[]) && !holds(&absent, "/?User=", &[]));
}

#[test]
fn a_grpc_match_goes_by_the_content_type() {
    let mut wanted = any_path();
    wanted.grpc = Some(());
    for (value, held) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        let headers = [("content-type", value)];
        assert_eq!(holds(&wanted, "/", &headers), held, "{value}");
    }
    assert!(!holds(&wanted, "/", &[]));
}

fn share(numerator: u32, denominator: i32) -> route::RouteMatch {
    let default_value = Some(FractionalPercent {
        numerator,
        denominator,
    });
    route::RouteMatch {
        runtime_fraction: Some(RuntimeFractionalPercent { default_value }),
        ..any_path()
    }
}

#[test]
fn a_share_of_requests_is_all_of_them_or_none() {
    assert!(holds(&share(100, 0), "/", &[]));
    assert!(holds(&share(10_000, 1), "/", &[]));
    for (numerator, denominator) in [(99, 0), (100, 1), (0, 0), (999_999, 2)] {
        assert!(!holds(&share(numerator, denominator), "/", &[]));
    }
}

#[test]
fn what_cannot_be_evaluated_takes_no_call_and_the_rest_of_its_host_does() {
    let custom = StringMatcher {
        match_pattern: Some(MatchPattern::Custom(())),
        ..StringMatcher::default()
    };
    let inverted = route::HeaderMatcher {
        invert_match: true,
        treat_missing_header_as_empty: true,
        ..header("lane", Wanted::StringMatch(custom))
    };
    let with = |change: fn(&mut route::RouteMatch)| {
        let mut wanted = any_path();
        change(&mut wanted);
        wanted
    };
    let mut custom = any_path();
    custom.headers = vec![inverted];
    let unknown = [
        ("lane", custom),
        ("tls_context", with(|wanted| wanted.tls_context = Some(()))),
        (
            "dynamic_metadata",
            with(|wanted| wanted.dynamic_metadata = vec![()]),
        ),
        (
            "filter_state",
            with(|wanted| wanted.filter_state = vec![()]),
        ),
        (
            "path_match_policy",
            path(PathSpecifier::PathMatchPolicy(())),
        ),
        ("runtime_fraction", share(50, 0)),
    ];
    for (name, wanted) in unknown {
        let routes = vec![matching(wanted), to_cluster("rest", Vec::new(), "b")];
        let hosts = hosts(&route_configuration("r", routes));
        let table = &hosts.hosts()[0].table;
        let request = Request::new("POST", "http", "a", "/", &[("lane", "blue")]);
        assert_eq!(table.select(&request), Some(1), "{name}");
        let traces = table.explain(&request);
        let [.., last] = &traces[0].conditions[..] else {
            panic!("{name} has conditions");
        };
        let said = last.to_string();
        assert_eq!(&*last.attribute, name);
        assert!(said.contains("cannot be evaluated"), "{said}");
    }
}

#[test]
fn what_is_broken_is_refused_with_its_field() {
    let none = route::RouteMatch::default();
    let bad = path(PathSpecifier::SafeRegex(regex("(")));
    let mut unnamed = any_path();
    unnamed.headers = vec![header("", Wanted::PresentMatch(true))];
    let mut nameless = any_path();
    nameless.query_parameters = vec![route::QueryParameterMatcher::default()];
    let mut blank = any_path();
    blank.headers = vec![header("x", Wanted::StringMatch(StringMatcher::default()))];
    for (wanted, said) in [
        (none, "match.path_specifier: one of prefix"),
        (bad, "route \"it\", attribute \":path\": unclosed group"),
        (unnamed, "match.headers[0].name: is empty"),
        (nameless, "match.query_parameters[0].name: is empty"),
        (
            blank,
            "match.headers[0].string_match.match_pattern: is missing",
        ),
    ] {
        let reason = refused_route(matching(wanted));
        assert!(reason.starts_with(said), "{reason}");
    }
    let nothing = route::Route {
        r#match: None,
        ..to_cluster("", Vec::new(), "a")
    };
    assert_eq!(refused_route(nothing), "match: is missing");
}
