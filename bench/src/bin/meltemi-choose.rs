//! What the choice of a route costs: `meltemi-choose NAME VALUE DECISIONS`, routes by stdin, one a line, as
//! the attribute and the expression that its value has to match with a tab between.
//!
//! Each route leads to a cluster of its own, and behind them stands one for every request. Prints a JSON
//! object: `route`, the place of the one that a call with the header NAME: VALUE takes, and `ns`, the CPU
//! time of one decision.

use std::hint::black_box;
use std::io::{BufRead, Error, stdin};
use std::process::ExitCode;

use meltemi_routing::{AttributeMatch, Matcher, Request, Route, RouteTable, WeightedClusters};
use rustix::time::{ClockId, clock_gettime};

fn main() -> ExitCode {
    match measured() {
        Ok(found) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("meltemi-choose: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measured() -> Result<serde_json::Value, Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, value, decisions] = &arguments[..] else {
        return Err(Error::other("wants NAME VALUE DECISIONS"));
    };
    let decisions: u32 = decisions.parse().map_err(Error::other)?;
    let table = table()?;
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = [
        own("user-agent", "bench"),
        own(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        own(name, value),
    ];
    let choose = || {
        let headers = black_box(&headers[..]);
        let call = Request::new("POST", "http", "reviews:9080", "/reviews/get", headers);
        table.select(&call)
    };
    let route = choose();
    for _ in 0..decisions / 10 {
        black_box(choose());
    }
    let began = cpu_ns();
    for _ in 0..decisions {
        black_box(choose());
    }
    let ns = (cpu_ns() - began) as f64 / f64::from(decisions.max(1));
    Ok(serde_json::json!({"route": route, "ns": ns}))
}

fn table() -> Result<RouteTable, Error> {
    let mut routes = Vec::new();
    for line in stdin().lock().lines() {
        let line = line?;
        let (name, pattern) = line
            .split_once('\t')
            .ok_or_else(|| Error::other(format!("no tab in {line:?}")))?;
        let wanted = AttributeMatch {
            name: name.into(),
            matcher: Matcher::Regex(pattern.into()),
            invert: false,
            missing_is_empty: false,
        };
        routes.push(route(routes.len(), vec![wanted]));
    }
    routes.push(route(routes.len(), Vec::new()));
    RouteTable::new("bench", routes).map_err(|errors| Error::other(format!("{errors:?}")))
}

fn route(place: usize, matches: Vec<AttributeMatch>) -> Route {
    Route {
        name: format!("route{place}").into(),
        matches,
        clusters: WeightedClusters::single(format!("cluster{place}")),
        hash_policy: Vec::new(),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
    }
}

/// CPU time of this thread.
fn cpu_ns() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
