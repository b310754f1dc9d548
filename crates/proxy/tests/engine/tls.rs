//! Both sides over TLS, on the same byte stream seam.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use meltemi_proxy::transport::{Transport, Transports, tls};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls::{StreamOwned, crypto::ring};

use crate::bed::{Client, Mesh, cluster, config, free_address, receive, start, stat, until};
use crate::toy::{self, Message, Toy};

struct Both {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Both {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["mesh.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }

    fn name() -> ServerName<'static> {
        ServerName::try_from("mesh.test").unwrap()
    }

    /// A client that speaks TLS to the proxy.
    fn connect(&self, address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = Client::connect(address).0;
        let session = ClientConnection::new(Arc::clone(&self.client), Self::name()).unwrap();
        StreamOwned::new(session, stream)
    }

    /// A server behind TLS that answers with what it got.
    fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind(free_address()).unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::clone(&self.server);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                thread::spawn(move || {
                    let mut stream = StreamOwned::new(session, stream);
                    while let Ok(message) = receive(&mut stream) {
                        let reply = Message {
                            kind: toy::REPLY,
                            ..message
                        };
                        if stream
                            .write_all(&reply.encode())
                            .and_then(|()| stream.flush())
                            .is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        address
    }
}

impl Transports for Both {
    fn downstream(&self, _listener: &str) -> Option<Box<dyn Transport>> {
        Some(Box::new(tls::server(Arc::clone(&self.server)).unwrap()))
    }

    fn upstream(&self, _cluster: &str, _address: SocketAddr) -> Option<Box<dyn Transport>> {
        Some(Box::new(
            tls::client(Arc::clone(&self.client), Self::name()).unwrap(),
        ))
    }
}

fn bed(max_in_flight: u32) -> (Arc<Both>, Mesh, meltemi_proxy::Engine) {
    let both = Arc::new(Both::new());
    let mut mesh = Mesh::of(&[]);
    mesh.clusters = vec![cluster("one", &[both.serve()])];
    let mesh = mesh.with(|cluster| cluster.max_in_flight = Some(max_in_flight));
    let mut config = config(Toy::with_ids());
    config.transports = Some(Arc::clone(&both) as Arc<dyn Transports>);
    let engine = start(config, &mesh);
    (both, mesh, engine)
}

#[test]
fn requests_go_through_with_both_sides_over_tls_pooled_and_multiplexed() {
    for max_in_flight in [1, 100] {
        let (both, mesh, _engine) = bed(max_in_flight);
        let mut client = both.connect(mesh.address);
        for id in 0..50 {
            let message = Message::request(id, "echo", format!("secret{id}").as_bytes());
            client.write_all(&message.encode()).unwrap();
            let reply = receive(&mut client).unwrap();
            assert_eq!((reply.id, reply.text()), (id, format!("secret{id}")));
        }
    }
}

#[test]
fn large_messages_and_many_at_once_go_through() {
    let (both, mesh, _engine) = bed(1);
    let mut client = both.connect(mesh.address);
    for size in [16_000, 17_000, 70_000, 1_000_000] {
        let payload: Vec<u8> = (0..size).map(|at: u32| (at % 253) as u8).collect();
        client
            .write_all(&Message::request(1, "echo", &payload).encode())
            .unwrap();
        assert!(receive(&mut client).unwrap().payload == payload);
    }
    let mut all = Vec::new();
    for id in 0..200 {
        all.extend(Message::request(id, "echo", &[id as u8; 900]).encode());
    }
    client.write_all(&all).unwrap();
    for id in 0..200 {
        let reply = receive(&mut client).unwrap();
        assert_eq!((reply.id, reply.payload), (id, vec![id as u8; 900]));
    }
}

#[test]
fn a_client_that_speaks_no_tls_is_closed_and_others_go_on() {
    let (both, mesh, engine) = bed(1);
    let mut plain = Client::connect(mesh.address);
    plain.send(&Message::request(1, "echo", b"x"));
    let mut answer = Vec::new();
    // An alert, then the end.
    let _ = plain.0.read_to_end(&mut answer);
    assert!(answer.len() < 20);
    until("closed", || stat(&engine, "downstream_cx_active") == 0);
    let mut client = both.connect(mesh.address);
    client
        .write_all(&Message::request(1, "echo", b"x").encode())
        .unwrap();
    assert_eq!(receive(&mut client).unwrap().text(), "x");
}

#[test]
fn an_upstream_whose_handshake_fails_is_a_connect_failure() {
    let both = Arc::new(Both::new());
    let strange = Both::new().serve();
    let mut mesh = Mesh::of(&[]);
    mesh.clusters = vec![cluster("one", &[strange, both.serve()])];
    let mut config = config(Toy::with_ids());
    config.transports = Some(Arc::clone(&both) as Arc<dyn Transports>);
    let engine = start(config, &mesh);
    let mut client = both.connect(mesh.address);
    for id in 0..6 {
        client
            .write_all(&Message::request(id, "echo", b"x").encode())
            .unwrap();
        assert_eq!(receive(&mut client).unwrap().text(), "x");
    }
    assert!(stat(&engine, "upstream_cx_connect_fail") > 0);
}

#[test]
fn a_client_that_stalls_in_its_handshake_holds_up_nobody() {
    let (both, mesh, _engine) = bed(1);
    let mut stalled = Client::connect(mesh.address);
    stalled.0.write_all(&[22, 3, 1]).unwrap();
    thread::sleep(Duration::from_millis(50));
    let mut client = both.connect(mesh.address);
    client
        .write_all(&Message::request(1, "echo", b"x").encode())
        .unwrap();
    assert_eq!(receive(&mut client).unwrap().text(), "x");
}
