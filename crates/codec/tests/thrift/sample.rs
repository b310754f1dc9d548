//! The messages of tests/golden/messages.jsonl, and what a decoder says of bytes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use meltemi_codec::thrift::Thrift;
use meltemi_codec::{
    DecodeError, Decoder, Direction, Format, Frame, Ids, Kind, Limits, Protocol, Status,
};
use serde_json::Value;

#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub direction: Direction,
    pub kind: String,
    pub format: String,
    pub method: Option<String>,
    pub service: Option<String>,
    pub ids: Ids,
    pub attributes: BTreeMap<String, String>,
    pub rewritable: bool,
    pub any_order: bool,
    pub bytes: Vec<u8>,
}

pub static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/messages.jsonl"
    );
    let text = std::fs::read_to_string(path).expect("the golden messages");
    text.lines()
        .map(|line| sample(&serde_json::from_str(line).expect("JSON")))
        .collect()
});

fn sample(value: &Value) -> Sample {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let header = value["header_id"].as_u64().expect("an id");
    let rewritable = value["rewritable"].as_bool().expect("a bool");
    let message = value["message_id"].as_u64().expect("an id");
    let kind = text("kind").expect("a kind");
    Sample {
        name: text("name").expect("a name"),
        direction: if value["direction"] == "request" {
            Direction::Request
        } else {
            Direction::Response
        },
        kind,
        format: text("format").expect("a format"),
        method: text("method"),
        service: text("service"),
        ids: Ids { message, header },
        attributes: value["attributes"]
            .as_object()
            .expect("an object")
            .iter()
            .map(|(name, value)| {
                (
                    name.to_lowercase(),
                    value.as_str().expect("text").to_owned(),
                )
            })
            .collect(),
        rewritable,
        any_order: value["any_order"].as_bool().unwrap_or(false),
        bytes: unhex(value["hex"].as_str().expect("hex")),
    }
}

/// The golden message of that name.
pub fn named(name: &str) -> &'static Sample {
    SAMPLES
        .iter()
        .find(|sample| sample.name == name)
        .unwrap_or_else(|| panic!("no message {name}"))
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a digit") as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

pub fn decoder(direction: Direction) -> Box<dyn Decoder> {
    Thrift::new().decoder(direction, Format::DETECT, Limits::default())
}

/// All frames of `bytes`, which come in pieces of `piece` bytes, and how the last of them ended. Of a
/// frame that is given out early the body is shown as it comes.
pub fn frames(
    direction: Direction,
    bytes: &[u8],
    piece: usize,
) -> (Vec<(usize, Frame)>, Result<(), DecodeError>) {
    let mut decoder = decoder(direction);
    let (mut found, mut start, mut given) = (Vec::new(), 0, 0);
    loop {
        match decoder.decode(&bytes[start.min(given)..given]) {
            Err(error) => return (found, Err(error)),
            Ok(Some(frame)) => {
                assert!(frame.head_len <= given - start, "a head that has not come");
                assert!(frame.head_len <= frame.len);
                start += frame.len;
                found.push((start, frame));
                while given < start.min(bytes.len()) {
                    let end = (given + piece).min(bytes.len());
                    let body = &bytes[given..end.min(start)];
                    if let Err(error) = decoder.body(body, start - given - body.len()) {
                        return (found, Err(error));
                    }
                    given = end;
                }
                if start > bytes.len() {
                    return (found, Ok(()));
                }
            }
            Ok(None) if given == bytes.len() => return (found, Ok(())),
            Ok(None) => given = (given + piece).min(bytes.len()),
        }
    }
}

/// The one frame of `bytes`.
pub fn only_frame(direction: Direction, bytes: &[u8]) -> Frame {
    let (frames, end) = frames(direction, bytes, bytes.len());
    assert_eq!(end, Ok(()));
    let [(len, frame)] = &frames[..] else {
        panic!("{} frames", frames.len())
    };
    assert_eq!(*len, bytes.len());
    frame.clone()
}

pub fn kind_of(kind: &str) -> (Kind, Status) {
    match kind {
        "call" => (Kind::Request, Status::Ok),
        "oneway" => (Kind::Oneway, Status::Ok),
        "reply" => (Kind::Response, Status::Ok),
        "exception" => (Kind::Response, Status::Error),
        other => panic!("{other}"),
    }
}
