//! What holds for any bytes.

use meltemi_codec::thrift::Thrift;
use meltemi_codec::{Direction, Edit, Frame, Ids, Protocol};
use proptest::prelude::*;

use crate::sample::{SAMPLES, frames};

const DIRECTIONS: [Direction; 2] = [Direction::Request, Direction::Response];

/// Golden messages, one after the other, with some bytes changed, put in, or taken out.
fn mutated() -> impl Strategy<Value = (Direction, Vec<u8>)> {
    let picks = prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..6);
    (any::<bool>(), picks, changes).prop_map(|(requests, picks, changes)| {
        let direction = DIRECTIONS[usize::from(requests)];
        let pool: Vec<_> = SAMPLES
            .iter()
            .filter(|sample| sample.direction == direction)
            .collect();
        let mut bytes: Vec<u8> = picks
            .iter()
            .flat_map(|pick| pick.get(&pool).bytes.clone())
            .collect();
        for (at, value, how) in changes {
            // Most of what matters stands in front.
            let at = if how == 3 {
                at.index(bytes.len())
            } else {
                at.index(bytes.len().min(80))
            };
            match how {
                0 => bytes.insert(at, value),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes[at] ^= 1 << (value % 8),
                _ => bytes[at] = value,
            }
        }
        (direction, bytes)
    })
}

/// Everything that is called for a frame, on frames that may be nonsense.
fn use_frame(frame: &Frame, bytes: &[u8]) {
    let thrift = Thrift::new();
    let head = &bytes[..frame.head_len];
    let mut count = 0;
    thrift.attributes(frame, head, &mut |_, _| count += 1);
    let mut to = meltemi_codec::ReplyTo::default();
    thrift.reply_to(frame, head, &mut to);
    let mut out = Vec::new();
    let error = meltemi_codec::LocalError {
        kind: meltemi_codec::ErrorKind::Timeout,
        message: "late",
    };
    thrift.error_reply(&to, &error, &mut out);
    let Some(bytes) = bytes.get(..frame.len) else {
        return;
    };
    out.clear();
    thrift.encode(frame, bytes, &Edit::default(), &mut out);
    assert_eq!(out, bytes, "without an edit nothing changes");
}

fn check(direction: Direction, bytes: &[u8]) {
    let (whole, whole_end) = frames(direction, bytes, bytes.len().max(1));
    let mut start = 0;
    for (end, frame) in &whole {
        use_frame(frame, &bytes[start..]);
        start = *end;
    }
    let (pieces, pieces_end) = frames(direction, bytes, 1);
    // What comes later can only be refused later: byte by byte, frames before it may be given out first.
    assert_eq!(
        format!("{whole:?}"),
        format!("{:?}", &pieces[..whole.len()])
    );
    if whole_end.is_ok() {
        assert_eq!(pieces.len(), whole.len());
        assert_eq!(pieces_end, whole_end);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for direction in DIRECTIONS {
            check(direction, &bytes);
        }
    }

    #[test]
    fn mutated_messages_decode_or_are_refused_the_same_in_every_split((direction, bytes) in mutated()) {
        check(direction, &bytes);
    }

    #[test]
    fn an_edited_message_is_read_as_it_was_edited(
        (direction, bytes) in mutated(),
        message in 0u64..=0x7fff_ffff,
        header in any::<u32>(),
        set in prop::collection::vec(("[a-zA-Z0-9_-]{1,12}", "[ -~]{0,20}"), 0..3),
        remove in prop::collection::vec("[a-zA-Z0-9_-]{1,12}|x-lane|isn|22", 0..3),
    ) {
        let thrift = Thrift::new();
        let (found, _) = frames(direction, &bytes, bytes.len().max(1));
        let mut start = 0;
        for (end, frame) in found {
            let Some(one) = bytes.get(start..end).filter(|_| frame.rewritable) else { break };
            start = end;
            let set: Vec<(&str, &str)> = set.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
            let ids = Ids { message, header: u64::from(header) };
            let mut out = Vec::new();
            thrift.encode(&frame, one, &Edit { ids: Some(ids), set: &set, remove: &remove, scrub: None }, &mut out);
            let (again, again_end) = frames(direction, &out, out.len());
            prop_assert_eq!(again_end, Ok(()));
            prop_assert_eq!(again.len(), 1);
            let (len, after) = &again[0];
            prop_assert_eq!(*len, out.len());
            prop_assert_eq!(after.ids.message, message);
            prop_assert_eq!(&out[after.head_len..], &one[frame.head_len..]);
            prop_assert_eq!((after.kind, after.format), (frame.kind, frame.format));
            if thrift.can_edit_attributes(frame.format) {
                prop_assert_eq!(after.ids.header, u64::from(header));
                for (name, _) in &set {
                    let name = name.to_lowercase();
                    if name == "method" || name == "service" { continue; }
                    // Of names that mean the same, the last that was set holds.
                    let found = thrift.attribute(after, &out, &name);
                    prop_assert!(set.iter().any(|(_, value)| Some(value.as_bytes()) == found), "{}", name);
                }
            }
        }
    }
}
