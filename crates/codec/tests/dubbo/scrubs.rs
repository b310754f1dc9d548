//! What must not go on is taken out of attachments, and is missed by nobody.

use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::{Direction, Edit, Found, Protocol, Scrub, Scrubbed};
use proptest::prelude::*;

use crate::sample::{SAMPLES, attribute, call, edit_of, framed, only_frame};

/// Takes out what has `secret` for a name, and `~` out of every value.
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

fn find(bytes: &[u8]) -> Found {
    let frame = only_frame(Direction::Request, bytes);
    Dubbo::new().find(&frame, bytes, &Secret)
}

/// The attachments, byte by byte, of the call without what is taken out.
fn left(attachments: &[u8]) -> Vec<u8> {
    let bytes = call("", attachments);
    assert_eq!(find(&bytes), Found::Something);
    let (done, out) = edit_of(Direction::Request, &bytes, &SCRUB);
    assert!(done);
    assert_eq!(find(&out), Found::Nothing);
    let start = bytes.len() - attachments.len();
    assert_eq!(out[16..start], bytes[16..start]);
    out[start..].to_vec()
}

#[test]
fn each_attachment_loses_what_is_its_own_in_its_place() {
    let before = b"H\x01a\x011\x06secret\x01x\x01b\x03x~y\x06SECRET\x01x\x01b\x01~\x01c\x012Z";
    assert_eq!(left(before), b"H\x01a\x011\x01b\x02xy\x01b\x00\x01c\x012Z");
}

#[test]
fn an_attachment_goes_whatever_its_value_is() {
    // A number, null, an empty list, a string in two chunks.
    let chunks = [b"R\x04\x00", &[b'x'; 1024][..], b"\x01y"].concat();
    for value in [&b"\x91"[..], b"N", b"\x78", &chunks] {
        let entry = [&b"\x06secret"[..], value].concat();
        let attachments = [b"H\x01a\x011", &entry[..], b"Z"].concat();
        assert_eq!(left(&attachments), b"H\x01a\x011Z");
    }
}

#[test]
fn an_attachment_that_others_refer_to_stays_and_is_said_to_be_there() {
    // A list, and behind it a reference to what came after it.
    let bytes = call("", b"H\x06secret\x78\x01b\x78\x01c\x51\x92Z");
    assert_eq!(find(&bytes), Found::Something);
    let (_, out) = edit_of(Direction::Request, &bytes, &SCRUB);
    assert_eq!(find(&out), Found::Something);
}

#[test]
fn calls_without_it_stay_and_what_cannot_be_read_is_not_taken_for_nothing() {
    for sample in SAMPLES
        .iter()
        .filter(|one| one.direction == Direction::Request)
    {
        if sample.method.is_some() {
            assert_eq!(find(&sample.bytes), Found::Nothing, "{}", sample.name);
        }
    }
    for nothing in [&b"N"[..], b"HZ", b""] {
        assert_eq!(find(&call("", nothing)), Found::Nothing);
    }
    // fastjson2.
    assert_eq!(find(&framed(0xd7, 0, 9, b"\"2.0.2\"")), Found::Unknown);
}

proptest! {
    #[test]
    fn whatever_the_attachments_are_nothing_of_it_goes_on(
        pairs in prop::collection::vec(("[sS][eE][cC][rR][eE][tT]|[a-z]{0,4}", "[a-z~]{0,6}"), 0..6)
    ) {
        let mut attachments = b"H".to_vec();
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            attachments.push(text.len() as u8);
            attachments.extend_from_slice(text.as_bytes());
        }
        attachments.push(b'Z');
        let bytes = call("", &attachments);
        let (done, out) = edit_of(Direction::Request, &bytes, &SCRUB);
        prop_assert!(done);
        prop_assert_eq!(find(&out), Found::Nothing);
        for (name, _) in &pairs {
            let is_secret = name.eq_ignore_ascii_case("secret");
            if !is_secret && !matches!(&name[..], "method" | "interface" | "version") {
                let last = pairs.iter().rev().find(|(other, _)| other == name);
                let value = last.map(|(_, value)| value.replace('~', "").into_bytes());
                prop_assert_eq!(attribute(&out, name), value);
            }
        }
    }
}
