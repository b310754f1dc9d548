//! What each kind of condition means, and what an explanation says of it.

use std::collections::HashMap;

use meltemi_routing::{
    AttributeMatch, Attributes, Matcher, Route, RouteTable, WeightedClusters, check_regex,
};

struct Request(HashMap<&'static str, Vec<u8>>);

impl Attributes for Request {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

fn route(name: &str, matches: Vec<AttributeMatch>) -> Route {
    Route {
        name: name.into(),
        matches,
        clusters: WeightedClusters::single("cluster"),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
        hash_policy: Vec::new(),
    }
}

fn one(name: &str, matcher: Matcher, invert: bool) -> RouteTable {
    let condition = AttributeMatch {
        name: name.into(),
        matcher,
        invert,
        missing_is_empty: false,
    };
    RouteTable::new("table", vec![route("only", vec![condition])]).expect("a valid route")
}

fn takes(table: &RouteTable, value: Option<&[u8]>) -> bool {
    let request = Request(
        value
            .map(|value| ("lane", value.to_vec()))
            .into_iter()
            .collect(),
    );
    table.select(&request).is_some()
}

fn regex(pattern: &str) -> RouteTable {
    one("lane", Matcher::Regex(pattern.into()), false)
}

#[test]
fn names_are_compared_without_case_and_values_with_case() {
    let table = one("LANE", Matcher::Exact(b"Blue"[..].into()), false);
    assert!(takes(&table, Some(b"Blue")));
    assert!(!takes(&table, Some(b"blue")));
}

#[test]
fn a_regex_matches_the_whole_value_or_not_at_all() {
    assert!(takes(&regex("bl|blue"), Some(b"blue")));
    assert!(!takes(&regex("blue"), Some(b"bluebird")));
    assert!(!takes(&regex("blue"), Some(b"a blue")));
    assert!(!takes(&regex("^blue$"), Some(b"blue\n")));
    assert!(takes(&regex("(?x) blue # a comment"), Some(b"blue")));
}

#[test]
fn values_that_are_not_utf8_are_compared_as_bytes() {
    let value = b"\xff\x00blue\xfe";
    assert!(takes(
        &one("lane", Matcher::Exact(value[..].into()), false),
        Some(value)
    ));
    assert!(takes(
        &one("lane", Matcher::Prefix(b"\xff"[..].into()), false),
        Some(value)
    ));
    assert!(takes(
        &one("lane", Matcher::Contains(b"blue"[..].into()), false),
        Some(value)
    ));
    assert!(takes(&regex(".*blue."), Some(value)));
    assert!(!takes(&regex(".*green."), Some(value)));
}

#[test]
fn a_dot_is_one_character_of_text() {
    assert!(takes(&regex("h.llo"), Some("héllo".as_bytes())));
    assert!(!takes(&regex("h..llo"), Some("héllo".as_bytes())));
}

#[test]
fn an_inverted_condition_needs_a_value_that_differs() {
    let table = one("lane", Matcher::Exact(b"blue"[..].into()), true);
    assert!(takes(&table, Some(b"green")));
    assert!(!takes(&table, Some(b"blue")));
    assert!(!takes(&table, None));
}

#[test]
fn present_takes_an_empty_value_and_inverted_present_takes_none() {
    assert!(takes(&one("lane", Matcher::Present, false), Some(b"")));
    assert!(!takes(&one("lane", Matcher::Present, false), None));
    assert!(takes(&one("lane", Matcher::Present, true), None));
    assert!(!takes(&one("lane", Matcher::Present, true), Some(b"")));
}

#[test]
fn a_range_takes_its_start_and_not_its_end() {
    let table = one("lane", Matcher::Range(-1, 10), false);
    assert!(takes(&table, Some(b"-1")));
    assert!(takes(&table, Some(b"9")));
    assert!(!takes(&table, Some(b"10")));
    assert!(!takes(&table, Some(b"nine")));
}

#[test]
fn every_wrong_expression_is_named_with_its_route_and_attribute() {
    let wrong = |name: &str, pattern: &str| AttributeMatch {
        name: name.into(),
        matcher: Matcher::Regex(pattern.into()),
        invert: false,
        missing_is_empty: false,
    };
    let routes = vec![
        route("first", vec![wrong("user", "a"), wrong("lane", "(")]),
        route("second", vec![wrong("method", "a)(b")]),
    ];
    let errors = RouteTable::new("table", routes).expect_err("two are wrong");
    let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2);
    assert_eq!(
        said[0],
        r#"route 0 "first": attribute "lane": unclosed group"#
    );
    assert_eq!(
        said[1],
        r#"route 1 "second": attribute "method": unopened group"#
    );
}

#[test]
fn an_expression_that_would_take_much_memory_or_time_is_refused() {
    assert!(check_regex("(a{1000}){1000}").is_err_and(|reason| reason.contains("larger than")));
    assert!(check_regex(&"a".repeat(5000)).is_err_and(|reason| reason.contains("5000 bytes")));
    assert!(check_regex("(?=a)").is_err_and(|reason| reason.contains("look-around")));
    assert!(check_regex(r"(a)\1").is_err_and(|reason| reason.contains("backreferences")));
    assert_eq!(check_regex("(a+)+b"), Ok(()));
}

#[test]
fn an_explanation_ends_with_the_match_and_shows_what_each_condition_saw() {
    let exact = |name: &str, value: &str| AttributeMatch {
        name: name.into(),
        matcher: Matcher::Exact(value.as_bytes().into()),
        invert: false,
        missing_is_empty: false,
    };
    let routes = vec![
        route(
            "blue",
            vec![exact("method", "sayHello"), exact("Lane", "blue")],
        ),
        route("all", vec![]),
        route("never", vec![]),
    ];
    let table = RouteTable::new("table", routes).expect("valid");
    let traces = table.explain(&Request([("method", b"sayHello".to_vec())].into()));
    assert_eq!(
        traces.iter().map(|trace| &*trace.name).collect::<Vec<_>>(),
        ["blue", "all"]
    );
    let seen: Vec<_> = traces[0]
        .conditions
        .iter()
        .map(|one| (one.wanted.as_str(), one.held, one.actual.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            (r#"method exact "sayHello""#, true, Some(&b"sayHello"[..])),
            (r#"Lane exact "blue""#, false, None),
        ]
    );
    assert!(!traces[0].matched && traces[1].matched);
}

#[test]
fn in_any_case_is_about_ascii_letters_of_each_kind_of_comparison() {
    let bytes = |text: &str| text.as_bytes().into();
    let cases: [(Matcher, &[&str], &[&str]); 6] = [
        (
            Matcher::Exact(bytes("Blue")),
            &["blue", "BLUE"],
            &["blu", "blues"],
        ),
        (
            Matcher::Prefix(bytes("Bl")),
            &["blue", "BLUE"],
            &["b", "xbl"],
        ),
        (
            Matcher::Suffix(bytes("uE")),
            &["blue", "BLUE"],
            &["e", "uex"],
        ),
        (
            Matcher::Contains(bytes("LU")),
            &["blue", "lu"],
            &["bl", "l-u"],
        ),
        (
            Matcher::PathPrefix(bytes("/A")),
            &["/a", "/a/b"],
            &["/ab", "/"],
        ),
        // An expression says itself what it does with case.
        (Matcher::Regex("Blue".into()), &["Blue"], &["blue"]),
    ];
    for (matcher, yes, no) in cases {
        let table = one(
            "lane",
            Matcher::IgnoreCase(Box::new(matcher.clone())),
            false,
        );
        for value in yes {
            assert!(takes(&table, Some(value.as_bytes())), "{matcher} {value}");
        }
        for value in no {
            assert!(!takes(&table, Some(value.as_bytes())), "{matcher} {value}");
        }
    }
    let umlaut = Matcher::IgnoreCase(Box::new(Matcher::Exact("Ä".as_bytes().into())));
    assert!(!takes(&one("lane", umlaut, false), Some("ä".as_bytes())));
}

#[test]
fn a_path_prefix_ends_at_a_slash_or_with_the_path() {
    let table = one("lane", Matcher::PathPrefix(b"/a"[..].into()), false);
    for (path, wanted) in [
        ("/a", true),
        ("/a/", true),
        ("/a/b", true),
        ("/ab", false),
        ("/", false),
    ] {
        assert_eq!(takes(&table, Some(path.as_bytes())), wanted, "{path}");
    }
}

#[test]
fn a_missing_value_that_counts_as_empty_is_compared_like_one() {
    for (matcher, held) in [
        (Matcher::Exact(b""[..].into()), true),
        (Matcher::Exact(b"a"[..].into()), false),
        (Matcher::Prefix(b""[..].into()), true),
        (Matcher::Regex(".*".into()), true),
        (Matcher::Regex(".+".into()), false),
        (Matcher::Range(0, 1), false),
        (Matcher::Present, true),
    ] {
        for invert in [false, true] {
            let condition = AttributeMatch {
                name: "lane".into(),
                matcher: matcher.clone(),
                invert,
                missing_is_empty: true,
            };
            let table = RouteTable::new("table", vec![route("only", vec![condition])]);
            let table = table.expect("a valid route");
            assert_eq!(takes(&table, None), held != invert, "{matcher} {invert}");
            assert_eq!(
                takes(&table, Some(b"")),
                held != invert,
                "{matcher} {invert}"
            );
        }
    }
}

#[test]
fn what_cannot_be_evaluated_never_holds_and_says_why() {
    for invert in [false, true] {
        let table = one("runtime_fraction", Matcher::Never("half".into()), invert);
        let there = Request([("runtime_fraction", Vec::new())].into());
        assert_eq!(table.select(&there), None);
        let nothing = Request(HashMap::new());
        assert_eq!(table.select(&nothing), None);
        let [trace] = &table.explain(&nothing)[..] else {
            panic!("one route");
        };
        let said = trace.conditions[0].to_string();
        assert!(said.contains("cannot be evaluated (half)"), "{said}");
        assert!(said.ends_with("does not hold"), "{said}");
    }
}
