//! What is asked for changes, and nothing else.

use std::collections::BTreeMap;

use meltemi_codec::thrift::Thrift;
use meltemi_codec::{Edit, Frame, Ids, Protocol};

use crate::sample::{SAMPLES, Sample, named, only_frame};

fn encode(sample: &Sample, edit: &Edit<'_>) -> Vec<u8> {
    let frame = only_frame(sample.direction, &sample.bytes);
    let mut out = b"before".to_vec();
    Thrift::new().encode(&frame, &sample.bytes, edit, &mut out);
    assert_eq!(&out[..6], b"before");
    out.split_off(6)
}

fn shown(frame: &Frame, bytes: &[u8]) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    Thrift::new().attributes(frame, bytes, &mut |name, value| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        shown.insert(text(name), text(value));
    });
    shown
}

/// The bytes behind the head of a message: its fields.
fn body<'b>(frame: &Frame, bytes: &'b [u8]) -> &'b [u8] {
    &bytes[frame.head_len..]
}

fn rewritable() -> impl Iterator<Item = &'static Sample> {
    SAMPLES.iter().filter(|sample| sample.rewritable)
}

#[test]
fn without_an_edit_or_with_its_own_ids_a_message_stays_byte_for_byte() {
    for sample in rewritable() {
        assert_eq!(
            encode(sample, &Edit::default()),
            sample.bytes,
            "{}",
            sample.name
        );
        let edit = Edit {
            ids: Some(sample.ids),
            ..Edit::default()
        };
        assert_eq!(encode(sample, &edit), sample.bytes, "{}", sample.name);
    }
}

#[test]
fn new_ids_stand_in_every_place_and_the_rest_stays() {
    for sample in rewritable() {
        let before = only_frame(sample.direction, &sample.bytes);
        for message in [0, 1, 127, 128, 1 << 20, Thrift::new().max_id()] {
            let header = if sample.format.contains("header") {
                message
            } else {
                0
            };
            let ids = Ids { message, header };
            let out = encode(
                sample,
                &Edit {
                    ids: Some(ids),
                    ..Edit::default()
                },
            );
            let after = only_frame(sample.direction, &out);
            assert_eq!(after.ids, ids, "{}", sample.name);
            assert_eq!(
                body(&after, &out),
                body(&before, &sample.bytes),
                "{}",
                sample.name
            );
            assert_eq!(
                shown(&after, &out),
                shown(&before, &sample.bytes),
                "{}",
                sample.name
            );
            let back = Edit {
                ids: Some(sample.ids),
                ..Edit::default()
            };
            let mut again = Vec::new();
            Thrift::new().encode(&after, &out, &back, &mut again);
            assert_eq!(again, sample.bytes, "{}", sample.name);
        }
    }
}

#[test]
fn the_head_alone_is_encoded_as_the_head_of_the_whole() {
    let ids = Some(Ids {
        message: 1 << 20,
        header: 9,
    });
    for edit in [
        Edit {
            ids,
            ..Edit::default()
        },
        Edit {
            ids,
            set: &[("x-lane", "a longer name")],
            remove: &[],
            scrub: None,
        },
    ] {
        for sample in rewritable() {
            let frame = only_frame(sample.direction, &sample.bytes);
            let whole = encode(sample, &edit);
            let mut head = Vec::new();
            Thrift::new().encode(&frame, &sample.bytes[..frame.head_len], &edit, &mut head);
            head.extend_from_slice(body(&frame, &sample.bytes));
            assert_eq!(head, whole, "{}", sample.name);
        }
    }
}

#[test]
fn headers_are_set_replaced_and_removed_by_name_without_case() {
    for sample in rewritable().filter(|sample| sample.format.contains("header")) {
        let before = only_frame(sample.direction, &sample.bytes);
        assert!(Thrift::new().can_edit_attributes(before.format));
        let old = shown(&before, &sample.bytes);
        let first = sample
            .attributes
            .keys()
            .next()
            .map_or("nothing", String::as_str);
        let edit = Edit {
            ids: None,
            set: &[("New-Name", "new"), ("X-Lane", "blue")],
            remove: &[first],
            scrub: None,
        };
        let out = encode(sample, &edit);
        let after = only_frame(sample.direction, &out);
        let attribute = |name| Thrift::new().attribute(&after, &out, name);
        assert_eq!(attribute("new-name"), Some(&b"new"[..]), "{}", sample.name);
        assert_eq!(attribute("x-lane"), Some(&b"blue"[..]), "{}", sample.name);
        if first != "x-lane" {
            assert_eq!(attribute(first), None, "{} {first}", sample.name);
        }
        assert_eq!(
            body(&after, &out),
            body(&before, &sample.bytes),
            "{}",
            sample.name
        );
        assert_eq!(after.ids, before.ids);
        let fold = |shown: BTreeMap<String, String>| -> BTreeMap<String, String> {
            shown
                .into_iter()
                .map(|(name, value)| (name.to_lowercase().replace(['-', '_'], ""), value))
                .collect()
        };
        let mut expected = fold(old);
        expected.remove(&first.replace(['-', '_'], ""));
        if let Some(name) = shown(&before, &sample.bytes).keys().find(|name| {
            Thrift::new()
                .attribute(&before, &sample.bytes, first)
                .is_some()
                && number(name) == first
        }) {
            expected.remove(&name.to_lowercase());
        }
        expected.insert("newname".into(), "new".into());
        expected.insert("xlane".into(), "blue".into());
        assert_eq!(
            fold(shown(&after, &out)),
            expected,
            "{} without {first}",
            sample.name
        );
    }
}

