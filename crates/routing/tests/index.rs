//! The index finds what a look at every route finds, and looks at few.

use std::cell::Cell;
use std::sync::Arc;

use meltemi_routing::{
    AttributeMatch, Attributes, CompiledRoute, Matcher, Route, RouteTable, WeightedClusters,
};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug, Default)]
struct Request {
    attributes: Vec<(String, Vec<u8>)>,
    reads: Cell<usize>,
}

impl Request {
    fn new(attributes: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        Self {
            attributes: attributes.iter().map(owned).collect(),
            reads: Cell::new(0),
        }
    }
}

impl Attributes for Request {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.reads.set(self.reads.get() + 1);
        self.attributes
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
    }
}

fn condition(name: &str, matcher: Matcher, invert: bool) -> AttributeMatch {
    AttributeMatch {
        name: name.into(),
        matcher,
        invert,
        missing_is_empty: false,
    }
}

fn exact(name: &str, value: &str) -> AttributeMatch {
    condition(name, Matcher::Exact(value.as_bytes().into()), false)
}

fn prefix(name: &str, value: &str) -> AttributeMatch {
    condition(name, Matcher::Prefix(value.as_bytes().into()), false)
}

fn route(matches: Vec<AttributeMatch>) -> Route {
    Route {
        name: "".into(),
        matches,
        clusters: WeightedClusters::single("cluster"),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
        hash_policy: Vec::new(),
    }
}

fn table(routes: impl IntoIterator<Item = Vec<AttributeMatch>>) -> RouteTable {
    RouteTable::new("table", routes.into_iter().map(route).collect()).expect("valid routes")
}

/// What the words of [`Matcher`] mean, without any of the crate's code.
fn holds(condition: &AttributeMatch, values: &[&[u8]]) -> bool {
    let accepts = |value: &&[u8]| accepts(&condition.matcher, value);
    match (values, &condition.matcher) {
        (_, Matcher::Never(_)) => false,
        ([], _) if condition.missing_is_empty => accepts(&&b""[..]) != condition.invert,
        ([], Matcher::Present) => condition.invert,
        ([], _) => false,
        (some, _) => some.iter().any(accepts) != condition.invert,
    }
}

fn accepts(matcher: &Matcher, value: &[u8]) -> bool {
    match matcher {
        Matcher::Exact(wanted) => *value == **wanted,
        Matcher::Prefix(wanted) => value.starts_with(wanted),
        Matcher::Suffix(wanted) => value.ends_with(wanted),
        Matcher::Contains(wanted) => {
            (0..=value.len()).any(|start| value[start..].starts_with(wanted))
        }
        // The generated expressions are `<prefix>.*`, and values hold no line breaks.
        Matcher::Regex(pattern) => value.starts_with(pattern.trim_end_matches(".*").as_bytes()),
        Matcher::Range(start, end) => String::from_utf8_lossy(value)
            .parse::<i64>()
            .is_ok_and(|number| *start <= number && number < *end),
        Matcher::Present => true,
        Matcher::PathPrefix(wanted) => {
            let below = [wanted, &b"/"[..]].concat();
            *value == **wanted || value.starts_with(&below)
        }
        Matcher::IgnoreCase(matcher) => {
            accepts(&in_lower_case(matcher), &value.to_ascii_lowercase())
        }
        Matcher::Never(_) => false,
    }
}

fn in_lower_case(matcher: &Matcher) -> Matcher {
    let lower = |value: &Arc<[u8]>| value.to_ascii_lowercase().into();
    match matcher {
        Matcher::Exact(value) => Matcher::Exact(lower(value)),
        Matcher::Prefix(value) => Matcher::Prefix(lower(value)),
        Matcher::Suffix(value) => Matcher::Suffix(lower(value)),
        Matcher::Contains(value) => Matcher::Contains(lower(value)),
        Matcher::PathPrefix(value) => Matcher::PathPrefix(lower(value)),
        other => other.clone(),
    }
}

fn scan(routes: &[Arc<CompiledRoute>], request: &Request) -> Option<usize> {
    routes.iter().position(|route| {
        route.matches.iter().all(|one| {
            let value = request.get(&one.name.to_lowercase());
            holds(one, value.as_slice())
        })
    })
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(prop::sample::select(b"abA1/".to_vec()), 0..4),
        1 => vec(128_u8..=255, 0..3),
        1 => (-3_i64..3).prop_map(|number| number.to_string().into_bytes()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["method", "Method", "user", "LANE", "lane"]).prop_map(str::to_owned)
}

fn any_condition() -> impl Strategy<Value = AttributeMatch> {
    let text = "[ab1]{0,3}";
    let matcher = prop_oneof![
        6 => value().prop_map(|value| Matcher::Exact(value.into())),
        4 => value().prop_map(|value| Matcher::Prefix(value.into())),
        1 => value().prop_map(|value| Matcher::Suffix(value.into())),
        1 => value().prop_map(|value| Matcher::Contains(value.into())),
        1 => text.prop_map(|text| Matcher::Regex(format!("{text}.*").into())),
        1 => (-3_i64..3, -3_i64..3).prop_map(|(start, end)| Matcher::Range(start, end)),
        1 => Just(Matcher::Present),
        1 => value().prop_map(|value| Matcher::PathPrefix(value.into())),
        1 => any_case(),
        1 => Just(Matcher::Never("no reason".into())),
    ];
    let (invert, missing) = (prop::bool::weighted(0.15), prop::bool::weighted(0.15));
    (name(), matcher, invert, missing).prop_map(|(name, matcher, invert, missing_is_empty)| {
        AttributeMatch {
            name: name.into(),
            matcher,
            invert,
            missing_is_empty,
        }
    })
}

