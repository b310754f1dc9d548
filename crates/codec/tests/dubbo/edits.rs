//! An edit changes the id, the attachments and the length, and nothing else.

use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::{Direction, Edit, Ids, Kind, Protocol, ReplyTo};

use crate::sample::{SAMPLES, attribute, call, edit_of, edited, framed, named, only_frame};

/// The status of a reply that holds a result.
const OK: u8 = 20;

const SET: Edit<'static> = Edit {
    ids: None,
    set: &[("x-lane", "gray")],
    remove: &[],
    scrub: None,
};

#[test]
fn another_id_is_eight_other_bytes() {
    for sample in SAMPLES.iter() {
        let ids = Some(Ids {
            message: 0x0102_0304_0506_0708,
            header: 0,
        });
        let edit = Edit {
            ids,
            ..Edit::default()
        };
        let mut expected = sample.bytes.clone();
        expected[4..12].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            edited(sample.direction, &sample.bytes, &edit),
            expected,
            "{}",
            sample.name
        );
        let same = edited(sample.direction, &sample.bytes, &Edit::default());
        assert_eq!(same, sample.bytes, "{}", sample.name);
    }
}

#[test]
fn a_set_attachment_is_read_and_all_others_and_the_arguments_stay() {
    for sample in SAMPLES.iter().filter(|sample| sample.method.is_some()) {
        let out = edited(Direction::Request, &sample.bytes, &SET);
        assert_eq!(
            attribute(&out, "x-lane"),
            Some(b"gray".to_vec()),
            "{}",
            sample.name
        );
        for (name, value) in &sample.attributes {
            assert_eq!(attribute(&out, &name.to_lowercase()).as_ref(), Some(value));
        }
        // The map is the last value, and what is new its last pair.
        let kept = sample.bytes.len() - 1;
        assert_eq!(out[16..kept], sample.bytes[16..kept], "{}", sample.name);
        assert_eq!(out[kept..], *b"\x06x-lane\x04grayZ");
        // Without the pair the frame is as it came.
        let remove = Edit {
            remove: &["X-LANE"],
            ..Edit::default()
        };
        assert_eq!(
            edited(Direction::Request, &out, &remove),
            sample.bytes,
            "{}",
            sample.name
        );
    }
}

#[test]
fn a_set_attachment_replaces_those_of_its_name_without_case() {
    let bytes = call("", b"H\x01a\x011\x04Lane\x03old\x04lane\x04oldeZ");
    let edit = Edit {
        set: &[("lane", "x"), ("LANE", "new")],
        ..Edit::default()
    };
    assert_eq!(
        edited(Direction::Request, &bytes, &edit),
        call("", b"H\x01a\x011\x04LANE\x03newZ")
    );
}

#[test]
fn attachments_that_are_not_there_are_made_when_one_is_set() {
    for behind in [&b""[..], b"N"] {
        let bytes = call("I", &[b"\x95", behind].concat());
        let expected = call("I", b"\x95H\x06x-lane\x04grayZ");
        assert_eq!(edited(Direction::Request, &bytes, &SET), expected);
        let remove = Edit {
            remove: &["a"],
            ..Edit::default()
        };
        assert_eq!(edited(Direction::Request, &bytes, &remove), bytes);
    }
}

#[test]
fn a_typed_map_keeps_its_type() {
    let bytes = call("", b"M\x03a.M\x01k\x01vZ");
    let expected = call("", b"M\x03a.M\x01k\x01v\x06x-lane\x04grayZ");
    assert_eq!(edited(Direction::Request, &bytes, &SET), expected);
}

#[test]
fn an_object_stays_while_another_behind_it_may_refer_to_its_number() {
    // p: an object of a new class; q: one of that class, and a reference; r: text.
    let [p, q, r] = [
        &b"\x01pC\x01P\x91\x01f\x60N"[..],
        b"\x01q\x60\x51\x91",
        b"\x01r\x01r",
    ];
    let bytes = call("", &[b"H", p, q, r, b"Z"].concat());
    let remove = |remove| {
        let edit = Edit {
            remove,
            ..Edit::default()
        };
        edited(Direction::Request, &bytes, &edit)
    };
    assert_eq!(remove(&["p"]), bytes, "q needs p's class");
    assert_eq!(remove(&["q"]), call("", &[b"H", p, r, b"Z"].concat()));
    assert_eq!(remove(&["p", "q"]), call("", &[b"H", r, b"Z"].concat()));
    assert_eq!(remove(&["r"]), call("", &[b"H", p, q, b"Z"].concat()));
    let edit = Edit {
        set: &[("p", "text")],
        ..Edit::default()
    };
    let out = edited(Direction::Request, &bytes, &edit);
    assert_eq!(out, call("", &[b"H", p, q, r, b"\x01p\x04textZ"].concat()));
    assert_eq!(attribute(&out, "p"), Some(b"text".to_vec()));
}

#[test]
fn attachments_whose_objects_are_of_a_class_of_an_argument_are_read_and_edited() {
    let sample = named("dubbo-rich-attachments");
    assert_eq!(attribute(&sample.bytes, "a"), Some(b"1".to_vec()));
    assert_eq!(attribute(&sample.bytes, "z"), Some(b"26".to_vec()));
    let edit = Edit {
        set: &[("z", "27")],
        remove: &["a", "number"],
        ..Edit::default()
    };
    let out = edited(Direction::Request, &sample.bytes, &edit);
    assert_eq!(attribute(&out, "a"), None);
    assert_eq!(attribute(&out, "z"), Some(b"27".to_vec()));
}

