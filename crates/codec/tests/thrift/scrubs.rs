//! What must not go on is taken out of headers, wherever in them it stands, and is missed by nobody.

use meltemi_codec::thrift::Thrift;
use meltemi_codec::{Direction, Edit, Found, Protocol, Scrub, Scrubbed};
use proptest::prelude::*;

use crate::sample::{SAMPLES, frames, only_frame};

/// Takes out what has `secret` for a name, and `s` out of every value.
#[derive(Debug)]
struct Secret;

impl Scrub for Secret {
    fn scrub(&self, name: &[u8], value: Option<&[u8]>) -> Scrubbed {
        match value {
            _ if name.eq_ignore_ascii_case(b"secret") => Scrubbed::Gone,
            Some(value) if value.contains(&b'~') => {
                Scrubbed::Less(value.iter().copied().filter(|byte| *byte != b'~').collect())
            }
            _ => Scrubbed::Same,
        }
    }
}

const SCRUB: Edit<'static> = Edit {
    ids: None,
    set: &[],
    remove: &[],
    scrub: Some(&Secret),
};

type Pair<'p> = (&'p [u8], &'p [u8]);

/// A call of `m` behind a TTHeader with these blocks of text keys.
fn ttheader(blocks: &[Vec<Pair<'_>>]) -> Vec<u8> {
    let mut info = vec![0, 0];
    for pairs in blocks {
        info.push(1);
        info.extend_from_slice(&(pairs.len() as u16).to_be_bytes());
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            info.extend_from_slice(&(text.len() as u16).to_be_bytes());
            info.extend_from_slice(text);
        }
    }
    framed(0x1000, info)
}

/// The same behind a THeader; `behind` comes after its blocks.
fn theader(blocks: &[Vec<Pair<'_>>], behind: &[u8]) -> Vec<u8> {
    let mut info = vec![0, 0];
    for pairs in blocks {
        info.extend_from_slice(&[1, pairs.len() as u8]);
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            assert!(text.len() < 128);
            info.push(text.len() as u8);
            info.extend_from_slice(text);
        }
    }
    info.extend_from_slice(behind);
    framed(0x0fff, info)
}

fn framed(magic: u16, mut info: Vec<u8>) -> Vec<u8> {
    while !info.len().is_multiple_of(4) {
        info.push(0);
    }
    let message = b"\x80\x01\x00\x01\x00\x00\x00\x01m\x00\x00\x00\x07\x00";
    let len = (10 + info.len() + message.len()) as u32;
    let words = (info.len() / 4) as u16;
    [
        &len.to_be_bytes()[..],
        &magic.to_be_bytes(),
        &[0; 6],
        &words.to_be_bytes(),
        &info,
        message,
    ]
    .concat()
}

fn find(bytes: &[u8]) -> Found {
    let frame = only_frame(Direction::Request, bytes);
    Thrift::new().find(&frame, bytes, &Secret)
}

/// The message without what is taken out, and every header of it.
fn scrubbed(bytes: &[u8]) -> (Vec<u8>, Vec<(String, String)>) {
    let frame = only_frame(Direction::Request, bytes);
    let mut out = Vec::new();
    assert!(Thrift::new().encode(&frame, bytes, &SCRUB, &mut out));
    let after = only_frame(Direction::Request, &out);
    assert_eq!(out[after.head_len..], bytes[frame.head_len..]);
    let mut headers = Vec::new();
    Thrift::new().attributes(&after, &out, &mut |name, value| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if name != b"method" {
            headers.push((text(name), text(value)));
        }
    });
    (out, headers)
}

#[test]
fn each_header_loses_what_is_its_own_also_where_a_name_comes_twice() {
    let blocks = [
        vec![(&b"a"[..], &b"1"[..]), (b"b", b"x~y"), (b"Secret", b"1")],
        vec![(b"SECRET", b"2")],
        vec![(b"b", b"z"), (b"b", b"~")],
    ];
    let left = [("a", "1"), ("b", "xy"), ("b", "z"), ("b", "")];
    let left = left.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for bytes in [ttheader(&blocks), theader(&blocks, b"")] {
        assert_eq!(find(&bytes), Found::Something);
        let (out, headers) = scrubbed(&bytes);
        assert_eq!(headers, left);
        assert_eq!(find(&out), Found::Nothing);
    }
}

