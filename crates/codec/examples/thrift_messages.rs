//! Reads Thrift messages from stdin and says what it found, for tests that compare it with other
//! implementations (tests/codec).
//!
//! A line in: `request|response HEX`. A line out, as JSON: `frames` (each with `start`, `end`, `method`,
//! `service`, `message_id`, `header_id`, `kind`, `format`, `attributes`, and as `reply` the hex of the answer
//! that Meltemi would give to it), `error` (or null), `given` (bytes that came).

use std::io::{BufRead, Write};

use meltemi_codec::thrift::Thrift;
use meltemi_codec::{Direction, ErrorKind, Format, Frame, Limits, LocalError, Protocol, ReplyTo};
use serde_json::{Map, Value, json};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (direction, hex) = line.split_once(' ').unwrap_or((&line, ""));
        let direction = if direction == "response" {
            Direction::Response
        } else {
            Direction::Request
        };
        writeln!(out, "{}", look(direction, &from_hex(hex)))?;
        out.flush()?;
    }
    Ok(())
}

fn look(direction: Direction, bytes: &[u8]) -> Value {
    let mut decoder = Thrift::new().decoder(direction, Format::DETECT, Limits::default());
    let (mut frames, mut start) = (Vec::new(), 0);
    let error = loop {
        match decoder.decode(bytes.get(start..).unwrap_or_default()) {
            Err(error) => break Some(error.to_string()),
            Ok(None) => break None,
            Ok(Some(frame)) => {
                frames.push(describe(&frame, start, &bytes[start..]));
                start += frame.len;
            }
        }
    };
    json!({"frames": frames, "error": error, "given": bytes.len()})
}

fn describe(frame: &Frame, start: usize, bytes: &[u8]) -> Value {
    let thrift = Thrift::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let attribute = |name| thrift.attribute(frame, bytes, name).map(text);
    let mut attributes = Map::new();
    thrift.attributes(frame, bytes, &mut |name, value| {
        attributes.insert(text(name), Value::String(text(value)));
    });
    let mut to = ReplyTo::default();
    thrift.reply_to(frame, bytes, &mut to);
    let mut reply = Vec::new();
    let error = LocalError {
        kind: ErrorKind::RouteNotFound,
        message: "no matched route: “∅”",
    };
    thrift.error_reply(&to, &error, &mut reply);
    json!({
        "start": start,
        "end": start + frame.len,
        "method": attribute("method"),
        "service": attribute("service"),
        "message_id": frame.ids.message,
        "header_id": frame.ids.header,
        "kind": format!("{:?}", frame.kind).to_lowercase(),
        "format": Thrift::format_names(frame.format).map(|(transport, encoding)| format!("{transport} {encoding}")),
        "attributes": attributes,
        "reply": to_hex(&reply),
    })
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