#[test]
fn attachments_of_a_reply_are_edited_and_made_where_it_has_none() {
    for sample in SAMPLES
        .iter()
        .filter(|sample| sample.kind.0 == Kind::Response)
    {
        let name = &sample.name;
        let (has_place, out) = edit_of(Direction::Response, &sample.bytes, &SET);
        if sample.bytes[3] != OK {
            assert!(!has_place, "{name}");
            assert_eq!(out, sample.bytes, "{name}");
            continue;
        }
        assert!(has_place, "{name}");
        let pair = b"\x06x-lane\x04gray";
        let mut expected = sample.bytes.clone();
        if name.ends_with("-attachments") {
            expected.truncate(sample.bytes.len() - 1);
        } else {
            // The type says from now on that attachments stand behind the value.
            expected[16] += 3;
            expected.push(b'H');
        }
        expected.extend_from_slice(&[&pair[..], b"Z"].concat());
        let length = (expected.len() - 16) as u32;
        expected[12..16].copy_from_slice(&length.to_be_bytes());
        assert_eq!(out, expected, "{name}");
        let frame = only_frame(Direction::Response, &out);
        assert_eq!((frame.kind, frame.status), sample.kind, "{name}");
        let found = Dubbo::new().attribute(&frame, &out, "x-lane");
        assert_eq!(found, Some(&b"gray"[..]), "{name}");
        let head = &out[..frame.head_len];
        assert_eq!(Dubbo::new().attribute(&frame, head, "x-lane"), None);
    }
}

#[test]
fn what_was_set_in_a_reply_can_be_removed() {
    for sample in SAMPLES
        .iter()
        .filter(|sample| sample.kind.0 == Kind::Response && sample.bytes[3] == OK)
    {
        let name = &sample.name;
        let remove = Edit {
            remove: &["X-LANE"],
            ..Edit::default()
        };
        let same = edit_of(Direction::Response, &sample.bytes, &remove);
        assert_eq!(same, (true, sample.bytes.clone()), "{name}");
        let set = edited(Direction::Response, &sample.bytes, &SET);
        let (has_place, out) = edit_of(Direction::Response, &set, &remove);
        assert!(has_place, "{name}");
        if name.ends_with("-attachments") {
            assert_eq!(out, sample.bytes, "{name}");
        } else {
            assert_eq!(out[17..out.len() - 2], sample.bytes[17..], "{name}");
            assert_eq!(out[out.len() - 2..], *b"HZ", "{name}");
        }
    }
}

#[test]
fn a_frame_that_has_no_place_gets_its_id_all_the_same_and_says_so() {
    let ids = Some(Ids {
        message: 3,
        header: 0,
    });
    let edit = Edit { ids, ..SET };
    // Another serialization; values that cannot be walked; bytes behind a value; an error.
    for (direction, flags, status, body) in [
        (Direction::Request, 0xc6, 0, &b"{}"[..]),
        (Direction::Response, 6, 20, b"{}"),
        (Direction::Response, 2, 20, b"\x94\x60HZ"),
        (Direction::Response, 2, 20, b"\x94"),
        (Direction::Response, 2, 20, b"\x91\x60"),
        (Direction::Response, 2, 20, b"\x91\x01aHZ"),
        (Direction::Response, 2, 20, b"\x92N"),
        (Direction::Response, 2, 80, b"\x01a"),
    ] {
        let bytes = framed(flags, status, 9, body);
        let expected = framed(flags, status, 3, body);
        assert_eq!(edit_of(direction, &bytes, &edit), (false, expected.clone()));
        let only_id = Edit {
            ids,
            ..Edit::default()
        };
        assert_eq!(edit_of(direction, &bytes, &only_id), (true, expected));
    }
}

#[test]
fn attributes_can_be_changed_once_all_that_is_in_front_of_them_is_there() {
    let dubbo = Dubbo::new();
    for sample in SAMPLES.iter() {
        let frame = only_frame(sample.direction, &sample.bytes);
        let needs = dubbo.edit_needs(&frame);
        let expected = match sample.kind.0 {
            Kind::Response if sample.bytes[3] != OK => frame.head_len,
            _ => frame.len,
        };
        assert_eq!(needs, expected, "{}", sample.name);
    }
    let other = only_frame(Direction::Response, &framed(6, 20, 9, b"{}"));
    assert_eq!(dubbo.edit_needs(&other), 16);
}

#[test]
fn only_a_caller_of_a_protocol_version_that_has_them_takes_attachments_in_a_reply() {
    let dubbo = Dubbo::new();
    let takes = |bytes: &[u8]| {
        let mut to = ReplyTo::default();
        dubbo.reply_to(&only_frame(Direction::Request, bytes), bytes, &mut to);
        dubbo.takes_reply_attributes(&to)
    };
    for (version, expected) in [
        ("2.0.2", true),
        ("2.0.3", true),
        ("2.0.0", false),
        ("2.5.7", false),
        ("2.6.2", false),
        ("1.0.0", false),
    ] {
        let mut bytes = call("", b"HZ");
        bytes[17..22].copy_from_slice(version.as_bytes());
        assert_eq!(takes(&bytes), expected, "{version}");
    }
    assert!(
        !takes(&framed(0xc6, 0, 9, b"2.0.2")),
        "another serialization"
    );
    for sample in SAMPLES.iter().filter(|sample| sample.method.is_some()) {
        assert!(takes(&sample.bytes), "{}", sample.name);
    }
}
