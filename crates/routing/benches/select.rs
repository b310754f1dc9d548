//! What a selection costs with one route and with 10,000: `cargo bench -p meltemi-routing`.
//!
//! Prints nanoseconds for the last route of each table and for no route; `ratio` is against one route.
#![allow(clippy::disallowed_methods)] // A benchmark is where time is measured.

use std::hint::black_box;
use std::time::Instant;

use meltemi_routing::{
    AttributeMatch, Attributes, Matcher, Route, RouteTable, WeightedChoice, WeightedClusters,
};

/// Selections of one measurement; five are made and the fastest counts.
const SELECTIONS: u32 = 1_000_000;

/// What the routes of a table match on, and how the route of a place does.
type Kind = (&'static str, fn(usize) -> Vec<AttributeMatch>);

struct Request<'a>([(&'a str, &'a str); 2]);

impl Attributes for Request<'_> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_bytes())
    }
}

fn exact(name: &str, value: &str) -> AttributeMatch {
    let matcher = Matcher::Exact(value.as_bytes().into());
    AttributeMatch {
        name: name.into(),
        matcher,
        invert: false,
    }
}

fn table(count: usize, matches: impl Fn(usize) -> Vec<AttributeMatch>) -> RouteTable {
    let route = |place| Route {
        name: format!("route{place}").into(),
        matches: matches(place),
        clusters: WeightedClusters::single("cluster"),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
    };
    RouteTable::new("bench", (0..count).map(route).collect()).expect("valid routes")
}

/// Nanoseconds of one call of `work`.
fn measure(mut work: impl FnMut()) -> f64 {
    let run = |_| {
        let start = Instant::now();
        (0..SELECTIONS).for_each(|_| work());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(SELECTIONS)
    };
    (0..5).map(run).fold(f64::INFINITY, f64::min)
}

fn main() {
    let kinds: [Kind; 4] = [
        ("method", |place| {
            vec![exact("method", &format!("method{place:05}"))]
        }),
        ("same method, user", |place| {
            vec![
                exact("method", "same"),
                exact("user", &format!("user{place:05}")),
            ]
        }),
        ("user", |place| {
            vec![exact("user", &format!("user{place:05}"))]
        }),
        ("method prefix", |place| {
            let matcher = Matcher::Prefix(format!("method{place:05}").as_bytes().into());
            vec![AttributeMatch {
                name: "method".into(),
                matcher,
                invert: false,
            }]
        }),
    ];
    println!(
        "{:20} {:>7} {:>9} {:>9} {:>6}",
        "routes on", "routes", "last ns", "none ns", "ratio"
    );
    for (kind, matches) in kinds {
        let mut one = 0.0;
        for count in [1, 100, 10_000] {
            let start = Instant::now();
            let table = table(count, matches);
            let built = start.elapsed();
            let last = format!("method{:05}", count - 1);
            let user = format!("user{:05}", count - 1);
            let method = if kind == "same method, user" {
                "same"
            } else {
                &last
            };
            let hit = Request([("method", method), ("user", &user)]);
            let miss = Request([("method", "unknown"), ("user", "unknown")]);
            assert_eq!(table.select(&hit), Some(count - 1));
            let hit = measure(|| {
                black_box(table.select(black_box(&hit)));
            });
            let miss = measure(|| {
                black_box(table.select(black_box(&miss)));
            });
            if count == 1 {
                one = hit;
            }
            let ratio = hit / one;
            println!(
                "{kind:20} {count:>7} {hit:>9.1} {miss:>9.1} {ratio:>6.2}  built in {built:.1?}"
            );
        }
    }
    let names = |name: &str, weight| (name.into(), weight);
    let clusters = WeightedClusters::new([names("a", 20), names("b", 80)]).expect("weights");
    let mut choice = WeightedChoice::new(1);
    let pick = measure(|| {
        black_box(choice.pick(black_box(&clusters)));
    });
    println!("weighted choice {pick:.1} ns");
}
