//! Bytes that are no messages, or want too much.

use meltemi_codec::thrift::Thrift;
use meltemi_codec::{DecodeError, Direction, Format, Limits, Protocol};

use crate::sample::{decoder, named, unhex};

/// What a request decoder with `limits` says of `bytes`.
fn refusal(limits: Limits, bytes: &[u8]) -> DecodeError {
    let mut decoder = Thrift::new().decoder(Direction::Request, Format::DETECT, limits);
    decoder.decode(bytes).expect_err("refused")
}

fn refused(hex: &str) -> bool {
    decoder(Direction::Request).decode(&unhex(hex)).is_err()
}

#[test]
fn a_frame_is_refused_on_the_length_that_it_declares() {
    let limits = Limits {
        max_frame_bytes: 1000,
        ..Limits::default()
    };
    assert_eq!(
        refusal(limits, &[0, 0, 0x10, 0]),
        DecodeError::TooLarge {
            bytes: 0x1004,
            limit: 1000
        }
    );
    assert_eq!(
        refusal(limits, b"GET / HTTP/1.1\r\n\r\n"),
        DecodeError::TooLarge {
            bytes: 0x4745_5424,
            limit: 1000
        }
    );
}

#[test]
fn an_unframed_message_is_refused_as_soon_as_it_must_become_too_large() {
    let limits = Limits {
        max_frame_bytes: 1000,
        ..Limits::default()
    };
    let begin = unhex("80010001 00000001 61 00000000");
    for rest in [
        "0b0001 00001000",
        "0f0001 0a 00000100",
        "0d0001 080a 00001000",
    ] {
        let bytes = [&begin[..], &unhex(rest)].concat();
        assert!(
            matches!(refusal(limits, &bytes), DecodeError::TooLarge { .. }),
            "{rest}"
        );
    }
}

#[test]
fn depth_and_elements_are_limited() {
    let begin = unhex("80010001 00000001 61 00000000");
    let deep = [begin.clone(), unhex("0c0001").repeat(64)].concat();
    assert!(matches!(
        refusal(Limits::default(), &deep),
        DecodeError::TooComplex { .. }
    ));
    let allowed = [begin.clone(), unhex("0c0001").repeat(63), vec![0; 64]].concat();
    assert!(
        decoder(Direction::Request)
            .decode(&allowed)
            .expect("allowed")
            .is_some()
    );
    let limits = Limits {
        max_elements: 100,
        ..Limits::default()
    };
    let many = [&begin[..], &unhex("0f0001 02 00000065")].concat();
    assert!(matches!(
        refusal(limits, &many),
        DecodeError::TooComplex { .. }
    ));
    let fields = [begin, unhex("020001 00").repeat(101)].concat();
    assert!(matches!(
        refusal(limits, &fields),
        DecodeError::TooComplex { .. }
    ));
    let compact = unhex("8221 00 01 61 1b e807 11");
    assert!(matches!(
        refusal(limits, &compact),
        DecodeError::TooComplex { .. }
    ));
}

#[test]
fn what_no_thrift_peer_sends_is_refused_at_once() {
    let claims = [
        ("an HTTP request", "474554202f20485454502f312e310d0a"),
        ("a TLS hello", "1603010200010001fc0303"),
        ("a high byte", "ff"),
        ("another version of the binary protocol", "80020001"),
        ("another version of the compact protocol", "8222"),
        ("an empty frame", "00000000 00"),
        ("a frame of nothing known", "00000010 90010001"),
        (
            "a frame shorter than a message",
            "00000004 80010001 00000000",
        ),
        (
            "a method longer than its frame",
            "00000020 80010001 00000100",
        ),
        ("a method of a negative length", "80010001 ffffffff"),
        ("a method of a negative length, lax", "00000020 ffffffff"),
        (
            "a compact method longer than its frame",
            "00000006 8221 00 05 6161",
        ),
        ("a compact sequence id of 33 bits", "8221 ffffffff1f"),
        (
            "a reply where a request comes",
            "80010002 00000001 61 00000000",
        ),
        ("a message type that is none", "80010007"),
        (
            "a THeader shorter than itself",
            "00000008 0fff0000 00000001",
        ),
        (
            "a THeader longer than its frame",
            "00000010 0fff0000 00000001 0100",
        ),
        (
            "a TTHeader with an info block that is none",
            "00000020 10000000 00000001 0001 00007700 80010001 00000001 61 00000000 00 000000",
        ),
    ];
    for (claim, hex) in claims {
        assert!(refused(hex), "{claim}");
    }
}