fn any_case() -> impl Strategy<Value = Matcher> {
    let kinds = [
        Matcher::Exact,
        Matcher::Prefix,
        Matcher::Suffix,
        Matcher::Contains,
        Matcher::PathPrefix,
    ];
    (prop::sample::select(kinds.to_vec()), value())
        .prop_map(|(kind, value)| Matcher::IgnoreCase(Box::new(kind(value.into()))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_index_selects_what_a_scan_of_all_routes_selects(
        routes in vec(vec(any_condition(), 0..4), 0..60),
        requests in vec(vec((name(), value()), 0..4), 1..20),
    ) {
        let table = table(routes);
        for attributes in requests {
            let mut lower: Vec<(String, Vec<u8>)> = Vec::new();
            for (name, value) in attributes {
                let name = name.to_lowercase();
                if lower.iter().all(|(known, _)| *known != name) {
                    lower.push((name, value));
                }
            }
            let request = Request { attributes: lower, reads: Cell::new(0) };
            let wanted = scan(table.routes(), &request);
            prop_assert_eq!(table.select(&request), wanted);
            let traces = table.explain(&request);
            let explained = traces.iter().position(|trace| trace.matched);
            prop_assert_eq!(explained, wanted);
            prop_assert_eq!(traces.len(), wanted.map_or(table.routes().len(), |ordinal| ordinal + 1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn of_a_header_that_is_there_twice_one_value_is_enough(
        routes in vec(vec(any_condition(), 0..4), 0..30),
        requests in vec(vec((name(), "[abA1/]{0,3}"), 0..6), 1..20),
    ) {
        let table = table(routes);
        for headers in requests {
            let call = meltemi_routing::Request::new("POST", "http", "a", "/", &headers);
            let wanted = table.routes().iter().position(|route| {
                route.matches.iter().all(|one| {
                    let named = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&one.name));
                    let values: Vec<_> = named.map(|(_, value)| value.as_bytes()).collect();
                    holds(one, &values)
                })
            });
            prop_assert_eq!(table.select(&call), wanted);
            let explained = table.explain(&call).iter().position(|trace| trace.matched);
            prop_assert_eq!(explained, wanted);
        }
    }
}

proptest! {
    #[test]
    fn a_table_that_follows_another_selects_what_one_made_anew_selects(
        routes in vec(vec(any_condition(), 0..4), 5..40),
        values in vec(value(), 5..40),
        edits in vec((any::<prop::sample::Index>(), vec(any_condition(), 0..4), value()), 0..4),
        requests in vec(vec((name(), value()), 0..4), 1..20),
    ) {
        // Most have a value of their own, as routes have; so an edit changes the index.
        let own = |value: &[u8]| condition("method", Matcher::Exact(value.into()), false);
        let compiled = |list: Vec<AttributeMatch>| {
            Arc::new(CompiledRoute::new(route(list)).expect("valid conditions"))
        };
        let mut compiled_routes: Vec<_> = values.iter().map(|value| compiled(vec![own(value)])).collect();
        compiled_routes.extend(routes.into_iter().map(compiled));
        let mut table = RouteTable::from_compiled("table", compiled_routes);
        for (place, more, value) in edits {
            let mut routes = table.routes().to_vec();
            let place = place.index(routes.len());
            routes[place] = compiled([vec![own(&value)], more].concat());
            table = table.followed_by(routes);
            for attributes in &requests {
                let mut lower: Vec<(String, Vec<u8>)> = vec![("method".to_owned(), value.clone())];
                for (name, value) in attributes {
                    let name = name.to_lowercase();
                    if name == "method" {
                        lower[0].1.clone_from(value);
                    } else if lower.iter().all(|(known, _)| *known != name) {
                        lower.push((name, value.clone()));
                    }
                }
                let request = Request { attributes: lower, reads: Cell::new(0) };
                prop_assert_eq!(table.select(&request), scan(table.routes(), &request));
            }
        }
    }
}

const MANY: usize = 10_000;

#[test]
fn an_edit_of_a_large_table_moves_one_route_and_leaves_the_table_before_as_it_was() {
    let method = |place: usize| format!("method{place}");
    let before = table((0..MANY).map(|place| vec![exact("method", &method(place))]));
    let edited = MANY / 2;
    let mut routes = before.routes().to_vec();
    let new = route(vec![exact("method", "edited")]);
    routes[edited] = Arc::new(CompiledRoute::new(new).expect("valid conditions"));
    let after = before.followed_by(routes);

    let select = |table: &RouteTable, name: &str| table.select(&Request::new(&[("method", name)]));
    for place in 0..MANY {
        let name = method(place);
        assert_eq!(select(&before, &name), Some(place));
        assert_eq!(
            select(&after, &name),
            Some(place).filter(|_| place != edited)
        );
    }
    assert_eq!(select(&before, "edited"), None);
    assert_eq!(select(&after, "edited"), Some(edited));
}

/// Attributes read for the last and for no route of a table of 10,000.
fn reads(table: &RouteTable, last: &[(&str, &str)]) -> usize {
    let request = Request::new(last);
    assert_eq!(
        table.select(&request),
        Some(table.routes().len() - 1),
        "{last:?}"
    );
    let none = Request::new(&[("method", "unknown"), ("user", "unknown")]);
    assert_eq!(table.select(&none), None);
    request.reads.get().max(none.reads.get())
}

#[test]
fn ten_thousand_exact_routes_take_one_lookup() {
    let routes = (0..MANY).map(|place| vec![exact("method", &format!("method{place}"))]);
    assert_eq!(reads(&table(routes), &[("method", "method9999")]), 1);
}

#[test]
fn routes_that_agree_in_the_first_attribute_are_told_apart_by_the_second() {
    let routes = (0..MANY).map(|place| {
        vec![
            exact("method", "same"),
            exact("user", &format!("user{place}")),
        ]
    });
    assert!(reads(&table(routes), &[("method", "same"), ("user", "user9999")]) <= 2);
}

#[test]
fn routes_on_pairs_of_values_take_one_lookup_a_value() {
    let routes = (0..MANY).map(|place| {
        vec![
            exact("method", &format!("m{}", place / 100)),
            exact("user", &format!("u{}", place % 100)),
        ]
    });
    assert!(reads(&table(routes), &[("method", "m99"), ("user", "u99")]) <= 2);
}

#[test]
fn routes_on_a_header_alone_take_one_lookup() {
    let routes = (0..MANY).map(|place| vec![exact("user", &format!("user{place}"))]);
    assert_eq!(
        reads(&table(routes), &[("method", "any"), ("user", "user9999")]),
        1
    );
}

#[test]
fn ten_thousand_prefixes_take_one_lookup() {
    let routes = (0..MANY).map(|place| vec![prefix("method", &format!("method{place:05}/"))]);
    assert_eq!(
        reads(&table(routes), &[("method", "method09999/sayHello")]),
        1
    );
}

#[test]
fn prefixes_behind_one_exact_value_take_one_lookup_more() {
    let routes = (0..MANY).map(|place| {
        vec![
            exact("method", "same"),
            prefix("user", &format!("user{place:05}")),
        ]
    });
    assert!(
        reads(
            &table(routes),
            &[("method", "same"), ("user", "user09999-x")]
        ) <= 2
    );
}

#[test]
fn a_few_expressions_before_many_exact_routes_are_all_that_is_looked_at_besides() {
    let expressions = (0..5).map(|place| {
        vec![condition(
            "user",
            Matcher::Regex(format!("x{place}.*").into()),
            false,
        )]
    });
    let exacts = (0..MANY).map(|place| vec![exact("method", &format!("method{place}"))]);
    let table = table(expressions.chain(exacts));
    assert!(reads(&table, &[("method", "method9999"), ("user", "y")]) <= 6);
}

#[test]
fn nested_prefixes_keep_the_order_of_the_routes() {
    let table = table(["ab", "a", "abc", "", "abcd"].map(|value| vec![prefix("method", value)]));
    let select = |method: &str| table.select(&Request::new(&[("method", method)]));
    assert_eq!(select("abcde"), Some(0));
    assert_eq!(select("ac"), Some(1));
    assert_eq!(select("b"), Some(3));
    assert_eq!(table.select(&Request::default()), None);
}

#[test]
fn a_route_of_a_hundred_conditions_has_each_of_them_checked() {
    let name = |place: usize| format!("a{place}");
    let all = || (0..100).map(|place| exact(&name(place), "x"));
    let table = table((0..6).map(|place| all().chain([exact("last", &name(place))]).collect()));
    let names: Vec<String> = (0..100).map(name).collect();
    for wrong in [0, 61, 62, 63, 64, 99, 100] {
        let value = |place| if place == wrong { "y" } else { "x" };
        let named = names.iter().enumerate();
        let mut request: Vec<_> = named.map(|(place, name)| (&**name, value(place))).collect();
        request.push(("last", "a5"));
        let wanted = (wrong == 100).then_some(5);
        assert_eq!(table.select(&Request::new(&request)), wanted, "{wrong}");
    }
}

#[test]
fn a_table_without_routes_selects_nothing() {
    assert_eq!(table([]).select(&Request::new(&[("method", "x")])), None);
}

#[test]
fn a_route_without_conditions_takes_what_is_left() {
    let table = table([
        vec![exact("method", "a")],
        vec![],
        vec![exact("method", "b")],
    ]);
    assert_eq!(table.select(&Request::new(&[("method", "b")])), Some(1));
    assert_eq!(table.select(&Request::new(&[("method", "a")])), Some(0));
    let _: &Arc<str> = table.name();
}