#[test]
fn a_message_that_holds_nothing_of_it_stays_byte_for_byte() {
    let blocks = [vec![(&b"a"[..], &b"1"[..])]];
    for bytes in [ttheader(&blocks), theader(&blocks, b"")] {
        assert_eq!(find(&bytes), Found::Nothing);
        assert_eq!(scrubbed(&bytes).0, bytes);
    }
    for name in ["framed-strict-call", "unframed-strict-call"] {
        if let Some(sample) = SAMPLES.iter().find(|one| one.name == name) {
            assert_eq!(find(&sample.bytes), Found::Nothing, "{name}");
        }
    }
}

#[test]
fn what_a_theader_hides_is_not_taken_for_nothing() {
    let blocks = [vec![(&b"a"[..], &b"1"[..])]];
    // Padding hides nothing; an unknown block, and headers behind padding, may.
    assert_eq!(find(&theader(&blocks, b"\0\0\0\0\0")), Found::Nothing);
    for behind in [
        &b"\x02\x01\x06secret\x01x"[..],
        b"\0\x01\x01\x06secret\x01x",
    ] {
        assert_eq!(find(&theader(&blocks, behind)), Found::Unknown);
    }
    // A transform whose data may be anything (hmac) hides the blocks behind it.
    let mut hmac = theader(&[], b"\x01\x01\x06secret\x01x");
    hmac.splice(15..16, [1, 2]);
    let end = hmac.len() - 14;
    assert_eq!(hmac[end], 0x80, "the message");
    hmac.splice(end - 1..end, []);
    let frame = only_frame(Direction::Request, &hmac);
    assert!(!frame.rewritable);
    assert_eq!(Thrift::new().find(&frame, &hmac, &Secret), Found::Unknown);
}

#[test]
fn headers_before_a_payload_that_cannot_be_changed_are_looked_at_too() {
    for sample in SAMPLES.iter().filter(|one| !one.rewritable) {
        if sample.direction == Direction::Request {
            assert_eq!(find(&sample.bytes), Found::Nothing, "{}", sample.name);
        }
    }
    let mut zlib = ttheader(&[vec![(&b"secret"[..], &b"12"[..])]]);
    zlib.splice(15..16, [1, 1]);
    let end = zlib.len() - 14;
    zlib.splice(end - 1..end, []);
    assert_eq!(find(&zlib), Found::Something);
}

fn pairs() -> impl Strategy<Value = Vec<Vec<(Vec<u8>, Vec<u8>)>>> {
    let name = prop_oneof![
        Just(b"secret".to_vec()),
        "(?i)secret".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..9),
    ];
    let value = prop_oneof![
        "[a~]{0,4}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..9),
    ];
    prop::collection::vec(prop::collection::vec((name, value), 0..4), 0..4)
}

proptest! {
    #[test]
    fn whatever_the_headers_are_nothing_of_it_goes_on(blocks in pairs(), tt in any::<bool>()) {
        let blocks: Vec<Vec<Pair<'_>>> = blocks
            .iter()
            .map(|block| block.iter().map(|(name, value)| (&name[..], &value[..])).collect())
            .collect();
        let bytes = if tt { ttheader(&blocks) } else { theader(&blocks, b"") };
        let (found, end) = frames(Direction::Request, &bytes, bytes.len());
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(found.len(), 1);
        let (out, _) = scrubbed(&bytes);
        prop_assert_eq!(find(&out), Found::Nothing);
        let all = blocks.iter().flatten();
        let is_clean = |(name, value): &Pair<'_>| Secret.scrub(name, Some(value)) == Scrubbed::Same;
        let clean = all.clone().all(is_clean);
        prop_assert_eq!(find(&bytes) == Found::Nothing, clean);
        let gone = all.filter(|(name, _)| name.eq_ignore_ascii_case(b"secret")).count();
        let mut left = 0;
        let after = only_frame(Direction::Request, &out);
        Thrift::new().attributes(&after, &out, &mut |_, _| left += 1);
        // The method is one of them.
        prop_assert_eq!(left - 1, blocks.iter().flatten().count() - gone);
    }
}
