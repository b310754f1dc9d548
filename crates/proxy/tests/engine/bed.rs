//! Where the tests run: an engine, servers that do what a request's method says, clients.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use meltemi_codec::Protocol;
use meltemi_proxy::{Engine, EngineConfig, Level};
use meltemi_resources::{
    Cluster, Direction, Endpoint, HashTable, Listener, MetaProtocol, NetworkFilter, Peer,
    RouteSource, RouteTable, Snapshot, TypedConfig,
};
use meltemi_routing::{AttributeMatch, HashPolicy, Matcher, Mutation, Route, WeightedClusters};

use crate::toy::{self, Message, Toy};

/// An address that nobody listens on, below the ephemeral ports.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let seed = u64::from(std::process::id());
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + ((seed * 131 + step * 7) % 12_000) as u16;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// What a server saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) methods: Mutex<Vec<String>>,
    pub(crate) callers: Mutex<Vec<IpAddr>>,
}

/// A server whose requests say in their method what it does:
/// `echo`, `sleep<ms>`, `slow<ms>` (nothing else meanwhile), `never`, `reset`, `half`, `big<bytes>`,
/// `fail`, `twice`, `wrong`, `beat`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

impl Server {
    pub(crate) fn start(name: &str) -> Self {
        Self::start_at(name, free_address())
    }

    pub(crate) fn start_at(name: &str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let seen = Arc::new(Seen::default());
        let (ours, called) = (Arc::clone(&seen), name.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                ours.connections.fetch_add(1, Ordering::SeqCst);
                ours.callers
                    .lock()
                    .unwrap()
                    .push(stream.peer_addr().unwrap().ip());
                let (seen, name) = (Arc::clone(&ours), called.clone());
                thread::spawn(move || {
                    seen.open.fetch_add(1, Ordering::SeqCst);
                    // The peer may leave whenever it likes.
                    let _ = serve(stream, &name, &seen);
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> u64 {
        self.seen.open.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, name: &str, seen: &Seen) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = stream.try_clone()?;
    let writer = Arc::new(Mutex::new(stream));
    loop {
        let message = receive(&mut reader)?;
        seen.requests.fetch_add(1, Ordering::SeqCst);
        seen.methods.lock().unwrap().push(message.method.clone());
        let mut payload = message.payload.clone();
        payload.extend_from_slice(format!("@{name}").as_bytes());
        let kind = if message.kind == toy::OPEN || message.kind == toy::DATA {
            toy::DATA
        } else if message.kind == toy::CLOSE {
            toy::CLOSE
        } else {
            toy::REPLY
        };
        let reply = Message::new(kind, message.id, &message.method, &payload);
        if message.kind == toy::ONEWAY {
            continue;
        }
        act(&message, reply, &writer)?;
    }
}

fn act(message: &Message, reply: Message, writer: &Arc<Mutex<TcpStream>>) -> io::Result<()> {
    let send = |message: &Message| writer.lock().unwrap().write_all(&message.encode());
    let method = message.method.trim_start_matches("free:");
    let digits = method.find(|letter: char| letter.is_ascii_digit());
    let (verb, number) = method.split_at(digits.unwrap_or(method.len()));
    let number: u64 = number.parse().unwrap_or(0);
    match verb {
        "sleep" => {
            let writer = Arc::clone(writer);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(number));
                // The proxy may have closed meanwhile.
                let _ = writer.lock().unwrap().write_all(&reply.encode());
            });
        }
        "slow" => {
            thread::sleep(Duration::from_millis(number));
            send(&reply)?;
        }
        "never" => {}
        "reset" => {
            writer.lock().unwrap().shutdown(Shutdown::Both)?;
        }
        "half" => {
            let bytes = reply.encode();
            writer
                .lock()
                .unwrap()
                .write_all(&bytes[..bytes.len() / 2])?;
            writer.lock().unwrap().shutdown(Shutdown::Both)?;
        }
        "big" => {
            let mut payload = vec![0; number as usize];
            for (at, byte) in payload.iter_mut().enumerate() {
                *byte = (at * 31 + message.id as usize) as u8;
            }
            send(&Message::new(
                toy::REPLY,
                message.id,
                &message.method,
                &payload,
            ))?;
        }
        "fail" => send(&Message::new(
            toy::FAILURE,
            message.id,
            &message.method,
            b"no",
        ))?,
        "twice" => {
            send(&reply)?;
            send(&reply)?;
        }
        "wrong" => send(&Message {
            id: message.id + 1,
            ..reply
        })?,
        _ => send(&reply)?,
    }
    Ok(())
}

pub(crate) fn receive(reader: &mut impl Read) -> io::Result<Message> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let mut rest = vec![0; u32::from_be_bytes(length) as usize];
    reader.read_exact(&mut rest)?;
    let method = 10 + usize::from(rest[9]);
    Ok(Message {
        kind: rest[0],
        id: u64::from_be_bytes(rest[1..9].try_into().unwrap()),
        method: String::from_utf8_lossy(&rest[10..method]).into_owned(),
        payload: rest[method..].to_vec(),
    })
}