/// The number of the integer keys that the golden messages remove by number.
fn number(name: &str) -> &str {
    if name == "MsgType" { "22" } else { name }
}

#[test]
fn a_header_that_is_both_removed_and_set_is_set() {
    let sample = named("apache-theader-strict-call-sayHello");
    let out = encode(
        sample,
        &Edit {
            ids: None,
            set: &[("x-lane", "blue")],
            remove: &["X-LANE"],
            scrub: None,
        },
    );
    let frame = only_frame(sample.direction, &out);
    assert_eq!(
        Thrift::new().attribute(&frame, &out, "x-lane"),
        Some(&b"blue"[..])
    );
}

#[test]
fn integer_keys_and_the_token_of_ttheader_keep_their_kind_when_they_are_set() {
    let sample = named("ttheader-strict-call-sayHello");
    let set = [
        ("to_service", "ratings"),
        ("env", "dev"),
        ("RPC_TRANSIT_gdpr-token", "other"),
        ("77", "x"),
    ];
    let out = encode(
        sample,
        &Edit {
            ids: None,
            set: &set,
            remove: &[],
            scrub: None,
        },
    );
    let frame = only_frame(sample.direction, &out);
    let shown = shown(&frame, &out);
    assert_eq!(shown["ToService"], "ratings");
    assert_eq!(shown["Env"], "dev");
    assert_eq!(shown["77"], "x");
    assert_eq!(shown["RPC_TRANSIT_gdpr-token"], "other");
    let token = [&[0x11, 0, 5][..], b"other"].concat();
    assert!(
        out.windows(token.len()).any(|bytes| bytes == token),
        "still an ACL block"
    );
    assert_eq!(
        out.windows(7).filter(|bytes| bytes == b"ratings").count(),
        1
    );
}

#[test]
fn a_header_without_anything_left_is_empty_and_stays_a_frame() {
    let sample = named("apache-theader-strict-call-sayHello");
    let out = encode(
        sample,
        &Edit {
            ids: None,
            set: &[],
            remove: &["x-lane", "trace-id"],
            scrub: None,
        },
    );
    let plain = named("apache-theader-strict-oneway-note");
    assert_eq!(
        out[14..18],
        plain.bytes[14..18],
        "as Apache writes a header with nothing in it"
    );
    let frame = only_frame(sample.direction, &out);
    assert_eq!(shown(&frame, &out).len(), 1, "the method");
}

#[test]
fn a_header_that_would_be_too_large_is_left_as_it_was() {
    let large = "x".repeat(70_000);
    for name in [
        "ttheader-strict-call-sayHello",
        "apache-theader-strict-call-sayHello",
    ] {
        let sample = named(name);
        let values: Vec<(&str, &str)> = ["a", "b", "c", "d"]
            .map(|name| (name, &large[..65_535]))
            .to_vec();
        let five: Vec<(&str, &str)> = [&values[..], &[("e", &large[..])]].concat();
        let ids = Some(Ids {
            message: 3,
            header: 4,
        });
        let edit = Edit {
            ids,
            set: &five,
            remove: &[],
            scrub: None,
        };
        let frame = only_frame(sample.direction, &sample.bytes);
        let mut out = Vec::new();
        assert!(!Thrift::new().encode(&frame, &sample.bytes, &edit, &mut out));
        assert_eq!(
            out,
            encode(
                sample,
                &Edit {
                    ids,
                    set: &[],
                    remove: &[],
                    scrub: None
                }
            ),
            "{name}"
        );
    }
}

#[test]
fn of_two_values_of_a_new_header_the_last_is_written_and_no_other() {
    for name in [
        "ttheader-strict-call-sayHello",
        "apache-theader-strict-call-sayHello",
    ] {
        let sample = named(name);
        let once = Edit {
            ids: None,
            set: &[("X-Lane", "blue")],
            remove: &[],
            scrub: None,
        };
        let twice = Edit {
            set: &[("x-lane", "red"), ("X-Lane", "blue")],
            ..once
        };
        assert_eq!(encode(sample, &twice), encode(sample, &once), "{name}");
    }
}

