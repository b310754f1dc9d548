//! Thrift through the engine, bytes written by hand: framed and unframed, pooled and multiplexed.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use meltemi_codec::thrift::Thrift;
use meltemi_proxy::{Engine, EngineConfig, Level};
use meltemi_resources::{
    Cluster, Direction, Endpoint, Listener, MetaProtocol, NetworkFilter, Policy, RouteSource,
    RouteTable, Snapshot,
};
use meltemi_routing::{AttributeMatch, Matcher, Route, WeightedClusters};

const CALL: u8 = 1;
const REPLY: u8 = 2;
const EXCEPTION: u8 = 3;
const ONEWAY: u8 = 4;

/// A strict binary message whose one argument (field `field`) is a string.
fn message(kind: u8, id: u32, method: &str, field: u8, value: &str) -> Vec<u8> {
    let mut bytes = vec![0x80, 1, 0, kind];
    bytes.extend((method.len() as u32).to_be_bytes());
    bytes.extend(method.as_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend([11, 0, field]);
    bytes.extend((value.len() as u32).to_be_bytes());
    bytes.extend(value.as_bytes());
    bytes.push(0);
    bytes
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Kind, method, id and the rest of a strict binary message.
fn parse(bytes: &[u8]) -> (u8, String, u32, &[u8]) {
    let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let method = String::from_utf8_lossy(&bytes[8..8 + length]).into_owned();
    let id = u32::from_be_bytes(bytes[8 + length..12 + length].try_into().unwrap());
    (bytes[3], method, id, &bytes[12 + length..])
}

/// A framed server that answers `Hello <argument>`.
fn framed_server() -> SocketAddr {
    let listener = TcpListener::bind(free_address()).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                while let Ok(bytes) = read_framed(&mut stream) {
                    let (kind, method, id, rest) = parse(&bytes);
                    if kind == ONEWAY {
                        continue;
                    }
                    let name = String::from_utf8_lossy(&rest[7..rest.len() - 1]);
                    let reply = message(REPLY, id, &method, 0, &format!("Hello {name}"));
                    if stream.write_all(&framed(&reply)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// An unframed server: it reads one message of known form after the other.
fn unframed_server() -> SocketAddr {
    let listener = TcpListener::bind(free_address()).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    bytes.extend(&buffer[..count]);
                    if bytes.last() != Some(&0) || bytes.len() < 25 {
                        continue;
                    }
                    let (_, method, id, _) = parse(&bytes);
                    let reply = message(REPLY, id, &method, 0, "unframed");
                    if stream.write_all(&reply).is_err() {
                        return;
                    }
                    bytes.clear();
                }
            });
        }
    });
    address
}

fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (std::process::id() * 37 + step * 11) % 12_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port");
}

fn start(server: SocketAddr, max_in_flight: u32) -> (Engine, SocketAddr) {
    let endpoint = Endpoint::new(server);
    let cluster = Cluster {
        policy: Policy::LeastRequest,
        connect_timeout: Duration::from_secs(1),
        max_in_flight: Some(max_in_flight),
        ..Cluster::new("one", Arc::new([endpoint]))
    };
    let route = Route {
        name: "hello".into(),
        matches: vec![AttributeMatch {
            name: "method".into(),
            matcher: Matcher::Prefix(b"say".to_vec().into()),
            invert: false,
            missing_is_empty: false,
        }],
        clusters: WeightedClusters::single("one"),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
        hash_policy: Vec::new(),
    };
    let listener = Listener {
        name: "thrift".into(),
        address: free_address(),
        direction: Direction::Outbound,
        filter: NetworkFilter::MetaProtocol(MetaProtocol {
            stat_prefix: "thrift".into(),
            protocol: "thrift".into(),
            codec: "aeraki.meta_protocol.codec.thrift".into(),
            routes: RouteSource::Rds("table".into()),
            filters: Vec::new(),
            idle_timeout: None,
            replies_in_any_order: false,
            marks: None,
        }),
    };
    let address = listener.address;
    let table = RouteTable::new("table", vec![route]).unwrap();
    let engine = Engine::start(EngineConfig {
        workers: 1,
        protocols: HashMap::from([("thrift".to_owned(), Arc::new(Thrift::new()) as Arc<_>)]),
        ..EngineConfig::default()
    })
    .unwrap();
    engine.set_log_level(Level::Warning);
    engine.publish(Arc::new(Snapshot {
        listeners: HashMap::from([("thrift".into(), Arc::new(listener))]),
        routes: HashMap::from([("table".into(), Arc::new(table))]),
        clusters: HashMap::from([("one".into(), Arc::new(cluster))]),
        ..Snapshot::default()
    }));
    (engine, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    for _ in 0..500 {
        if let Ok(stream) = TcpStream::connect(address) {
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            return stream;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{address} does not listen");
}

#[test]
fn framed_calls_are_answered_byte_for_byte_under_their_own_ids() {
    for max_in_flight in [1, 100] {
        let (_engine, address) = start(framed_server(), max_in_flight);
        let mut client = connect(address);
        let mut all = Vec::new();
        for id in 0..50 {
            all.extend(framed(&message(
                CALL,
                1000 + id % 3,
                "sayHello",
                1,
                &format!("n{id}"),
            )));
            all.extend(framed(&message(ONEWAY, 7, "sayNothing", 1, "x")));
        }
        client.write_all(&all).unwrap();
        for id in 0..50 {
            let expected = message(REPLY, 1000 + id % 3, "sayHello", 0, &format!("Hello n{id}"));
            assert_eq!(read_framed(&mut client).unwrap(), expected);
        }
    }
}

#[test]
fn unframed_calls_are_answered_however_their_bytes_are_cut() {
    for max_in_flight in [1, 100] {
        let (_engine, address) = start(unframed_server(), max_in_flight);
        let mut client = connect(address);
        let call = message(CALL, 9, "sayHello", 1, "somebody");
        let expected = message(REPLY, 9, "sayHello", 0, "unframed");
        for cut in [1, 4, 11, 20, call.len() - 1] {
            client.write_all(&call[..cut]).unwrap();
            thread::sleep(Duration::from_millis(5));
            client.write_all(&call[cut..]).unwrap();
            let mut reply = vec![0; expected.len()];
            client.read_exact(&mut reply).unwrap();
            assert_eq!(reply, expected);
        }
    }
}

#[test]
fn what_meltemi_answers_itself_is_an_application_exception_in_the_callers_transport() {
    let (_engine, address) = start(framed_server(), 1);
    let mut client = connect(address);
    client
        .write_all(&framed(&message(CALL, 77, "unknown", 1, "x")))
        .unwrap();
    let reply = read_framed(&mut client).unwrap();
    let (kind, method, id, rest) = parse(&reply);
    assert_eq!((kind, &*method, id), (EXCEPTION, "unknown", 77));
    assert!(String::from_utf8_lossy(rest).contains("no route matches in 'table'"));
    let mut other = connect(address);
    other
        .write_all(&message(CALL, 78, "unknown", 1, "x"))
        .unwrap();
    let mut head = [0; 4];
    other.read_exact(&mut head).unwrap();
    assert_eq!(head, [0x80, 1, 0, EXCEPTION], "unframed, as it was asked");
}
