//! What holds for any bytes.

use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::{Direction, Edit, ErrorKind, Frame, Ids, Kind, LocalError, Protocol, ReplyTo};
use proptest::prelude::*;

use crate::sample::{SAMPLES, as_java, call, frames};

const DIRECTIONS: [Direction; 2] = [Direction::Request, Direction::Response];

/// Golden frames, one after the other, with some bytes changed, put in, or taken out; the length of
/// the first goes with them.
fn mutated() -> impl Strategy<Value = (Direction, Vec<u8>)> {
    let picks = prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..6);
    (any::<bool>(), picks, changes).prop_map(|(requests, picks, changes)| {
        let direction = DIRECTIONS[usize::from(requests)];
        let pool: Vec<_> = SAMPLES
            .iter()
            .filter(|sample| sample.direction == direction && sample.bytes.len() < 2_000)
            .collect();
        let mut first = picks[0].get(&pool).bytes.clone();
        for (at, value, how) in changes {
            let at = at.index(first.len());
            match how {
                0 => first.insert(at, value),
                1 if first.len() > 17 => drop(first.remove(at)),
                2 => first[at] ^= 1 << (value % 8),
                _ => first[at] = value,
            }
        }
        let length = (first.len() as u32).saturating_sub(16);
        first[12..16].copy_from_slice(&length.to_be_bytes());
        for pick in &picks[1..] {
            first.extend_from_slice(&pick.get(&pool).bytes);
        }
        (direction, first)
    })
}

/// Everything that is called for a frame, on frames that may be nonsense.
fn use_frame(frame: &Frame, bytes: &[u8]) {
    let dubbo = Dubbo::new();
    let head = &bytes[..frame.head_len];
    dubbo.attributes(frame, head, &mut |name, value| {
        assert!(name.len() + value.len() <= head.len() + 16);
    });
    for name in ["method", "version", "lane"] {
        dubbo.attribute(frame, head, name);
    }
    let mut to = ReplyTo::default();
    dubbo.reply_to(frame, head, &mut to);
    let mut out = Vec::new();
    let error = LocalError {
        kind: ErrorKind::Timeout,
        message: "late",
    };
    dubbo.error_reply(&to, &error, &mut out);
    dubbo.heartbeat_reply(frame, head, &mut out);
    for given in [frame.head_len, frame.len] {
        let Some(bytes) = bytes.get(..given) else {
            return;
        };
        out.clear();
        dubbo.encode(frame, bytes, &Edit::default(), &mut out);
        assert_eq!(out, bytes, "without an edit nothing changes");
    }
}

fn check(direction: Direction, bytes: &[u8]) {
    let (whole, whole_end) = frames(direction, bytes, bytes.len().max(1));
    let mut start = 0;
    for (end, frame) in &whole {
        use_frame(frame, &bytes[start..]);
        start = *end;
    }
    let (pieces, pieces_end) = frames(direction, bytes, 1);
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    assert_eq!(whole_end, pieces_end);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for direction in DIRECTIONS {
            check(direction, &bytes);
            check(direction, &[&[0xda, 0xbb], &bytes[..]].concat());
        }
    }

    #[test]
    fn arbitrary_arguments_decode_or_are_refused(behind in prop::collection::vec(any::<u8>(), 0..200)) {
        check(Direction::Request, &call("La/B;", &behind));
    }

    #[test]
    fn mutated_frames_decode_or_are_refused_the_same_in_every_split((direction, bytes) in mutated()) {
        check(direction, &bytes);
    }

    #[test]
    fn an_edited_request_is_read_as_it_was_edited(
        (_, bytes) in mutated(),
        id in any::<u64>(),
        set in prop::collection::vec(("[a-zA-Z0-9_-]{1,12}|lane", "\\PC{0,40}"), 0..3),
        remove in prop::collection::vec("[a-zA-Z0-9_-]{1,12}|lane|seed|last", 0..3),
    ) {
        let dubbo = Dubbo::new();
        let (found, _) = frames(Direction::Request, &bytes, bytes.len().max(1));
        let mut start = 0;
        for (end, frame) in found {
            let Some(one) = bytes.get(start..end) else { break };
            start = end;
            let set: Vec<(&str, &str)> = set.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
            let edit = Edit { ids: Some(Ids { message: id, header: 0 }), set: &set, remove: &remove, scrub: None };
            let mut out = Vec::new();
            dubbo.encode(&frame, one, &edit, &mut out);
            let (again, again_end) = frames(Direction::Request, &out, out.len());
            prop_assert_eq!(again_end, Ok(()));
            prop_assert_eq!(again.len(), 1);
            let (len, after) = &again[0];
            prop_assert_eq!(*len, out.len());
            prop_assert_eq!(after.ids.message, id);
            prop_assert_eq!((after.kind, after.format), (frame.kind, frame.format));
            let arguments = frame.spans[2].start as usize;
            if arguments == 0 { continue }
            prop_assert_eq!(&out[16..arguments], &one[16..arguments], "the arguments stay");
            for (name, _) in &set {
                if ["method", "interface"].contains(name) { continue }
                let value = set.iter().rev().find(|(other, _)| other.eq_ignore_ascii_case(name));
                let value = value.map(|(_, value)| as_java(value));
                prop_assert_eq!(dubbo.attribute(after, &out, &name.to_lowercase()).map(<[u8]>::to_vec), value);
            }
        }
    }

    #[test]
    fn an_edited_reply_is_read_as_it_was_edited_or_has_no_place(
        (_, bytes) in mutated(),
        set in prop::collection::vec(("[a-zA-Z0-9_-]{1,12}|lane", "\\PC{0,40}"), 1..3),
        remove in prop::collection::vec("[a-zA-Z0-9_-]{1,12}|lane|seed|last", 0..3),
    ) {
        let dubbo = Dubbo::new();
        let (found, _) = frames(Direction::Response, &bytes, bytes.len().max(1));
        let mut start = 0;
        for (end, frame) in found {
            let Some(one) = bytes.get(start..end) else { break };
            start = end;
            if frame.kind != Kind::Response { continue }
            let set: Vec<(&str, &str)> = set.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
            let mut out = Vec::new();
            if !dubbo.encode(&frame, one, &Edit { ids: None, set: &set, remove: &remove, scrub: None }, &mut out) {
                prop_assert_eq!(&out[..], one);
                continue
            }
            let (again, again_end) = frames(Direction::Response, &out, out.len());
            prop_assert_eq!(again_end, Ok(()));
            prop_assert_eq!(again.len(), 1);
            let (len, after) = &again[0];
            prop_assert_eq!(*len, out.len());
            prop_assert_eq!((after.kind, after.status, after.ids), (frame.kind, frame.status, frame.ids));
            for (name, _) in &set {
                let value = set.iter().rev().find(|(other, _)| other.eq_ignore_ascii_case(name));
                let value = value.map(|(_, value)| as_java(value));
                prop_assert_eq!(dubbo.attribute(after, &out, &name.to_lowercase()).map(<[u8]>::to_vec), value);
            }
        }
    }
}
