//! Meltemi's own answers, read again by its own decoder. That Apache thrift and thriftpy2 read them is
//! shown in tests/codec.

use meltemi_codec::thrift::Thrift;
use meltemi_codec::{Direction, ErrorKind, Frame, LocalError, Protocol, ReplyTo, Status};

use crate::sample::{SAMPLES, named, only_frame};

fn answer(frame: &Frame, bytes: &[u8], kind: ErrorKind, message: &str) -> Vec<u8> {
    let mut to = ReplyTo {
        method: b"of the request before".to_vec(),
        ..ReplyTo::default()
    };
    Thrift::new().reply_to(frame, &bytes[..frame.head_len], &mut to);
    let mut out = Vec::new();
    Thrift::new().error_reply(&to, &LocalError { kind, message }, &mut out);
    out
}

#[test]
fn an_error_is_answered_in_the_way_of_the_request_with_its_ids() {
    for sample in SAMPLES
        .iter()
        .filter(|sample| sample.direction == Direction::Request)
    {
        let asked = only_frame(sample.direction, &sample.bytes);
        let out = answer(
            &asked,
            &sample.bytes,
            ErrorKind::NoHealthyUpstream,
            "no healthy upstream for 'v1'",
        );
        let mut decoder =
            Thrift::new().decoder(Direction::Response, asked.format, Default::default());
        let reply = decoder.decode(&out).expect("an answer").expect("all of it");
        assert_eq!(reply.len, out.len(), "{}", sample.name);
        assert_eq!(
            (reply.format, reply.ids),
            (asked.format, asked.ids),
            "{}",
            sample.name
        );
        assert_eq!(reply.status, Status::Error);
        if sample.rewritable {
            let method = Thrift::new().attribute(&reply, &out, "method");
            assert_eq!(
                method,
                sample.method.as_deref().map(str::as_bytes),
                "{}",
                sample.name
            );
            assert_eq!(
                Thrift::new().attribute(&reply, &out, "service"),
                None,
                "as a multiplexed server answers"
            );
        }
        assert!(
            out.windows(28)
                .any(|bytes| bytes == b"no healthy upstream for 'v1'")
        );
    }
}

#[test]
fn the_type_of_the_exception_says_whose_fault_it_is() {
    let sample = named("apache-framed-strict-call-sayHello");
    let asked = only_frame(sample.direction, &sample.bytes);
    let kinds = [
        (ErrorKind::RouteNotFound, 1),
        (ErrorKind::BadResponse, 7),
        (ErrorKind::ClusterNotFound, 6),
        (ErrorKind::Timeout, 6),
        (ErrorKind::Denied, 6),
    ];
    for (kind, expected) in kinds {
        let out = answer(&asked, &sample.bytes, kind, "why");
        assert_eq!(
            out[out.len() - 8..],
            [8, 0, 2, 0, 0, 0, expected, 0],
            "{kind:?}"
        );
    }
}

#[test]
fn the_answer_behind_a_ttheader_says_that_it_is_an_exception() {
    let sample = named("ttheader-worked-example");
    let asked = only_frame(sample.direction, &sample.bytes);
    let out = answer(
        &asked,
        &sample.bytes,
        ErrorKind::RouteNotFound,
        "no matched route",
    );
    let reply = only_frame(Direction::Response, &out);
    assert_eq!(
        Thrift::new().attribute(&reply, &out, "msgtype"),
        Some(&b"3"[..])
    );
    assert_eq!(reply.ids, asked.ids);
}

#[test]
fn the_answer_to_a_call_of_a_service_without_a_method_is_readable() {
    let bytes = crate::sample::unhex("00000002 613a 01 00000007 00");
    let asked = only_frame(Direction::Request, &bytes);
    assert_eq!(
        Thrift::new().attribute(&asked, &bytes, "service"),
        Some(&b"a"[..])
    );
    let out = answer(&asked, &bytes, ErrorKind::RouteNotFound, "no matched route");
    let reply = only_frame(Direction::Response, &out);
    assert_eq!(reply.ids, asked.ids);
}
