//! A frame holds one message and nothing else, which is found out as its bytes pass.

use meltemi_codec::thrift::Thrift;
use meltemi_codec::{DecodeError, Direction, Format, Frame, Limits, Protocol};
use proptest::prelude::*;

use crate::sample::{SAMPLES, Sample, decoder, named, unhex};

/// Framed, and behind each header with and without a length of its own.
const FRAMED: [&str; 4] = [
    "apache-framed-strict-call-everything",
    "apache-framed-compact-call-everything",
    "apache-theader-compact-call-sayHello",
    "ttheaderframed-compact-call-sayHello",
];

/// Writes the length of `bytes` where their frame, and the message in it, declare one.
fn set_lengths(sample: &Sample, bytes: &mut [u8]) {
    let set = |bytes: &mut [u8], at: usize| {
        let len = bytes.len().saturating_sub(at + 4) as u32;
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&len.to_be_bytes());
        }
    };
    set(bytes, 0);
    if sample.format.contains("headerframed") {
        let words = u16::from_be_bytes([sample.bytes[12], sample.bytes[13]]);
        set(bytes, 14 + usize::from(words) * 4);
    }
}

/// What is said of the frame that `bytes` are, with all of it there.
fn whole(bytes: &[u8]) -> Result<Option<Frame>, DecodeError> {
    decoder(Direction::Request).decode(bytes)
}

/// What is said of it when it comes in pieces of these sizes, over and over. With `again`, what came
/// before is shown once more with each piece.
fn passing(bytes: &[u8], pieces: &[usize], again: bool) -> Result<Option<Frame>, DecodeError> {
    let mut decoder = decoder(Direction::Request);
    let (mut found, mut given) = (None, 0);
    for size in pieces.iter().cycle() {
        let end = (given + size).min(bytes.len());
        if found.is_some() {
            let from = if again { 0 } else { given };
            decoder.body(&bytes[from..end], bytes.len() - end)?;
        } else {
            found = decoder.decode(&bytes[..end])?;
        }
        given = end;
        if given == bytes.len() {
            return Ok(found);
        }
    }
    unreachable!("there are pieces")
}

#[test]
fn the_longest_head_of_a_value_passes_in_every_piece_size() {
    let mut bytes = unhex("00000000822101026869");
    bytes.push(0x06); // a number, whose id follows
    for _ in 0..2 {
        bytes.extend_from_slice(&[0x80; 9]);
        bytes.push(0x01);
    }
    bytes.push(0);
    let len = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    assert!(whole(&bytes).is_ok_and(|frame| frame.is_some()));
    for size in 1..40 {
        let frame = passing(&bytes, &[size], false).expect("one message");
        assert_eq!(frame.map(|frame| frame.len), Some(bytes.len()));
    }
}

#[test]
fn a_frame_of_one_message_passes_in_every_piece_size() {
    for sample in SAMPLES
        .iter()
        .filter(|sample| sample.direction == Direction::Request)
    {
        if sample.format.starts_with("unframed") {
            continue;
        }
        for size in 1..40 {
            let frame = passing(&sample.bytes, &[size], false).expect("one message");
            assert_eq!(
                frame.map(|frame| frame.len),
                Some(sample.bytes.len()),
                "{}",
                sample.name
            );
        }
    }
}

#[test]
fn a_second_message_in_a_frame_is_refused() {
    for name in FRAMED {
        let sample = named(name);
        let encoding = if name.contains("compact") {
            "compact"
        } else {
            "strict"
        };
        let second = named(&format!("apache-unframed-{encoding}-call-sayHello"));
        let mut bytes = [&sample.bytes[..], &second.bytes].concat();
        set_lengths(sample, &mut bytes);
        let refusal = DecodeError::Invalid {
            at: sample.bytes.len(),
            reason: "bytes behind the message in its frame",
        };
        assert_eq!(whole(&bytes).expect_err(name), refusal);
        for size in 1..bytes.len() {
            assert_eq!(
                passing(&bytes, &[size], false).expect_err(name),
                refusal,
                "{size}"
            );
        }
    }
}

#[test]
fn the_first_byte_behind_the_message_is_where_it_is_refused() {
    let sample = named("apache-framed-strict-call-everything");
    let mut bytes = [&sample.bytes[..], &[0; 100]].concat();
    set_lengths(sample, &mut bytes);
    let mut decoder = decoder(Direction::Request);
    let head = decoder
        .decode(&bytes[..40])
        .expect("a head")
        .expect("all of it");
    assert_eq!(head.len, bytes.len());
    // The stop of the arguments ends the message; that the frame goes on is known by then.
    let end = sample.bytes.len();
    assert_eq!(
        decoder.body(&bytes[40..end - 1], bytes.len() - end + 1),
        Ok(())
    );
    assert!(
        decoder
            .body(&bytes[end - 1..end], bytes.len() - end)
            .is_err()
    );
}

