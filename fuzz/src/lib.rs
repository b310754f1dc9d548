//! What the fuzz targets share: all frames of a stream, and everything that is called for one.

use meltemi_codec::{
    DecodeError, Direction, Edit, ErrorKind, Format, Found, Frame, Limits, LocalError, Protocol,
    ReplyTo, Scrub, Scrubbed,
};

/// Small enough that a fuzzer reaches each of them.
const LIMITS: Limits = Limits {
    max_frame_bytes: 1 << 16,
    max_depth: 16,
    max_elements: 1 << 10,
};

/// All frames of `bytes`, each with where it ends, and what ended them. `piece` gives the size of
/// each next piece of bytes; a piece has at least one. A frame that turns out to hold something else than
/// one message is none.
pub fn frames(
    protocol: &dyn Protocol,
    direction: Direction,
    bytes: &[u8],
    mut piece: impl FnMut() -> usize,
) -> (Vec<(usize, Frame)>, Result<(), DecodeError>) {
    let mut decoder = protocol.decoder(direction, Format::DETECT, LIMITS);
    let (mut found, mut start, mut given) = (Vec::new(), 0, 0);
    loop {
        match decoder.decode(&bytes[start..given]) {
            Err(error) => return (found, Err(error)),
            Ok(Some(frame)) => {
                assert!(frame.head_len <= given - start && frame.head_len <= frame.len);
                assert!(frame.len <= LIMITS.max_frame_bytes);
                start += frame.len;
                while given < start.min(bytes.len()) {
                    let end = given
                        .saturating_add(piece().max(1))
                        .min(start)
                        .min(bytes.len());
                    if let Err(error) = decoder.body(&bytes[given..end], start - end) {
                        return (found, Err(error));
                    }
                    given = end;
                }
                found.push((start, frame));
                if start > bytes.len() {
                    return (found, Ok(()));
                }
            }
            Ok(None) if given == bytes.len() => return (found, Ok(())),
            Ok(None) => given = given.saturating_add(piece().max(1)).min(bytes.len()),
        }
    }
}

/// Takes out what begins with `x`, and `a` out of every value.
#[derive(Debug)]
struct Secret;

impl Scrub for Secret {
    fn scrub(&self, name: &[u8], value: Option<&[u8]>) -> Scrubbed {
        match value {
            _ if name
                .first()
                .is_some_and(|byte| byte.eq_ignore_ascii_case(&b'x')) =>
            {
                Scrubbed::Gone
            }
            Some(value) if value.contains(&b'a') => {
                Scrubbed::Less(value.iter().copied().filter(|byte| *byte != b'a').collect())
            }
            _ => Scrubbed::Same,
        }
    }
}

/// What is found in the request that `bytes` are of what was taken out of it; None where nothing
/// could be. A frame that holds nothing of it stays as it was.
pub fn scrubbed(protocol: &dyn Protocol, frame: &Frame, bytes: &[u8]) -> Option<Found> {
    let edit = Edit {
        scrub: Some(&Secret),
        ..Edit::default()
    };
    let before = protocol.find(frame, bytes, &Secret);
    let mut out = Vec::new();
    if before == Found::Unknown || !protocol.encode(frame, bytes, &edit, &mut out) {
        return None;
    }
    let after = protocol
        .decoder(Direction::Request, frame.format, LIMITS)
        .decode(&out)
        .expect("what we wrote")
        .expect("all of it");
    assert_eq!((after.len, after.kind), (out.len(), frame.kind));
    assert_eq!(out[after.head_len..], bytes[frame.head_len..]);
    Some(protocol.find(&after, &out, &Secret))
}

/// Reads and answers the frame that `bytes` starts with; without an edit it stays as it is.
pub fn use_frame(protocol: &dyn Protocol, direction: Direction, frame: &Frame, bytes: &[u8]) {
    let head = &bytes[..frame.head_len];
    protocol.attributes(frame, head, &mut |name, value| {
        assert!(name.len() + value.len() <= head.len() + 32);
    });
    for name in [
        "method",
        "service",
        "interface",
        "version",
        "x-lane",
        "to_service",
        "22",
    ] {
        protocol.attribute(frame, head, name);
    }
    let mut to = ReplyTo::default();
    protocol.reply_to(frame, head, &mut to);
    let mut out = Vec::new();
    protocol.error_reply(
        &to,
        &LocalError {
            kind: ErrorKind::Timeout,
            message: "late",
        },
        &mut out,
    );
    if direction == Direction::Request {
        let limits = Limits::default();
        let answer = protocol
            .decoder(Direction::Response, frame.format, limits)
            .decode(&out);
        let answer = answer.expect("our answer").expect("all of it");
        assert_eq!((answer.len, answer.ids), (out.len(), frame.ids));
    }
    if let Some(whole) = bytes.get(..frame.len) {
        out.clear();
        protocol.encode(frame, whole, &Edit::default(), &mut out);
        assert_eq!(out, whole);
    }
}

/// Reads all frames of `bytes` and uses each.
pub fn use_all(protocol: &dyn Protocol, direction: Direction, bytes: &[u8]) {
    let (found, _) = frames(protocol, direction, bytes, || usize::MAX / 2);
    let mut start = 0;
    for (end, frame) in found {
        use_frame(protocol, direction, &frame, &bytes[start..]);
        start = end;
    }
}

/// Requests are the same frames whether they come whole or in pieces, which the first byte chooses.
pub fn read_in_pieces(protocol: &dyn Protocol, input: &[u8]) {
    let Some((&seed, bytes)) = input.split_first() else {
        return;
    };
    let (whole, whole_end) = frames(protocol, Direction::Request, bytes, || usize::MAX / 2);
    let mut state = u32::from(seed);
    let (pieces, pieces_end) = frames(protocol, Direction::Request, bytes, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 28) as usize
    });
    for ((end, frame), (other_end, other)) in whole.iter().zip(&pieces) {
        assert_eq!(end, other_end);
        assert_eq!(format!("{frame:?}"), format!("{other:?}"));
    }
    assert_eq!((pieces.len(), pieces_end), (whole.len(), whole_end));
}
