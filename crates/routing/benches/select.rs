//! What a selection costs with one route and with 10,000, and what a table costs to make:
//! `cargo bench -p meltemi-routing`.

use std::sync::Arc;

use divan::{Bencher, black_box};
use meltemi_routing::{
    AttributeMatch, Attributes, CompiledRoute, Matcher, Route, RouteTable, WeightedChoice,
    WeightedClusters,
};

fn main() {
    divan::main();
}

/// What the routes of a table match on.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Method,
    Prefix,
    /// All name the same method, so the second attribute tells them apart.
    SameMethodAndUser,
    /// The mark of a lane in the method's place, in baggage of three members.
    Lane,
}

use Kind::{Lane, Method, Prefix, SameMethodAndUser};

/// A method and a user.
struct Request([String; 2]);

impl Request {
    fn last(kind: Kind, count: usize) -> Self {
        let last = format!("method{:05}", count - 1);
        match kind {
            SameMethodAndUser => Self(["same".to_owned(), last]),
            Method | Prefix => Self([last, "somebody".to_owned()]),
            Lane => Self([format!("a=b,env={last};ttl=3,c=d"), "somebody".to_owned()]),
        }
    }
}

impl Attributes for Request {
    fn get(&self, name: &str) -> Option<&[u8]> {
        let [method, user] = &self.0;
        match name {
            "method" => Some(method.as_bytes()),
            "user" => Some(user.as_bytes()),
            _ => None,
        }
    }
}

fn matches(kind: Kind, place: usize) -> Vec<AttributeMatch> {
    let one = |name: &str, matcher| AttributeMatch {
        name: name.into(),
        matcher,
        invert: false,
        missing_is_empty: false,
    };
    let value: Arc<[u8]> = format!("method{place:05}").as_bytes().into();
    match kind {
        Method => vec![one("method", Matcher::Exact(value))],
        Prefix => vec![one("method", Matcher::Prefix(value))],
        Lane => vec![one("method", Matcher::Regex(mark(&value).into()))],
        SameMethodAndUser => vec![
            one("method", Matcher::Exact((*b"same").into())),
            one("user", Matcher::Exact(value)),
        ],
    }
}

/// The expression of a mark whose value is made of letters and digits, as `meltemi.lanes` writes it.
fn mark(value: &[u8]) -> String {
    let digit = |digit: u8| match digit {
        0..=9 => format!("{digit}"),
        _ => format!("[{digit:X}{digit:x}]"),
    };
    let wanted = value.iter().map(|byte| {
        let (high, low) = (digit(byte >> 4), digit(byte & 15));
        format!("(?:{}|%{high}{low})", char::from(*byte))
    });
    let wanted: String = wanted.collect();
    format!(r"^(?:.*,)?[ \t]*env[ \t]*=[ \t]*{wanted}[ \t]*(?:[;,].*)?$")
}

fn routes(kind: Kind, count: usize) -> Vec<Route> {
    let route = |place| Route {
        name: format!("route{place}").into(),
        matches: matches(kind, place),
        clusters: WeightedClusters::single("cluster"),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
        hash_policy: Vec::new(),
    };
    (0..count).map(route).collect()
}

fn compiled(kind: Kind, count: usize) -> Vec<Arc<CompiledRoute>> {
    let compile = |route| CompiledRoute::new(route).expect("a valid route");
    let all = routes(kind, count).into_iter().map(compile);
    all.map(Arc::new).collect()
}

const SIZES: [(Kind, usize); 11] = [
    (Method, 1),
    (Method, 100),
    (Method, 10_000),
    (Prefix, 1),
    (Prefix, 100),
    (Prefix, 10_000),
    (SameMethodAndUser, 1),
    (SameMethodAndUser, 100),
    (SameMethodAndUser, 10_000),
    (Lane, 1),
    (Lane, 1_000),
];

#[divan::bench(args = SIZES)]
fn the_last_route_matches(bencher: Bencher<'_, '_>, (kind, count): (Kind, usize)) {
    let table = RouteTable::from_compiled("bench", compiled(kind, count));
    let request = Request::last(kind, count);
    assert_eq!(table.select(&request), Some(count - 1));
    bencher.bench_local(|| table.select(black_box(&request)));
}

#[divan::bench(args = SIZES)]
fn no_route_matches(bencher: Bencher<'_, '_>, (kind, count): (Kind, usize)) {
    let table = RouteTable::from_compiled("bench", compiled(kind, count));
    let request = Request(["unknown".to_owned(), "unknown".to_owned()]);
    assert_eq!(table.select(&request), None);
    bencher.bench_local(|| table.select(black_box(&request)));
}

#[divan::bench(args = [Method, Prefix, SameMethodAndUser, Lane])]
fn a_table_of_10_000(bencher: Bencher<'_, '_>, kind: Kind) {
    bencher
        .with_inputs(|| routes(kind, 10_000))
        .bench_local_values(|routes| RouteTable::new("bench", routes));
}

/// All but the index is there already, as after an edit.
#[divan::bench(args = [Method, Prefix, SameMethodAndUser, Lane])]
fn an_index_of_10_000(bencher: Bencher<'_, '_>, kind: Kind) {
    let compiled = compiled(kind, 10_000);
    bencher
        .with_inputs(|| compiled.clone())
        .bench_local_values(|routes| RouteTable::from_compiled("bench", routes));
}

#[divan::bench]
fn weighted_choice(bencher: Bencher<'_, '_>) {
    let clusters = WeightedClusters::new([("a".into(), 20), ("b".into(), 80)]);
    let clusters = clusters.expect("valid weights");
    let mut choice = WeightedChoice::new(1);
    bencher.bench_local(|| choice.pick(black_box(&clusters)));
}