/// A client of the proxy.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match TcpStream::connect(address) {
                Ok(stream) => {
                    stream.set_nodelay(true).unwrap();
                    stream
                        .set_read_timeout(Some(Duration::from_secs(10)))
                        .unwrap();
                    return Self(stream);
                }
                Err(error) if Instant::now() > end => panic!("{address}: {error}"),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    pub(crate) fn send(&mut self, message: &Message) {
        self.0.write_all(&message.encode()).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Message {
        receive(&mut self.0).unwrap()
    }

    pub(crate) fn call(&mut self, id: u64, method: &str, payload: &str) -> Message {
        self.send(&Message::request(id, method, payload.as_bytes()));
        self.receive()
    }

    /// Leaves with a reset.
    pub(crate) fn abort(self) {
        rustix::net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO)).unwrap();
    }

    /// Whether the end of the connection is here already.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let ended = matches!(self.0.peek(&mut [0; 1]), Ok(0));
        self.0.set_nonblocking(false).unwrap();
        ended
    }

    /// Whether the proxy closed the connection, without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0))
            || matches!(self.0.read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::ConnectionReset)
    }
}

/// The tables of a test, with one listener.
#[derive(Clone)]
pub(crate) struct Mesh {
    pub(crate) address: SocketAddr,
    pub(crate) direction: Direction,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) routes: Vec<(&'static str, Vec<(&'static str, u32)>)>,
    /// Of every route.
    pub(crate) request_mutation: Vec<Mutation>,
    pub(crate) response_mutation: Vec<Mutation>,
    pub(crate) hash_policy: Vec<HashPolicy>,
    pub(crate) filters: Vec<&'static str>,
    /// Filters with a configuration, behind those without.
    pub(crate) configured: Vec<TypedConfig>,
    pub(crate) any_order: bool,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) tcp: bool,
    pub(crate) peers: HashMap<IpAddr, Arc<Peer>>,
}