#[test]
fn a_ttheader_takes_no_header_that_says_its_payload_has_a_checksum() {
    let sample = named("ttheader-strict-call-sayHello");
    let frame = only_frame(sample.direction, &sample.bytes);
    for name in ["crc32c", "PV_hash"] {
        let edit = Edit {
            ids: None,
            set: &[("x-lane", "blue"), (name, "1")],
            remove: &[],
            scrub: None,
        };
        let mut out = Vec::new();
        assert!(!Thrift::new().encode(&frame, &sample.bytes, &edit, &mut out));
        assert_eq!(out, sample.bytes, "{name}");
    }
}

#[test]
fn plain_transports_have_no_place_for_headers() {
    for sample in rewritable().filter(|sample| !sample.format.contains("header")) {
        let frame = only_frame(sample.direction, &sample.bytes);
        assert!(!Thrift::new().can_edit_attributes(frame.format));
        let edit = Edit {
            ids: None,
            set: &[("x-lane", "blue")],
            remove: &["method"],
            scrub: None,
        };
        let mut out = Vec::new();
        assert!(!Thrift::new().encode(&frame, &sample.bytes, &edit, &mut out));
        assert_eq!(out, sample.bytes);
    }
}

#[test]
fn what_a_checksum_or_a_compression_covers_stays_as_it_is_and_says_so() {
    let sealed: Vec<_> = SAMPLES.iter().filter(|sample| !sample.rewritable).collect();
    assert!(!sealed.is_empty());
    for sample in sealed {
        let frame = only_frame(sample.direction, &sample.bytes);
        let edit = Edit {
            remove: &["a"],
            ..Edit::default()
        };
        let mut out = Vec::new();
        assert!(!Thrift::new().encode(&frame, &sample.bytes, &edit, &mut out));
        assert_eq!(out, sample.bytes, "{}", sample.name);
    }
}

#[test]
fn headers_are_edited_in_the_first_bytes_of_a_frame_whose_rest_follows() {
    let thrift = Thrift::new();
    let edit = Edit {
        ids: None,
        set: &[("x-lane", "blue")],
        remove: &["isn"],
        scrub: None,
    };
    let mut seen = 0;
    for sample in rewritable().filter(|sample| sample.format.contains("header")) {
        let frame = only_frame(sample.direction, &sample.bytes);
        let whole = encode(sample, &edit);
        for there in [thrift.edit_needs(&frame), frame.len - 1] {
            let (first, rest) = sample.bytes.split_at(there);
            let mut out = Vec::new();
            assert!(thrift.encode(&frame, first, &edit, &mut out));
            out.extend_from_slice(rest);
            assert_eq!(out, whole, "{} of {there} bytes", sample.name);
        }
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn a_reply_is_readable_in_the_encoding_of_the_call_or_where_a_header_names_its_own() {
    let thrift = Thrift::new();
    let of = |name: &str| {
        let sample = named(name);
        only_frame(sample.direction, &sample.bytes)
    };
    let framed = |encoding: &str| of(&format!("apache-framed-{encoding}-call-sayHello"));
    let (strict, lax, compact) = (framed("strict"), framed("lax"), framed("compact"));
    for (asked, reply, readable) in [
        (&strict, &strict, true),
        (&strict, &lax, true),
        (&lax, &strict, true),
        (&compact, &compact, true),
        (&compact, &strict, false),
        (&lax, &compact, false),
    ] {
        assert_eq!(thrift.is_readable(asked.format, reply), readable);
    }
    let theader = |encoding: &str| of(&format!("apache-theader-{encoding}-call-sayHello"));
    assert!(thrift.is_readable(theader("compact").format, &theader("strict")));
}

#[test]
fn what_follows_an_unknown_info_block_of_theader_is_kept() {
    // One header a=b, then an info block 5 that nobody here knows.
    let info = [&[0, 0, 1, 1, 1][..], b"a", &[1], b"b", &[5, 1, 2, 3]].concat();
    let mut bytes = vec![0, 0, 0, 0, 0x0f, 0xff, 0, 0, 0, 0, 0, 1, 0, 3];
    bytes.extend_from_slice(&info);
    bytes.resize(14 + 12, 0);
    bytes.extend_from_slice(&named("apache-unframed-strict-call-sayHello").bytes);
    let len = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    let frame = only_frame(meltemi_codec::Direction::Request, &bytes);
    let mut out = Vec::new();
    Thrift::new().encode(
        &frame,
        &bytes,
        &Edit {
            ids: None,
            set: &[("c", "d")],
            remove: &[],
            scrub: None,
        },
        &mut out,
    );
    let after = only_frame(meltemi_codec::Direction::Request, &out);
    assert_eq!(Thrift::new().attribute(&after, &out, "c"), Some(&b"d"[..]));
    assert_eq!(Thrift::new().attribute(&after, &out, "a"), Some(&b"b"[..]));
    assert!(out.windows(4).any(|bytes| bytes == [5, 1, 2, 3]));
}
