//! A Thrift frame with more in it than the message that was routed gets nowhere, in whatever pieces it
//! comes; one that is right passes as it comes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use meltemi_codec::thrift::Thrift;
use meltemi_proxy::Engine;

use crate::bed::{Client, Mesh, cluster, config, free_address, start, stat, until};
use crate::toy::Toy;

const LARGE: usize = 100 << 10;
const REPLY: u8 = 2;

/// A strict binary message with one text of `text` bytes, or with no field.
fn message(kind: u8, method: &str, id: u32, text: Option<usize>) -> Vec<u8> {
    let mut out = vec![0x80, 1, 0, kind];
    out.extend_from_slice(&(method.len() as u32).to_be_bytes());
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(&id.to_be_bytes());
    if let Some(len) = text {
        out.extend_from_slice(&[11, 0, 1]);
        out.extend_from_slice(&(len as u32).to_be_bytes());
        out.resize(out.len() + len, b'x');
    }
    out.push(0);
    out
}

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

fn call(method: &str, id: u32, text: usize) -> Vec<u8> {
    message(1, method, id, Some(text))
}

#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    ended: AtomicU64,
    bytes: AtomicU64,
    methods: Mutex<Vec<String>>,
}

impl Seen {
    fn methods(&self) -> Vec<String> {
        self.methods.lock().unwrap().clone()
    }
}

/// A server that answers every frame with a reply of the method and the id of its first message.
struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Server {
    fn start() -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).unwrap();
        let seen = Arc::new(Seen::default());
        let ours = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                ours.connections.fetch_add(1, Ordering::SeqCst);
                let seen = Arc::clone(&ours);
                thread::spawn(move || {
                    // The proxy ends it when it likes.
                    let _ = serve(stream, &seen);
                    seen.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen }
    }

    fn engine(&self) -> (Engine, SocketAddr) {
        let mut mesh = Mesh::of(&[]);
        mesh.clusters = vec![cluster("one", &[self.address])];
        let mut config = config(Toy::with_ids());
        config
            .protocols
            .insert("toy".to_owned(), Arc::new(Thrift::new()));
        (start(config, &mesh), mesh.address)
    }

    fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, seen: &Seen) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        let mut at = 0;
        while at < body.len() {
            let count = stream.read(&mut body[at..])?;
            if count == 0 {
                return Ok(());
            }
            at += count;
            seen.bytes.fetch_add(count as u64, Ordering::SeqCst);
        }
        let name_end = 8 + u32::from_be_bytes(body[4..8].try_into().unwrap()) as usize;
        let method = String::from_utf8(body[8..name_end].to_vec()).unwrap();
        let id = u32::from_be_bytes(body[name_end..name_end + 4].try_into().unwrap());
        let reply = framed(&[&message(REPLY, &method, id, None)]);
        seen.methods.lock().unwrap().push(method);
        stream.write_all(&reply)?;
    }
}

fn gets_the_reply(client: &mut Client, method: &str, id: u32) {
    let expected = framed(&[&message(REPLY, method, id, None)]);
    let mut reply = vec![0; expected.len()];
    client.0.read_exact(&mut reply).unwrap();
    assert_eq!(reply, expected);
}

#[test]
fn a_second_message_at_the_end_of_a_large_frame_closes_both_connections_and_reaches_nobody() {
    let server = Server::start();
    let (engine, address) = server.engine();
    let mut other = Client::connect(address);
    other
        .0
        .write_all(&framed(&[&call("before", 1, 3)]))
        .unwrap();
    gets_the_reply(&mut other, "before", 1);

    let mut client = Client::connect(address);
    client.0.write_all(&framed(&[&call("mine", 2, 3)])).unwrap();
    gets_the_reply(&mut client, "mine", 2);
    assert_eq!(server.connections(), 1, "it is reused");
    let bad = framed(&[&call("front", 3, LARGE), &call("hidden", 4, 3)]);
    let (first, last) = bad.split_at(bad.len() - 30);
    client.0.write_all(first).unwrap();
    until("the front is on its way", || {
        server.seen.bytes.load(Ordering::SeqCst) > LARGE as u64 / 2
    });
    client.0.write_all(last).unwrap();

    assert!(client.is_closed());
    until("it is closed", || {
        server.seen.ended.load(Ordering::SeqCst) == 1
    });
    other.0.write_all(&framed(&[&call("after", 5, 3)])).unwrap();
    gets_the_reply(&mut other, "after", 5);
    assert_eq!(server.connections(), 2, "it is not reused");
    assert_eq!(server.seen.methods(), ["before", "mine", "after"]);
    assert_eq!(stat(&engine, "request_decoding_error"), 1);
    assert_eq!(stat(&engine, "cluster.one.upstream_rq_active"), 0);
}

#[test]
fn what_was_asked_before_a_bad_frame_is_answered() {
    let server = Server::start();
    let (_engine, address) = server.engine();
    let mut client = Client::connect(address);
    let good = framed(&[&call("good", 1, 3)]);
    let bad = framed(&[&call("front", 2, LARGE), &call("hidden", 3, 3)]);
    client.0.write_all(&[good, bad].concat()).unwrap();
    gets_the_reply(&mut client, "good", 1);
    assert!(client.is_closed());
    assert_eq!(server.seen.methods(), ["good"]);
}

#[test]
fn a_second_message_in_a_small_frame_that_comes_in_pieces_reaches_nobody() {
    let server = Server::start();
    let (engine, address) = server.engine();
    let bad = framed(&[&call("front", 1, 100), &call("hidden", 2, 3)]);
    for cut in [20, 40, bad.len() - 30, bad.len() - 1] {
        let mut client = Client::connect(address);
        client.0.write_all(&bad[..cut]).unwrap();
        thread::sleep(Duration::from_millis(30));
        // It may be closed already.
        let _ = client.0.write_all(&bad[cut..]);
        assert!(client.is_closed());
    }
    assert_eq!(server.connections(), 0);
    assert_eq!(stat(&engine, "request_decoding_error"), 4);
}

#[test]
fn a_large_frame_of_one_message_arrives_before_its_end_was_sent() {
    let server = Server::start();
    let (_engine, address) = server.engine();
    let mut client = Client::connect(address);
    let good = framed(&[&call("large", 7, 1 << 20)]);
    let (first, last) = good.split_at(good.len() / 4);
    client.0.write_all(first).unwrap();
    until("its front arrives", || {
        server.seen.bytes.load(Ordering::SeqCst) > LARGE as u64
    });
    assert_eq!(server.seen.methods(), [""; 0]);
    client.0.write_all(last).unwrap();
    gets_the_reply(&mut client, "large", 7);
    client.0.write_all(&framed(&[&call("next", 8, 3)])).unwrap();
    gets_the_reply(&mut client, "next", 8);
    assert_eq!(server.connections(), 1);
}
