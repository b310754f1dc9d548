//! What matchers see of a call.

use meltemi_routing::{
    AnyMatch, AttributeMatch, Attributes, FULL_PATH, Matcher, PATH, Request, RetryOn,
};

fn seen(request: &Request<'_, &str>, name: &str) -> Option<String> {
    let value = request.get(name)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn of_path<'a>(path: &'a str, name: &str) -> Option<String> {
    seen(
        &Request::<'a, &str>::new("POST", "http", "a", path, &[]),
        name,
    )
}

#[test]
fn the_path_ends_where_its_query_or_fragment_begins() {
    for (path, wanted) in [
        ("/a.S/M", "/a.S/M"),
        ("/a?x=1", "/a"),
        ("/a#b", "/a"),
        ("/a#b?c", "/a"),
        ("/a?b#c?d", "/a"),
        ("/?", "/"),
    ] {
        assert_eq!(of_path(path, PATH).as_deref(), Some(wanted));
        assert_eq!(of_path(path, FULL_PATH).as_deref(), Some(path));
    }
}

#[test]
fn the_first_parameter_of_a_name_counts_as_it_stands_there() {
    for (path, wanted) in [
        ("/?x=1&x=2", Some("1")),
        ("/?y=0&x=1", Some("1")),
        ("/?x", Some("")),
        ("/?x=", Some("")),
        ("/?x=%31+1", Some("%31+1")),
        ("/?x=1=2", Some("1=2")),
        ("/?x=1#f", Some("1")),
        ("/?X=1", None),
        ("/x=1", None),
        ("/#?x=1", None),
    ] {
        assert_eq!(of_path(path, "?x").as_deref(), wanted, "{path}");
    }
}

#[test]
fn pseudo_headers_and_headers_are_found_by_name() {
    let headers = [
        ("Lane", "blue"),
        ("LANE", "green"),
        ("lane", "red"),
        ("x", ""),
    ];
    let call = Request::new("POST", "http", "reviews:9080", "/", &headers);
    for (name, wanted) in [
        (":method", Some("POST")),
        (":scheme", Some("http")),
        (":authority", Some("reviews:9080")),
        ("host", Some("reviews:9080")),
        (":status", None),
        ("lane", Some("blue")),
        ("x", Some("")),
        ("y", None),
    ] {
        assert_eq!(seen(&call, name).as_deref(), wanted, "{name}");
    }
    assert_eq!(call.more("lane"), [&b"green"[..], b"red"]);
    assert!(call.more("x").is_empty() && call.more("y").is_empty());
}

#[test]
fn every_retry_condition_is_read_and_other_words_say_nothing() {
    let words = "5xx, gateway-error,reset , 503,reset-before-request,,no-such-thing";
    let on = RetryOn::parse(words);
    let names: Vec<_> = on.names().collect();
    assert_eq!(
        names,
        ["5xx", "gateway-error", "reset", "reset-before-request"]
    );
    assert!(on.has(RetryOn::RESET) && !on.has(RetryOn::UNAVAILABLE));
    assert!(RetryOn::parse("").is_empty());
    let istio = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
    let mut wanted: Vec<_> = istio.split(',').collect();
    wanted.sort_unstable();
    let mut names: Vec<_> = RetryOn::parse(istio).names().collect();
    names.sort_unstable();
    assert_eq!(names, wanted);
}

#[test]
fn of_several_conditions_any_one_is_enough_and_of_none_there_is_none() {
    let exact = |name: &str, value: &str| AttributeMatch {
        name: name.into(),
        matcher: Matcher::Exact(value.as_bytes().into()),
        invert: false,
        missing_is_empty: false,
    };
    let any = AnyMatch::new(vec![exact("a", "1"), exact("b", "2")]).expect("two conditions");
    let holds = |headers: &[(&str, &str)]| any.holds(&Request::new("", "", "", "/", headers));
    assert!(holds(&[("b", "2")]) && holds(&[("a", "1"), ("b", "1")]));
    assert!(!holds(&[("a", "2")]));
    let none = AnyMatch::default();
    assert!(!none.holds(&Request::<&str>::new("", "", "", "/", &[])));
}