#[test]
fn a_message_that_its_frame_ends_in_is_refused() {
    for name in FRAMED {
        let sample = named(name);
        for cut in 1..4 {
            let mut bytes = sample.bytes[..sample.bytes.len() - cut].to_vec();
            set_lengths(sample, &mut bytes);
            for size in 1..bytes.len() {
                assert!(
                    passing(&bytes, &[size], false).is_err(),
                    "{name} {cut} {size}"
                );
            }
            assert!(whole(&bytes).is_err(), "{name} {cut}");
        }
    }
}

#[test]
fn a_text_longer_than_the_frame_is_refused_on_its_length() {
    let head = unhex("00010000 80010001 00000001 61 00000000");
    let bytes = [&head[..], &unhex("0b0001 00010000")].concat();
    let mut decoder = decoder(Direction::Request);
    let frame = decoder.decode(&head).expect("a head").expect("all of it");
    let left = frame.len - bytes.len();
    assert!(decoder.body(&bytes[head.len()..], left).is_err());
}

#[test]
fn bytes_that_were_left_out_are_noticed() {
    let bytes = &named("apache-framed-strict-call-everything").bytes;
    let mut decoder = decoder(Direction::Request);
    assert!(decoder.decode(&bytes[..40]).expect("a head").is_some());
    assert!(decoder.body(&bytes[41..60], bytes.len() - 60).is_err());
}

#[test]
fn a_reply_is_not_checked() {
    let sample = named("apache-framed-strict-reply-sayHello");
    let mut bytes = [&sample.bytes[..], &[0xff; 30]].concat();
    set_lengths(sample, &mut bytes);
    let mut decoder = decoder(Direction::Response);
    assert!(decoder.decode(&bytes[..40]).expect("a head").is_some());
    assert_eq!(decoder.body(&bytes[40..], 0), Ok(()));
}

#[test]
fn a_long_list_in_a_frame_is_limited_by_its_bytes_only() {
    let limits = Limits {
        max_elements: 10,
        ..Limits::default()
    };
    let mut bytes = unhex("00000000 80010001 00000001 61 00000000 0f0001 08 00000064");
    bytes.extend_from_slice(&[7; 401]);
    *bytes.last_mut().expect("bytes") = 0;
    let len = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    let mut decoder = Thrift::new().decoder(Direction::Request, Format::DETECT, limits);
    assert!(decoder.decode(&bytes).expect("a message").is_some());
}

/// Bytes that are likely to mean something: types, small lengths, continued varints, stops.
const TELLING: [u8; 26] = [
    0, 0, 0, 1, 2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 15, 16, 0x15, 0x18, 0x19, 0x1b, 0x1c, 0x80,
    0x81, 0xf5, 0xff, 0x7f,
];

/// A frame whose length is right, and whose body may be anything: the rest of a message, mutated, with
/// telling bytes in it, and perhaps another message behind it.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let pool: Vec<_> = SAMPLES
        .iter()
        .filter(|sample| {
            sample.direction == Direction::Request && !sample.format.starts_with("unframed")
        })
        .collect();
    let telling = prop::collection::vec(prop::sample::select(&TELLING[..]), 0..24);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..3);
    let picks = (prop::sample::select(pool), any::<prop::sample::Index>());
    (picks, telling, changes, any::<bool>()).prop_map(|((sample, cut), telling, changes, two)| {
        let mut bytes = sample.bytes.clone();
        let head = whole(&bytes)
            .expect("a message")
            .expect("all of it")
            .head_len;
        if !telling.is_empty() {
            bytes.truncate(head + cut.index(bytes.len() - head));
            bytes.extend_from_slice(&telling);
        }
        if two {
            bytes.extend_from_slice(&sample.bytes[4..]);
        }
        for (at, value, how) in changes {
            let at = head + at.index(bytes.len() - head);
            match how {
                0 => bytes.insert(at, value),
                1 if bytes.len() > head + 1 => drop(bytes.remove(at)),
                2 => bytes[at] ^= 1 << (value % 8),
                _ => bytes[at] = TELLING[usize::from(value) % TELLING.len()],
            }
            if bytes.len() == head {
                bytes.push(0);
            }
        }
        set_lengths(sample, &mut bytes);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_body_is_judged_the_same_in_every_split(
        bytes in frame(),
        pieces in prop::collection::vec(prop_oneof![1usize..4, 1usize..40], 1..6),
        again in any::<bool>(),
    ) {
        prop_assert_eq!(
            format!("{:?}", whole(&bytes)),
            format!("{:?}", passing(&bytes, &pieces, again))
        );
    }
}
