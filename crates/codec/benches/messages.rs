//! What a message costs to read, and to write with another id: `cargo bench -p meltemi-codec`.
//!
//! The messages are the golden ones of tests/golden, from other people's encoders.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::thrift::Thrift;
use meltemi_codec::{Decoder, Direction, Edit, Format, Frame, Ids, Limits, Protocol};
use serde_json::Value;

fn main() {
    divan::main();
}

const MESSAGES: [&str; 9] = [
    "apache-framed-strict-call-sayHello",
    "apache-framed-strict-call-everything",
    "apache-unframed-strict-call-sayHello",
    "apache-unframed-strict-call-everything",
    "apache-framed-compact-call-sayHello",
    "apache-theader-strict-call-sayHello",
    "dubbo-sayHello",
    "dubbo-objects",
    "dubbo-rich-attachments",
];

struct Message {
    protocol: Box<dyn Protocol>,
    decoder: Box<dyn Decoder>,
    bytes: Vec<u8>,
}

impl Message {
    fn named(name: &str) -> Self {
        let dubbo = name.starts_with("dubbo");
        let file = if dubbo { "dubbo/frames" } else { "messages" };
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden");
        let text = std::fs::read_to_string(format!("{golden}/{file}.jsonl"));
        let text = text.expect("the golden messages");
        let mut messages = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let wanted = |message: &Value| message["name"] == name && message["direction"] == "request";
        let message = messages.find(wanted).expect("a message of that name");
        let protocol: Box<dyn Protocol> = if dubbo {
            Box::new(Dubbo::new())
        } else {
            Box::new(Thrift::new())
        };
        let limits = Limits::default();
        Self {
            decoder: protocol.decoder(Direction::Request, Format::DETECT, limits),
            protocol,
            bytes: unhex(message["hex"].as_str().expect("hex")),
        }
    }

    fn decode(&mut self) -> Frame {
        let frame = self.decoder.decode(black_box(&self.bytes));
        frame.expect("a valid message").expect("a whole message")
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

#[divan::bench(args = MESSAGES)]
fn decode(bencher: Bencher<'_, '_>, name: &str) {
    let mut message = Message::named(name);
    let size = BytesCount::new(message.bytes.len());
    bencher.counter(size).bench_local(|| message.decode());
}

#[divan::bench(args = MESSAGES)]
fn look_up_the_method(bencher: Bencher<'_, '_>, name: &str) {
    let mut message = Message::named(name);
    let frame = message.decode();
    let (protocol, bytes) = (&message.protocol, &message.bytes);
    bencher.bench_local(|| {
        let method = protocol.attribute(&frame, black_box(bytes), "method");
        method.map(<[u8]>::len)
    });
}

#[divan::bench(args = MESSAGES)]
fn encode_with_another_id(bencher: Bencher<'_, '_>, name: &str) {
    let mut message = Message::named(name);
    let frame = message.decode();
    let mut out = Vec::with_capacity(2 * message.bytes.len());
    let edit = Edit {
        ids: Some(Ids {
            message: 1_000_000,
            header: 1_000_000,
        }),
        ..Edit::default()
    };
    let size = BytesCount::new(message.bytes.len());
    bencher.counter(size).bench_local(|| {
        out.clear();
        message
            .protocol
            .encode(&frame, black_box(&message.bytes), &edit, &mut out);
        out.len()
    });
}
