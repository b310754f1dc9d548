//! Clients that behave badly: the others notice nothing.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{Client, Mesh, Server, config, start};
use crate::toy::{Message, Toy};

#[test]
fn others_notice_nothing_of_a_client_that_sends_a_byte_at_a_time_one_that_never_reads_and_garbage()
{
    for max_in_flight in [1, 100] {
        let server = Server::start("a");
        let mesh = Mesh::of(&[&server]).with(|cluster| cluster.max_in_flight = Some(max_in_flight));
        let engine = start(config(Toy::with_ids()), &mesh);
        let quiet =
            Mesh::of(&[&server]).with(|cluster| cluster.max_in_flight = Some(max_in_flight));
        let control = start(config(Toy::with_ids()), &quiet);
        let mut deaf = Client::connect(mesh.address);
        for id in 0..20 {
            deaf.send(&Message::request(id, "big2000000", b""));
        }
        let mut slow = Client::connect(mesh.address);
        let address = mesh.address;
        let trickle = thread::spawn(move || {
            for byte in Message::request(1, "echo", b"slowly").encode() {
                slow.0.write_all(&[byte]).unwrap();
                thread::sleep(Duration::from_millis(40));
            }
            slow.receive().text()
        });
        let garbage = thread::spawn(move || {
            for seed in 0..100_u32 {
                let mut client = Client::connect(address);
                let bytes: Vec<u8> = (0..3000)
                    .map(|at: u32| (at.wrapping_mul(seed * 2 + 1) >> 3) as u8)
                    .collect();
                // The proxy closes while we still write.
                let _ = client.0.write_all(&bytes);
            }
        });
        // The control is a client of an engine that serves nobody else. The machine may be busy with
        // other tests; that slows both, and their calls are made in turn.
        let mut clients = [&mesh, &quiet].map(|mesh| Client::connect(mesh.address));
        let mut took = [Vec::new(), Vec::new()];
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(1) {
            for (client, took) in clients.iter_mut().zip(&mut took) {
                let one = Instant::now();
                assert_eq!(client.call(1, "echo", "x").text(), "x@a");
                took.push(one.elapsed());
            }
        }
        took.iter_mut().for_each(|all| all.sort_unstable());
        let [half, alone] = took.each_ref().map(|all| all[all.len() / 2]);
        let [slowest, slowest_alone] = took.each_ref().map(|all| all[all.len() - 1]);
        // A caller that the others hold up waits for the byte that comes every 40 ms, or for ever.
        let bound = alone * 10 + Duration::from_millis(5);
        assert!(half < bound, "{half:?} of {alone:?} alone");
        let bound = slowest_alone * 4 + Duration::from_millis(1500);
        assert!(slowest < bound, "{slowest:?} of {slowest_alone:?} alone");
        assert_eq!(trickle.join().unwrap(), "slowly@a");
        garbage.join().unwrap();
        drop((deaf, engine, control));
    }
}

#[test]
fn a_request_that_comes_byte_by_byte_occupies_no_upstream_connection_until_it_is_complete() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut slow = Client::connect(mesh.address);
    let bytes = Message::request(1, "echo", &[b'x'; 500]).encode();
    slow.0.write_all(&bytes[..400]).unwrap();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(server.connections(), 0);
    slow.0.write_all(&bytes[400..]).unwrap();
    assert_eq!(slow.receive().payload.len(), 502);
}

#[test]
fn frames_are_the_same_however_their_bytes_are_cut() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let _engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    let mut bytes = Message::request(1, "echo", b"one").encode();
    bytes.extend(Message::request(2, "echo", b"two").encode());
    for cut in 0..bytes.len() {
        client.0.write_all(&bytes[..cut]).unwrap();
        if cut % 8 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
        client.0.write_all(&bytes[cut..]).unwrap();
        assert_eq!(client.receive().text(), "one@a");
        assert_eq!(client.receive().text(), "two@a");
    }
}
