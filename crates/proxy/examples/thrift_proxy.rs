//! A Thrift proxy with fixed tables, for measuring the engine alone: one listener, requests spread
//! over the given ports by weight.
//!
//! `thrift_proxy --listen 10000 --ports 9000,9001 --weights 80,20 --mode pool|mux [--workers 1]`

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_codec::thrift::Thrift;
use meltemi_proxy::{AccessLogConfig, Engine, EngineConfig};
use meltemi_resources::{
    Cluster, Direction, Endpoint, Listener, MetaProtocol, NetworkFilter, Policy, RouteSource,
    RouteTable, Snapshot,
};
use meltemi_routing::{AttributeMatch, Matcher, Route, WeightedClusters};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = HashMap::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        options.insert(name, value);
    }
    let option = |name: &str, default: &str| {
        options
            .get(name)
            .cloned()
            .unwrap_or_else(|| default.to_owned())
    };
    let listen: u16 = option("--listen", "10000").parse()?;
    let ports = numbers(&option("--ports", "9000,9001"))?;
    let weights = numbers(&option("--weights", "80,20"))?;
    let max_in_flight = match &*option("--mode", "pool") {
        "pool" => 1,
        "mux" => 1024,
        "tcp" => 0,
        other => return Err(format!("no mode {other}: pool, mux, tcp").into()),
    };
    let snapshot = snapshot(listen, &ports, &weights, max_in_flight)?;
    let access_log = options.get("--access-log").map(|target| AccessLogConfig {
        target: target.clone(),
        format: "text".to_owned(),
    });
    let engine = Engine::start(EngineConfig {
        workers: option("--workers", "1").parse()?,
        protocols: HashMap::from([("thrift".to_owned(), Arc::new(Thrift::new()) as Arc<_>)]),
        access_log,
        ..EngineConfig::default()
    })?;
    engine.publish(Arc::new(snapshot));
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn numbers(list: &str) -> Result<Vec<u32>, std::num::ParseIntError> {
    list.split(',').map(str::parse).collect()
}

fn snapshot(
    listen: u16,
    ports: &[u32],
    weights: &[u32],
    max_in_flight: u32,
) -> Result<Snapshot, Box<dyn std::error::Error>> {
    let mut clusters = HashMap::new();
    let mut names: Vec<(Arc<str>, u32)> = Vec::new();
    for (port, weight) in ports.iter().zip(weights) {
        let name: Arc<str> = format!("outbound|{port}|v{port}|server.default.svc").into();
        let address: SocketAddr = ([127, 0, 0, 1], u16::try_from(*port)?).into();
        let endpoint = Endpoint::new(address);
        let cluster = Cluster {
            policy: Policy::LeastRequest,
            connect_timeout: Duration::from_secs(1),
            max_in_flight: Some(max_in_flight.max(1)),
            ..Cluster::new(&name, Arc::new([endpoint]))
        };
        clusters.insert(Arc::clone(&name), Arc::new(cluster));
        names.push((name, *weight));
    }
    let first = Arc::clone(&names[0].0);
    let split = Route {
        name: "split".into(),
        matches: vec![AttributeMatch {
            name: "method".into(),
            matcher: Matcher::Exact(b"sayHello".to_vec().into()),
            invert: false,
            missing_is_empty: false,
        }],
        clusters: WeightedClusters::new(names.iter().cloned())?,
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
        hash_policy: Vec::new(),
    };
    let rest = Route {
        name: "rest".into(),
        matches: Vec::new(),
        clusters: WeightedClusters::new(names)?,
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
        hash_policy: Vec::new(),
    };
    let table =
        RouteTable::new("bench", vec![split, rest]).map_err(|errors| format!("{errors:?}"))?;
    let filter = if max_in_flight == 0 {
        NetworkFilter::TcpProxy {
            stat_prefix: "bench".into(),
            cluster: first,
        }
    } else {
        NetworkFilter::MetaProtocol(MetaProtocol {
            stat_prefix: "bench".into(),
            protocol: "thrift".into(),
            codec: "thrift".into(),
            routes: RouteSource::Inline(Arc::new(table)),
            filters: Vec::new(),
            idle_timeout: None,
            replies_in_any_order: false,
            marks: None,
        })
    };
    let listener = Listener {
        name: "bench".into(),
        address: ([127, 0, 0, 1], listen).into(),
        direction: Direction::Outbound,
        filter,
    };
    let listeners = HashMap::from([(Arc::clone(&listener.name), Arc::new(listener))]);
    Ok(Snapshot {
        listeners,
        clusters,
        ..Snapshot::default()
    })
}
