//! A lane's mark is what its expression says, however the header is written, and costs one look at it.

use std::cell::Cell;

use meltemi_routing::{AttributeMatch, Attributes, Matcher, Route, RouteTable, WeightedClusters};
use proptest::collection::vec;
use proptest::prelude::*;

/// Lines of key, value and the expression for them, as `meltemi.lanes` writes it.
const WRITTEN: &str = include_str!("../../../tests/golden/marks.tsv");

#[derive(Debug, Default)]
struct Request {
    attributes: Vec<(&'static str, Vec<u8>)>,
    reads: Cell<usize>,
}

impl Attributes for Request {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.reads.set(self.reads.get() + 1);
        let mut named = self.attributes.iter().filter(|(known, _)| *known == name);
        named.next().map(|(_, value)| value.as_slice())
    }
}

fn request(name: &'static str, value: &[u8]) -> Request {
    Request {
        attributes: vec![(name, value.to_vec())],
        reads: Cell::new(0),
    }
}

/// The expression of a mark, written as `meltemi.lanes.mark` does.
fn pattern(key: &str, value: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let digit = |digit: u8| match digit {
        0..=9 => format!("{digit}"),
        _ => format!("[{digit:X}{digit:x}]"),
    };
    let escaped = |letter: char| match letter {
        '-' | '.' | '~' | '*' | '+' | '$' | '&' | '#' | '^' | '|' => format!("\\{letter}"),
        _ => letter.to_string(),
    };
    let wanted = value.iter().map(|byte| {
        let encoded = format!("%{}{}", digit(byte >> 4), digit(byte & 15));
        match plain(*byte) {
            true => format!("(?:{}|{encoded})", escaped(char::from(*byte))),
            false => encoded,
        }
    });
    let (key, wanted): (String, String) = (key.chars().map(escaped).collect(), wanted.collect());
    format!(r"^(?:.*,)?[ \t]*{key}[ \t]*=[ \t]*{wanted}[ \t]*(?:[;,].*)?$")
}

fn condition(name: &str, pattern: &str, invert: bool, missing_is_empty: bool) -> AttributeMatch {
    AttributeMatch {
        name: name.into(),
        matcher: Matcher::Regex(pattern.into()),
        invert,
        missing_is_empty,
    }
}

fn table(routes: impl IntoIterator<Item = Vec<AttributeMatch>>) -> RouteTable {
    let route = |matches| Route {
        name: "".into(),
        matches,
        clusters: WeightedClusters::single("cluster"),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
        hash_policy: Vec::new(),
    };
    RouteTable::new("table", routes.into_iter().map(route).collect()).expect("valid routes")
}

/// The same conditions with expressions that mean the same and are not known for marks.
fn as_expressions(routes: &[Vec<AttributeMatch>]) -> RouteTable {
    let plain = |one: &AttributeMatch| match &one.matcher {
        Matcher::Regex(pattern) => AttributeMatch {
            matcher: Matcher::Regex(format!("(?:{pattern})").into()),
            ..one.clone()
        },
        _ => one.clone(),
    };
    table(routes.iter().map(|list| list.iter().map(plain).collect()))
}

const KEYS: [&str; 4] = ["env", "lane", "x.env", "a|b"];
const VALUES: [&[u8]; 7] = [b"dev", b"d-1", b"red", b"", b"a b", b"\xc3\xbc", b"d,e;f=g"];
const NAMES: [&str; 3] = ["baggage", "rpc_transit_baggage", "rpc_persist_baggage"];

/// Bytes of a header, most of them near to a mark.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let one_of = |all: &[&'static [u8]]| prop::sample::select(all.to_vec());
    let member = (
        one_of(&[b"", b" ", b"\t", b" \t "]),
        prop::sample::select(KEYS.to_vec()),
        one_of(&[b"=", b" =", b"= ", b"\t=\t", b"", b"==", b"=%"]),
        prop::sample::select(VALUES.to_vec()),
        vec(0_u8..6, 12),
        one_of(&[
            b"",
            b" ",
            b";p=1",
            b" ; env=dev",
            b"\n",
            b"\xff",
            b"%",
            b"%6",
        ]),
    );
    let member = member.prop_map(|(before, key, between, value, how, behind)| {
        let mut made = [before, key.as_bytes(), between].concat();
        for (byte, how) in value.iter().zip(how) {
            match how {
                0 => made.extend(format!("%{byte:02X}").bytes()),
                1 => made.extend(format!("%{byte:02x}").bytes()),
                2 if !byte.is_ascii_alphanumeric() => made.extend(format!("%{byte:02X}").bytes()),
                _ => made.push(*byte),
            }
        }
        made.extend(behind);
        made
    });
    let noise = vec(
        prop::sample::select(b"env=dv%64,; \t\n\xff".to_vec()),
        0..12,
    );
    let part = prop_oneof![4 => member, 1 => noise];
    vec(part, 0..5).prop_map(|parts| parts.join(&b","[..]))
}

