//! An edit changes the id, the attachments and the length, and nothing else.

use meltemi_codec::{Direction, Edit, Ids, Kind};

use crate::sample::{SAMPLES, attribute, call, edited, framed, named, only_frame};

const SET: Edit<'static> = Edit {
    ids: None,
    set: &[("x-lane", "gray")],
    remove: &[],
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
        ids: None,
    };
    let out = edited(Direction::Request, &sample.bytes, &edit);
    assert_eq!(attribute(&out, "a"), None);
    assert_eq!(attribute(&out, "z"), Some(b"27".to_vec()));
}

#[test]
fn attachments_of_a_reply_are_edited_where_it_has_some() {
    for sample in SAMPLES
        .iter()
        .filter(|sample| sample.kind.0 == Kind::Response)
    {
        let out = edited(Direction::Response, &sample.bytes, &SET);
        let name = &sample.name;
        if !name.ends_with("-attachments") {
            assert_eq!(out, sample.bytes, "{name}");
            continue;
        }
        let kept = sample.bytes.len() - 1;
        assert_eq!(out[16..kept], sample.bytes[16..kept], "{name}");
        assert_eq!(out[kept..], *b"\x06x-lane\x04grayZ", "{name}");
        let frame = only_frame(Direction::Response, &out);
        assert_eq!((frame.kind, frame.status), sample.kind, "{name}");
        let edit = Edit {
            remove: &["x-lane"],
            ..Edit::default()
        };
        assert_eq!(
            edited(Direction::Response, &out, &edit),
            sample.bytes,
            "{name}"
        );
    }
}

#[test]
fn a_frame_that_cannot_be_edited_gets_its_id_all_the_same() {
    let ids = Some(Ids {
        message: 3,
        header: 0,
    });
    let edit = Edit { ids, ..SET };
    // Another serialization; a reply without attachments; one whose value cannot be walked.
    for (direction, flags, status, body) in [
        (Direction::Request, 0xc6, 0, &b"{}"[..]),
        (Direction::Response, 2, 20, b"\x91\x01a"),
        (Direction::Response, 2, 20, b"\x94\x60HZ"),
        (Direction::Response, 2, 20, b"\x94"),
        (Direction::Response, 2, 80, b"\x01a"),
    ] {
        let out = edited(direction, &framed(flags, status, 9, body), &edit);
        assert_eq!(out, framed(flags, status, 3, body));
    }
}
