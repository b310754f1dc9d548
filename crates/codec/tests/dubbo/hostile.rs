//! What no writer writes is refused, at once and for little work.

use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::{DecodeError, Direction, Format, Frame, Limits, Protocol};

use crate::sample::{attribute, call, framed};

fn decode_with(limits: Limits, bytes: &[u8]) -> Result<Option<Frame>, DecodeError> {
    Dubbo::new()
        .decoder(Direction::Request, Format::DETECT, limits)
        .decode(bytes)
}

fn decode(bytes: &[u8]) -> Result<Option<Frame>, DecodeError> {
    decode_with(Limits::default(), bytes)
}

fn refused(bytes: &[u8]) -> bool {
    matches!(decode(bytes), Err(DecodeError::Invalid { .. }))
}

#[test]
fn a_wrong_start_is_refused_by_its_first_byte() {
    assert!(refused(b"G") && refused(b"\xda\xbc"));
    assert!(matches!(decode(b"\xda"), Ok(None)));
    assert!(matches!(decode(b""), Ok(None)));
}

#[test]
fn a_length_is_checked_before_anything_is_waited_for() {
    let mut bytes = framed(0xc2, 0, 1, b"");
    bytes[12] = 0x80;
    assert!(refused(&bytes));
    bytes[12] = 0x7f;
    assert!(matches!(decode(&bytes), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn replies_from_a_consumer_and_calls_from_a_provider_are_refused() {
    assert!(refused(&framed(2, 20, 1, b"\x92")));
    let mut decoder = Dubbo::new().decoder(Direction::Response, Format::DETECT, Limits::default());
    assert!(decoder.decode(&call("", b"N")).is_err());
}

#[test]
fn results_of_no_known_type_are_refused() {
    for body in [&b""[..], b"\x96", b"\x8f", b"N", b"I\0\0\0\x01"] {
        let mut decoder =
            Dubbo::new().decoder(Direction::Response, Format::DETECT, Limits::default());
        assert!(decoder.decode(&framed(2, 20, 1, body)).is_err(), "{body:?}");
    }
}

#[test]
fn names_that_two_readers_would_read_differently_are_refused() {
    let with = |method: &[u8]| {
        let body = [b"\x052.0.2\x03a.S\x031.0", method, b"\0HZ"].concat();
        framed(0xc2, 0, 1, &body)
    };
    assert!(decode(&with(b"\x01m")).is_ok());
    assert!(refused(&with(b"R\0\x01m\0")), "in pieces");
    assert!(refused(&with(b"\x01\xc1\xad")), "m in two bytes");
    assert!(
        refused(&with(b"\x01\xf0\x9f\x98\x80")),
        "four bytes, which Java refuses"
    );
    assert!(refused(&with(b"\x95")), "a number");
    assert!(
        refused(&call("", b"HR\0\x01a\0\x01bZ")),
        "a name of an attachment in pieces"
    );
    assert!(
        refused(&call("", b"H\x01aR\0\x01b\0Z")),
        "a value in needless pieces"
    );
}

#[test]
fn parameter_types_are_counted_as_apache_dubbo_does_or_refused() {
    let five = call("I[[JLa/B;[La/$_1;Z", b"\x91\x92\x93\x94\x95H\x01a\x01bZ");
    assert_eq!(attribute(&five, "a"), Some(b"b".to_vec()));
    for types in [
        "L", "La/B", "X", "[", "I[", "LI.I;", "L;", "La//b;", "L1;", "I,I", "L\u{e4};",
    ] {
        assert!(refused(&call(types, b"\x91\x91\x91HZ")), "{types}");
    }
}

#[test]
fn attachments_that_are_no_map_are_refused() {
    for behind in [
        &b"\x51\x90"[..],
        b"\x01a",
        b"\x78",
        b"Z",
        b"H",
        b"H\x01a",
        b"M\x90",
    ] {
        assert!(refused(&call("", behind)), "{behind:?}");
    }
    assert_eq!(attribute(&call("", b"HZ"), "a"), None);
}

#[test]
fn broken_arguments_are_refused() {
    for argument in [
        &b"\x40"[..],            // no tag
        b"\x45",                 // no tag
        b"\x50",                 // no tag
        b"Z",                    // an end of nothing
        b"\x60",                 // an object without a class
        b"O\x91",                // the same
        b"C\x01A\x91\x01f\x61N", // an object of the next class
        b"C\x01A\x8f\x60",       // a class of -1 fields
        b"X\x8f",                // a list of -1
        b"XI\0\0\x27\x10",       // a list of more than there is
        b"XN",                   // a list of null
        b"H\x01aZ",              // a name without a value
        b"VN\x90",               // a type that is null
        b"\x01\xff",             // no character
        b"A\0\x01a\x01",         // bytes that go on as text
        b"R\0\x01a\x21",         // text that goes on as bytes
    ] {
        let bytes = call("La/B;", &[argument, b"HZ"].concat());
        assert!(refused(&bytes), "{argument:?}");
    }
}

#[test]
fn every_form_of_a_value_is_stepped_over() {
    for argument in [
        &b"N"[..],
        b"T",
        b"F",
        b"\x80",
        b"\xbf",
        b"\xc8\x5a",
        b"\xd4HZ",
        b"IHHHH",
        b"\xd8",
        b"\xef",
        b"\xf8H",
        b"\x3cHZ",
        b"\x59HHHH",
        b"LHHHHHHHH",
        b"\x5b",
        b"\x5c",
        b"\x5dH",
        b"\x5eHH",
        b"\x5fHHHH",
        b"DHHHHHHHH",
        b"\x4aHHHHHHHH",
        b"\x4bHHHH",
        b"\0",
        b"\x02HZ",
        b"\x30\x02HZ",
        b"S\0\x02HZ",
        b"R\0\x02HZ\x02HZ",
        b"R\0\x01HR\0\x01HS\0\x01H",
        b"\x20",
        b"\x22HZ",
        b"\x34\x02HZ",
        b"B\0\x02HZ",
        b"A\0\x02HZ\x22HZ",
        b"A\0\x01HA\0\x01HB\0\x01H",
        b"\x78",
        b"\x79H\x01a\x01bZ",
        b"\x71\x01t\x91",
        b"\x71\x90\x91",
        b"X\x92\x91\x91",
        b"V\x01t\x91\x91",
        b"WZ",
        b"W\x91\x91Z",
        b"U\x01t\x91Z",
        b"U\x90Z",
        b"HZ",
        b"H\x01aHZ\x91WZZ",
        b"M\x01tZ",
        b"M\x90\x01a\x01bZ",
        b"H\x91WZZ",
        b"C\x01A\x90\x60",
        b"C\x01A\x92\x01f\x01g\x60\x91C\x01B\x91\x01h\x61\x60\x51\x90\x51\x90",
        b"C\x01A\x90O\x90",
        b"\x51\x90",
        b"\x51I\0\0\0\x01",
    ] {
        let bytes = call("La/B;I", &[argument, b"\x91H\x01a\x01bZ"].concat());
        assert_eq!(attribute(&bytes, "a"), Some(b"b".to_vec()), "{argument:?}");
    }
}

#[test]
fn depth_and_elements_have_limits() {
    let limits = Limits {
        max_depth: 10,
        max_elements: 100,
        ..Limits::default()
    };
    let nested = |depth: usize| {
        let argument = [&b"\x79".repeat(depth)[..], b"\x91"].concat();
        call("La/B;", &[&argument[..], b"HZ"].concat())
    };
    assert!(decode_with(limits, &nested(10)).is_ok());
    let complex = |bytes: &[u8]| {
        matches!(
            decode_with(limits, bytes),
            Err(DecodeError::TooComplex { .. })
        )
    };
    assert!(complex(&nested(11)));
    assert!(decode(&nested(65)).is_err());
    let lists = |count: usize| {
        let values = vec![0x91; count];
        [
            [&b"W"[..], &values, b"Z"].concat(),
            [&b"X\xc8"[..], &[count as u8], &values].concat(),
        ]
    };
    for (fits, large) in lists(100).iter().zip(&lists(101)) {
        assert!(decode_with(limits, &call("I", &[fits, &b"HZ"[..]].concat())).is_ok());
        assert!(complex(&call("I", &[large, &b"HZ"[..]].concat())));
    }
    let pairs = |count| [&b"H"[..], &b"\x01a\x01b".repeat(count), b"Z"].concat();
    assert!(decode_with(limits, &call("", &pairs(100))).is_ok());
    assert!(complex(&call("", &pairs(101))));
    assert!(complex(&call(
        "La/B;",
        &[pairs(101), b"HZ".to_vec()].concat()
    )));
}

#[test]
fn the_last_of_two_attachments_counts_and_the_own_names_win() {
    let bytes = call(
        "",
        b"H\x01a\x011\x01A\x012\x06method\x05other\x07version\x032.0Z",
    );
    assert_eq!(attribute(&bytes, "a"), Some(b"2".to_vec()));
    assert_eq!(attribute(&bytes, "method"), Some(b"m".to_vec()));
    assert_eq!(attribute(&bytes, "version"), Some(b"2.0".to_vec()));
    assert_eq!(attribute(&call("", b"N"), "version"), Some(b"1.0".to_vec()));
}
