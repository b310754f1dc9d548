//! The frames of tests/golden/dubbo/frames.jsonl, and what a decoder says of bytes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::{DecodeError, Direction, Edit, Format, Frame, Kind, Limits, Protocol, Status};
use serde_json::Value;

#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub direction: Direction,
    pub kind: (Kind, Status),
    pub id: u64,
    pub method: Option<String>,
    pub interface: Option<String>,
    pub version: Option<String>,
    /// Attachments that are strings, as Java writes their characters.
    pub attributes: BTreeMap<String, Vec<u8>>,
    pub bytes: Vec<u8>,
}

pub static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/dubbo/frames.jsonl"
    );
    let text = std::fs::read_to_string(path).expect("the golden frames");
    text.lines()
        .map(|line| sample(&serde_json::from_str(line).expect("JSON")))
        .collect()
});

fn sample(value: &Value) -> Sample {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Sample {
        name: text("name").expect("a name"),
        direction: match value["direction"].as_str() {
            Some("request") => Direction::Request,
            _ => Direction::Response,
        },
        kind: match value["kind"].as_str().expect("a kind") {
            "call" => (Kind::Request, Status::Ok),
            "oneway" => (Kind::Oneway, Status::Ok),
            "reply" => (Kind::Response, Status::Ok),
            "exception" => (Kind::Response, Status::Error),
            "heartbeat" => (Kind::Heartbeat, Status::Ok),
            "heartbeat_reply" => (Kind::HeartbeatReply, Status::Ok),
            other => panic!("{other}"),
        },
        id: text("id").expect("an id").parse().expect("a number"),
        method: text("method"),
        interface: text("interface"),
        version: text("version"),
        attributes: value["attributes"]
            .as_object()
            .expect("an object")
            .iter()
            .map(|(name, value)| (name.clone(), as_java(value.as_str().expect("text"))))
            .collect(),
        bytes: unhex(value["hex"].as_str().expect("hex")),
    }
}

/// Characters outside of the basic plane are two of three bytes each.
pub fn as_java(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for unit in text.encode_utf16() {
        match unit {
            0..0x80 => out.push(unit as u8),
            0x80..0x800 => out.extend([0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8]),
            _ => out.extend([
                0xe0 | (unit >> 12) as u8,
                0x80 | (unit >> 6 & 0x3f) as u8,
                0x80 | (unit & 0x3f) as u8,
            ]),
        }
    }
    out
}

pub fn named(name: &str) -> &'static Sample {
    SAMPLES
        .iter()
        .find(|sample| sample.name == name)
        .unwrap_or_else(|| panic!("no frame {name}"))
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// All frames of `bytes`, which come in pieces of `piece` bytes, and how the last of them ended.
pub fn frames(
    direction: Direction,
    bytes: &[u8],
    piece: usize,
) -> (Vec<(usize, Frame)>, Result<(), DecodeError>) {
    let mut decoder = Dubbo::new().decoder(direction, Format::DETECT, Limits::default());
    let (mut found, mut start, mut given) = (Vec::new(), 0, 0);
    loop {
        match decoder.decode(&bytes[start..given]) {
            Err(error) => return (found, Err(error)),
            Ok(Some(frame)) => {
                assert!(frame.head_len <= given - start, "a head that has not come");
                assert!(frame.head_len <= frame.len);
                start += frame.len;
                found.push((start, frame));
                if start > bytes.len() {
                    return (found, Ok(()));
                }
                given = given.max(start);
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

/// The frame `bytes`, written with that edit.
pub fn edited(direction: Direction, bytes: &[u8], edit: &Edit<'_>) -> Vec<u8> {
    edit_of(direction, bytes, edit).1
}

/// The same, and whether it had a place for the attachments.
pub fn edit_of(direction: Direction, bytes: &[u8], edit: &Edit<'_>) -> (bool, Vec<u8>) {
    let mut out = vec![1, 2, 3];
    let has_place = Dubbo::new().encode(&only_frame(direction, bytes), bytes, edit, &mut out);
    assert_eq!(&out[..3], [1, 2, 3], "what was there stays");
    (has_place, out.split_off(3))
}

pub fn attribute(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    let frame = only_frame(Direction::Request, bytes);
    Dubbo::new()
        .attribute(&frame, bytes, name)
        .map(<[u8]>::to_vec)
}

/// A frame around a body.
pub fn framed(flags: u8, status: u8, id: u64, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [
        &[0xda, 0xbb, flags, status][..],
        &id.to_be_bytes(),
        &length,
        body,
    ]
    .concat()
}

/// A two-way call of `a.S.m` in hessian2, whose parameter types, arguments and attachments are given.
pub fn call(types: &str, behind: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for name in ["2.0.2", "a.S", "1.0", "m", types] {
        assert!(name.len() < 32);
        body.push(name.len() as u8);
        body.extend_from_slice(name.as_bytes());
    }
    body.extend_from_slice(behind);
    framed(0xc2, 0, 9, &body)
}