impl Mesh {
    /// Every request goes to one cluster, called `one`, of these servers.
    pub(crate) fn of(servers: &[&Server]) -> Self {
        Self {
            address: free_address(),
            direction: Direction::Outbound,
            clusters: vec![cluster(
                "one",
                &servers.iter().map(|one| one.address).collect::<Vec<_>>(),
            )],
            routes: vec![("", vec![("one", 1)])],
            request_mutation: Vec::new(),
            response_mutation: Vec::new(),
            hash_policy: Vec::new(),
            filters: Vec::new(),
            configured: Vec::new(),
            any_order: false,
            idle_timeout: None,
            tcp: false,
            peers: HashMap::new(),
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Cluster)) -> Self {
        let cluster = &mut self.clusters[0];
        change(cluster);
        cluster.table =
            HashTable::new(cluster.policy, &cluster.spread, &cluster.endpoints).map(Arc::new);
        self
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let route = |(method, clusters): &(&'static str, Vec<(&'static str, u32)>)| Route {
            name: format!("to-{}", clusters[0].0).into(),
            matches: if method.is_empty() {
                Vec::new()
            } else {
                vec![AttributeMatch {
                    name: "method".into(),
                    matcher: Matcher::Exact(method.as_bytes().into()),
                    invert: false,
                    missing_is_empty: false,
                }]
            },
            clusters: WeightedClusters::new(
                clusters
                    .iter()
                    .map(|(name, weight)| ((*name).into(), *weight)),
            )
            .unwrap(),
            request_mutation: self.request_mutation.clone(),
            response_mutation: self.response_mutation.clone(),
            http: None,
            hash_policy: self.hash_policy.clone(),
        };
        let table =
            RouteTable::new("toy.test_80", self.routes.iter().map(route).collect()).unwrap();
        let filter = if self.tcp {
            NetworkFilter::TcpProxy {
                stat_prefix: "toy".into(),
                cluster: "one".into(),
            }
        } else {
            NetworkFilter::MetaProtocol(MetaProtocol {
                stat_prefix: "toy".into(),
                protocol: "toy".into(),
                codec: "toy".into(),
                routes: RouteSource::Inline(Arc::new(table)),
                filters: self
                    .filters
                    .iter()
                    .map(|name| typed(name))
                    .chain(self.configured.iter().cloned())
                    .collect(),
                idle_timeout: self.idle_timeout,
                replies_in_any_order: self.any_order,
                marks: None,
            })
        };
        let listener = Listener {
            name: "test".into(),
            address: self.address,
            direction: self.direction,
            filter,
        };
        let clusters = self.clusters.iter();
        Arc::new(Snapshot {
            listeners: HashMap::from([("test".into(), Arc::new(listener))]),
            clusters: clusters
                .map(|one| (one.name.clone(), Arc::new(one.clone())))
                .collect(),
            peers: Arc::new(self.peers.clone()),
            ..Snapshot::default()
        })
    }
}

fn typed(name: &str) -> TypedConfig {
    TypedConfig {
        name: name.into(),
        type_url: "".into(),
        value: Arc::new([]),
    }
}

pub(crate) fn set(name: &str, value: &str) -> Mutation {
    Mutation::Set(name.into(), value.into())
}

pub(crate) fn remove(name: &str) -> Mutation {
    Mutation::Remove(name.into())
}

pub(crate) fn cluster(name: &str, addresses: &[SocketAddr]) -> Cluster {
    let endpoint = |address: &SocketAddr| Endpoint {
        peer: Some(Arc::new(Peer {
            workload: format!("{name}-workload").into(),
            namespace: "there".into(),
            app: name.into(),
            version: "v7".into(),
            cluster: "c".into(),
        })),
        ..Endpoint::new(*address)
    };
    Cluster {
        connect_timeout: Duration::from_secs(1),
        ..Cluster::new(name, addresses.iter().map(endpoint).collect())
    }
}

pub(crate) fn config(protocol: Toy) -> EngineConfig {
    EngineConfig {
        workers: 1,
        node: Peer {
            workload: "me".into(),
            namespace: "here".into(),
            app: "myself".into(),
            version: "v0".into(),
            cluster: "c".into(),
        },
        protocols: HashMap::from([("toy".to_owned(), Arc::new(protocol) as Arc<dyn Protocol>)]),
        ..EngineConfig::default()
    }
}

/// An engine with `mesh` in force.
pub(crate) fn start(config: EngineConfig, mesh: &Mesh) -> Engine {
    let engine = Engine::start(config).unwrap();
    engine.set_log_level(Level::Warning);
    engine.publish(mesh.snapshot());
    engine
}

/// The counter whose name ends in `name`; all of them added where there are several.
pub(crate) fn stat(engine: &Engine, name: &str) -> u64 {
    engine
        .stats()
        .iter()
        .filter(|(other, _)| other.ends_with(name))
        .map(|(_, value)| value)
        .sum()
}

/// Waits until `condition` holds; fails the test when it does not in time.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "{what}: never");
        thread::sleep(Duration::from_millis(5));
    }
}
