//! Measures what a request costs in the codec: `cargo run --release -p meltemi-codec --example thrift_speed`.
//!
//! The fastest of some batches counts: others on the machine only ever make it slower.

use std::hint::black_box;

use meltemi_codec::thrift::Thrift;
use meltemi_codec::{Direction, Edit, Format, Ids, Limits, Protocol, ReplyTo};
use serde_json::Value;

const BATCHES: u32 = 40;
const ROUNDS: u32 = 50_000;

fn main() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/messages.jsonl"
    );
    let text = std::fs::read_to_string(path).expect("the golden messages");
    for name in [
        "apache-framed-strict-call-sayHello",
        "apache-framed-compact-call-sayHello",
        "apache-unframed-strict-call-sayHello",
        "apache-unframed-compact-call-sayHello",
        "apache-theader-strict-call-sayHello",
        "ttheader-worked-example",
    ] {
        let line = text
            .lines()
            .find(|line| line.contains(&format!("\"{name}\"")))
            .expect("a message");
        let value: Value = serde_json::from_str(line).expect("JSON");
        let hex = value["hex"].as_str().expect("hex").as_bytes();
        let digit = |byte: u8| (byte as char).to_digit(16).expect("a digit") as u8;
        let bytes: Vec<u8> = hex
            .chunks(2)
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect();
        measure(name, &bytes);
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn measure(name: &str, bytes: &[u8]) {
    let thrift = Thrift::new();
    let thrift: &dyn Protocol = black_box(&thrift);
    let mut decoder = thrift.decoder(Direction::Request, Format::DETECT, Limits::default());
    let frame = decoder
        .decode(bytes)
        .expect("a message")
        .expect("all of it");
    let (mut out, mut to) = (Vec::with_capacity(4096), ReplyTo::default());
    let time = |what: &str, work: &mut dyn FnMut(u32)| {
        let batch = |_| {
            let start = std::time::Instant::now();
            (0..ROUNDS).for_each(&mut *work);
            start.elapsed()
        };
        let best = (0..BATCHES).map(batch).min().unwrap_or_default();
        println!(
            "{name:40} {what:10} {:6.1} ns",
            best.as_nanos() as f64 / f64::from(ROUNDS)
        );
    };
    time("decode", &mut |_| {
        drop(black_box(decoder.decode(black_box(bytes))))
    });
    time("method", &mut |_| {
        black_box(thrift.attribute(&frame, black_box(bytes), "method"));
    });
    time("header", &mut |_| {
        black_box(thrift.attribute(&frame, black_box(bytes), "x-lane"));
    });
    time("reply_to", &mut |_| {
        thrift.reply_to(&frame, black_box(bytes), &mut to)
    });
    time("encode", &mut |round| {
        out.clear();
        let ids = Ids {
            message: u64::from(round) + 1,
            header: u64::from(round) + 1,
        };
        thrift.encode(
            &frame,
            black_box(bytes),
            &Edit {
                ids: Some(ids),
                ..Edit::default()
            },
            &mut out,
        );
    });
}
