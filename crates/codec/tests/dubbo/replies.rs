//! Meltemi's own answers, heartbeats, and what Aeraki's proxy does wrong there.

use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::{
    Correlation, Direction, ErrorKind, Kind, LocalError, Protocol, ReplyTo, Status,
};

use crate::sample::{call, framed, named, only_frame};

fn answer(bytes: &[u8], kind: ErrorKind, message: &str) -> Vec<u8> {
    let dubbo = Dubbo::new();
    let frame = only_frame(Direction::Request, bytes);
    let mut to = ReplyTo::default();
    dubbo.reply_to(&frame, &bytes[..frame.head_len], &mut to);
    let mut out = Vec::new();
    dubbo.error_reply(&to, &LocalError { kind, message }, &mut out);
    out
}

#[test]
fn a_local_error_is_a_response_with_the_callers_id_a_status_and_the_reason() {
    let cases = [
        (ErrorKind::RouteNotFound, 60),
        (ErrorKind::BadResponse, 50),
        (ErrorKind::Timeout, 31),
        (ErrorKind::RateLimited, 80),
        (ErrorKind::NoHealthyUpstream, 80),
        (ErrorKind::Overflow, 80),
    ];
    for (kind, status) in cases {
        let out = answer(&named("dubbo-negative-id").bytes, kind, "no route");
        assert_eq!(out, framed(2, status, -5i64 as u64, b"\x08no route"));
        let frame = only_frame(Direction::Response, &out);
        assert_eq!((frame.kind, frame.status), (Kind::Response, Status::Error));
    }
}

#[test]
fn reasons_of_any_length_are_written_as_strings_of_java() {
    let request = call("", b"N");
    let out = |text: &str| answer(&request, ErrorKind::Timeout, text).split_off(16);
    assert_eq!(out(&"x".repeat(31))[..2], [31, b'x']);
    assert_eq!(out(&"x".repeat(32))[..3], [0x30, 32, b'x']);
    assert_eq!(out(&"x".repeat(1024))[..4], [b'S', 4, 0, b'x']);
    assert_eq!(out(&"x".repeat(32_768))[..4], [b'S', 0x80, 0, b'x']);
    assert_eq!(out(&"x".repeat(32_800))[..4], [b'R', 0x7f, 0xff, b'x']);
    assert_eq!(out("\u{1f600}"), [2, 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]);
}

#[test]
fn a_call_in_another_serialization_is_forwarded_by_its_header_and_answered() {
    let bytes = framed(0xc0 | 6, 0, 77, b"{\"json\": 1}");
    let frame = only_frame(Direction::Request, &bytes);
    assert_eq!((frame.kind, frame.head_len), (Kind::Request, 16));
    assert_eq!(Dubbo::serialization(frame.format), Some(6));
    assert!(!Dubbo::new().can_edit_attributes(frame.format) && frame.rewritable);
    for name in ["method", "interface", "version", "json"] {
        assert_eq!(Dubbo::new().attribute(&frame, &bytes[..16], name), None);
    }
    let mut shown = Vec::new();
    Dubbo::new().attributes(&frame, &bytes[..16], &mut |name, value| {
        shown.push((name.to_vec(), value.to_vec()));
    });
    assert_eq!(shown, [(b"serialization".to_vec(), b"fastjson".to_vec())]);
    assert_eq!(
        answer(&bytes, ErrorKind::Timeout, "late"),
        framed(2, 31, 77, b"\x04late")
    );
    let reply = framed(6, 20, 77, b"{}");
    let frame = only_frame(Direction::Response, &reply);
    assert_eq!(
        (frame.kind, frame.status, frame.head_len),
        (Kind::Response, Status::Ok, 16)
    );
}

#[test]
fn the_serialization_of_a_call_that_is_not_read_is_an_attribute() {
    let said = |bytes: &[u8]| {
        let frame = only_frame(Direction::Request, bytes);
        let head = &bytes[..frame.head_len];
        let found = Dubbo::new().attribute(&frame, head, "serialization");
        found.map(|value| String::from_utf8(value.to_vec()).expect("text"))
    };
    for (number, name) in [(3, "java"), (22, "protobuf"), (23, "fastjson2"), (30, "30")] {
        let call = framed(0xc0 | number, 0, 1, b"?");
        assert_eq!(said(&call).as_deref(), Some(name));
    }
    assert_eq!(said(&call("", b"N")), None);
    let own = call("", b"H\x0dserialization\x01xZ");
    assert_eq!(
        said(&own).as_deref(),
        Some("x"),
        "an attachment as any other"
    );
}

#[test]
fn a_heartbeat_is_answered_in_both_directions_as_apache_dubbo_does() {
    for direction in [Direction::Request, Direction::Response] {
        let beat = &named("dubbo-event-heartbeat-request").bytes;
        let frame = only_frame(direction, beat);
        assert_eq!(frame.kind, Kind::Heartbeat);
        let mut out = Vec::new();
        Dubbo::new().heartbeat_reply(&frame, beat, &mut out);
        let mut apache = named("dubbo-event-heartbeat-reply-request").bytes.clone();
        apache[4..12].copy_from_slice(&beat[4..12]);
        assert_eq!(out, apache);
        assert_eq!(only_frame(direction, &out).kind, Kind::HeartbeatReply);
    }
    // In another serialization its null comes back.
    let beat = framed(0xe6, 0, 5, b"null");
    let mut out = Vec::new();
    Dubbo::new().heartbeat_reply(&only_frame(Direction::Request, &beat), &beat, &mut out);
    assert_eq!(out, framed(0x26, 20, 5, b"null"));
}

#[test]
fn an_event_that_wants_no_answer_is_swallowed() {
    let event = named("dubbo-event-readonly");
    assert_eq!(
        only_frame(Direction::Response, &event.bytes).kind,
        Kind::HeartbeatReply
    );
}

#[test]
fn every_status_is_read_and_all_but_ok_are_errors() {
    for status in 0..=255 {
        let reply = framed(2, status, 1, b"\x91\x01a");
        let frame = only_frame(Direction::Response, &reply);
        let expected = if status == 20 {
            Status::Ok
        } else {
            Status::Error
        };
        assert_eq!(
            (frame.kind, frame.status),
            (Kind::Response, expected),
            "{status}"
        );
    }
}

#[test]
fn results_of_any_value_with_and_without_attachments_are_read() {
    // Aeraki takes a result for a string, and attachments to be there.
    for (kind, status) in [
        (0x90, Status::Error),
        (0x91, Status::Ok),
        (0x92, Status::Ok),
        (0x93, Status::Error),
        (0x94, Status::Ok),
        (0x95, Status::Ok),
    ] {
        for value in [&b"\x95"[..], b"N", b"", b"H\x01a\x91Z", b"\x94HZ"] {
            let reply = framed(2, 20, 1, &[&[kind], value].concat());
            assert_eq!(only_frame(Direction::Response, &reply).status, status);
        }
    }
}

#[test]
fn requests_share_connections_and_replies_pass_each_other() {
    let dubbo = Dubbo::new();
    assert_eq!(dubbo.correlation(), Correlation::Id);
    assert!(dubbo.replies_in_any_order() && dubbo.default_max_in_flight() > 1);
    assert_eq!(dubbo.max_id(), i64::MAX as u64);
}