#[test]
fn fields_that_readers_could_read_differently_are_refused() {
    let strict = "80010001 00000001 61 00000000";
    let compact = "8221 00 01 61";
    let claims = [
        ("a negative string", strict, "0b0001 ffffffff"),
        ("a negative list", strict, "0f0001 08 80000000"),
        ("a negative map", strict, "0d0001 0808 ffffffff"),
        ("an unknown field type", strict, "050001"),
        ("void", strict, "010001"),
        ("a list of an unknown type", strict, "0f0001 00 00000001"),
        ("a compact string of 32 bits", compact, "18 ffffffff0f"),
        (
            "a compact length of more than 32 bits",
            compact,
            "18 808080808001",
        ),
        ("a compact stop with a field id", compact, "10"),
        ("a compact field type 14", compact, "1e"),
        ("a compact list of nothing", compact, "19 10"),
        ("an empty compact list of type 15", compact, "19 0f"),
        ("a compact map of nothing", compact, "1b 01 00"),
        (
            "a compact varint of 11 bytes",
            compact,
            "16 8080808080808080808001",
        ),
    ];
    for (claim, head, fields) in claims {
        assert!(refused(&format!("{head}{fields}")), "{claim}");
    }
}

#[test]
fn the_magic_of_a_connection_does_not_change() {
    let theader = &named("apache-theader-strict-call-sayHello").bytes;
    let ttheader = &named("ttheader-worked-example").bytes;
    for (first, second) in [(theader, ttheader), (ttheader, theader)] {
        let mut decoder = decoder(Direction::Request);
        assert!(decoder.decode(first).expect("a message").is_some());
        assert!(decoder.decode(second).is_err());
    }
}

#[test]
fn a_frame_does_not_hide_as_a_lax_message_of_an_unframed_connection() {
    let first = &named("apache-unframed-lax-oneway-note").bytes;
    // A frame of 32 bytes; as a lax message, a name of 32 bytes that starts with a zero.
    let second = unhex("00000020 00000001 61 01 00000007 00");
    let mut decoder = decoder(Direction::Request);
    assert!(decoder.decode(first).expect("a message").is_some());
    assert!(decoder.decode(&second).is_err());
}

#[test]
fn a_ttheader_stream_is_refused_with_the_reason() {
    let mut bytes = named("ttheader-worked-example").bytes.clone();
    bytes[7] |= 2;
    let error = decoder(Direction::Request)
        .decode(&bytes)
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "byte 6: TTHeader streaming is not supported"
    );
}

#[test]
fn a_header_that_says_more_than_it_holds_is_refused() {
    // The words of the header, from the protocol id on; what is behind it is a whole message.
    let message = &named("apache-unframed-strict-call-sayHello").bytes;
    let frame = |magic: [u8; 2], header: &[u8]| {
        let mut bytes = [
            &[0, 0, 0, 0],
            &magic[..],
            &[0, 0, 0, 0, 0, 1, 0, (header.len() / 4) as u8],
        ]
        .concat();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(message);
        let len = (bytes.len() - 4) as u32;
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        decoder(Direction::Request).decode(&bytes)
    };
    let theader = |header: &[u8]| frame([0x0f, 0xff], header);
    let ttheader = |header: &[u8]| frame([0x10, 0x00], header);
    assert!(theader(&[0, 0, 0, 0]).expect("nothing in it").is_some());
    assert!(ttheader(&[0, 0, 0, 0]).expect("nothing in it").is_some());
    let refused = [
        (
            "theader: a value longer than the header",
            theader(&[0, 0, 1, 1, 1, b'a', 9, b'b']),
        ),
        (
            "theader: more values than there are",
            theader(&[0, 0, 1, 2, 1, b'a', 1, b'b']),
        ),
        (
            "theader: a number that does not end",
            theader(&[0, 0, 1, 0x80]),
        ),
        (
            "theader: a protocol that is not known",
            theader(&[1, 0, 0, 0]),
        ),
        (
            "theader: transforms that are not there",
            theader(&[0, 4, 1, 1]),
        ),
        (
            "theader: too many transforms",
            theader(&[&[0, 17][..], &[1; 18]].concat()),
        ),
        ("theader: no header at all", theader(&[])),
        (
            "ttheader: a value longer than the header",
            ttheader(&[0, 0, 1, 0, 1, 0, 1, b'a', 0, 9, b'b', 0]),
        ),
        (
            "ttheader: more values than there are",
            ttheader(&[0, 0, 0x10, 0, 2, 0, 6, 0, 1, b'a', 0, 0]),
        ),
        (
            "ttheader: a token longer than the header",
            ttheader(&[0, 0, 0x11, 0xff, 0xff, 0, 0, 0]),
        ),
        (
            "ttheader: a protocol that is not Thrift",
            ttheader(&[4, 0, 0, 0]),
        ),
        (
            "ttheader: transforms that are not there",
            ttheader(&[0, 3, 1, 1]),
        ),
        ("ttheader: no header at all", ttheader(&[])),
    ];
    for (claim, outcome) in refused {
        assert!(
            matches!(outcome, Err(DecodeError::Invalid { .. })),
            "{claim}: {outcome:?}"
        );
    }
}