fn any_condition() -> impl Strategy<Value = AttributeMatch> {
    let name = prop::sample::select(NAMES.to_vec());
    let mark = (
        prop::sample::select(KEYS.to_vec()),
        prop::sample::select(VALUES.to_vec()),
    );
    let other = prop::sample::select(vec![
        Matcher::Exact(b"env=dev"[..].into()),
        Matcher::Prefix(b"env="[..].into()),
        Matcher::Regex(".*dev.*".into()),
        Matcher::Present,
    ]);
    let matcher = prop_oneof![
        6 => mark.prop_map(|(key, value)| Matcher::Regex(pattern(key, value).into())),
        1 => other,
    ];
    let (invert, missing) = (prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (name, matcher, invert, missing).prop_map(|(name, matcher, invert, missing_is_empty)| {
        AttributeMatch {
            name: name.into(),
            matcher,
            invert,
            missing_is_empty,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_mark_is_found_where_its_expression_finds_it(
        routes in vec(vec(any_condition(), 1..3), 1..30),
        headers in vec(vec(header(), 3), 1..30),
    ) {
        let (marks, expressions) = (table(routes.clone()), as_expressions(&routes));
        for values in headers {
            let attributes = NAMES.into_iter().zip(values);
            let request = Request { attributes: attributes.collect(), ..Request::default() };
            let wanted = expressions.select(&request);
            prop_assert_eq!(marks.select(&request), wanted, "{:?}", request);
            let explained = marks.explain(&request);
            prop_assert_eq!(explained.iter().position(|trace| trace.matched), wanted);
        }
    }

    #[test]
    fn of_several_headers_each_is_looked_at(
        routes in vec(vec(any_condition(), 1..3), 1..30),
        headers in vec(vec((prop::sample::select(NAMES.to_vec()), header()), 0..5), 1..10),
    ) {
        let (marks, expressions) = (table(routes.clone()), as_expressions(&routes));
        for headers in headers {
            let text = |(name, value): (&str, Vec<u8>)| {
                (name.to_owned(), String::from_utf8_lossy(&value).into_owned())
            };
            let headers: Vec<_> = headers.into_iter().map(text).collect();
            let call = meltemi_routing::Request::new("POST", "http", "a", "/", &headers);
            prop_assert_eq!(marks.select(&call), expressions.select(&call), "{:?}", headers);
        }
    }

    #[test]
    fn a_table_that_follows_another_finds_marks_as_one_made_anew(
        routes in vec(vec(any_condition(), 1..3), 5..30),
        edits in vec((any::<prop::sample::Index>(), vec(any_condition(), 1..3)), 1..4),
        headers in vec(vec(header(), 3), 1..20),
    ) {
        let mut routes = routes;
        let mut marks = table(routes.clone());
        for (place, edited) in edits {
            let place = place.index(routes.len());
            routes[place] = edited;
            let mut compiled = marks.routes().to_vec();
            compiled[place] = table([routes[place].clone()]).routes()[0].clone();
            marks = marks.followed_by(compiled);
        }
        let expressions = as_expressions(&routes);
        for values in headers {
            let attributes = NAMES.into_iter().zip(values);
            let request = Request { attributes: attributes.collect(), ..Request::default() };
            prop_assert_eq!(marks.select(&request), expressions.select(&request));
        }
    }
}

fn written() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    WRITTEN.lines().map(|line| {
        let mut parts = line.split('\t');
        let mut next = || parts.next().expect("key, value and expression");
        (next(), next(), next())
    })
}

#[test]
fn every_expression_that_lanes_write_is_known_for_a_mark() {
    for (key, value, expression) in written() {
        // Five lanes of one header are looked up together: it is read once.
        let others = (0..4).map(|number| pattern(key, format!("other{number}").as_bytes()));
        let all = others.chain([expression.to_owned()]);
        let marks = table(all.map(|one| vec![condition("baggage", &one, false, false)]));
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let found = request("baggage", format!("a=b, {key} = {encoded};p=1").as_bytes());
        assert_eq!(marks.select(&found), Some(4), "{key} {value}");
        assert_eq!(found.reads.get(), 1, "{key} {value}");
        let none = request("baggage", format!("{key}={encoded}x").as_bytes());
        assert_eq!(marks.select(&none), None, "{key} {value}");
        assert_eq!(none.reads.get(), 1, "{key} {value}");
    }
    assert!(written().count() > 10);
}

#[test]
fn a_thousand_lanes_take_one_look_at_the_header() {
    let lane = |number: usize| pattern("env", format!("lane{number}").as_bytes());
    let marks =
        table((0..1000).map(|number| vec![condition("baggage", &lane(number), false, false)]));
    let last = request("baggage", b"userId=7,env=lane999;ttl=3,a=b");
    assert_eq!(marks.select(&last), Some(999));
    assert_eq!(last.reads.get(), 1);
    let two = request("baggage", b"env=lane998,env=lane7");
    assert_eq!(
        marks.select(&two),
        Some(7),
        "the first route, not the first member"
    );
}

#[test]
fn a_mark_that_is_too_long_for_the_index_is_found_all_the_same() {
    let long = "v".repeat(300);
    let marks = table((0..5).map(|number| {
        let value = format!("{}{number}", &long);
        vec![condition(
            "baggage",
            &pattern("env", value.as_bytes()),
            false,
            false,
        )]
    }));
    let found = request("baggage", format!("env={long}3").as_bytes());
    assert_eq!(marks.select(&found), Some(3));
    assert_eq!(
        marks.select(&request("baggage", format!("env={long}").as_bytes())),
        None
    );
}

#[test]
fn a_mark_is_no_longer_than_any_pattern_may_be() {
    let pattern = pattern("env", "v".repeat(500).as_bytes());
    assert!(pattern.len() > 4096);
    let compiled =
        std::panic::catch_unwind(|| table([vec![condition("a", &pattern, false, false)]]));
    assert!(compiled.is_err());
}
