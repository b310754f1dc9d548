//! How the bytes arrive changes nothing.

use meltemi_codec::{Frame, Limits, Protocol, thrift::Thrift};

use crate::sample::{SAMPLES, decoder, frames, named, only_frame};

fn same(one: &Frame, other: &Frame) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

#[test]
fn the_same_frame_is_read_however_the_bytes_are_split_in_two() {
    for sample in SAMPLES.iter() {
        let whole = only_frame(sample.direction, &sample.bytes);
        for cut in 0..sample.bytes.len() {
            let mut decoder = decoder(sample.direction);
            let early = decoder
                .decode(&sample.bytes[..cut])
                .expect("a part of a message");
            let framed = !sample.format.starts_with("unframed");
            match early {
                Some(frame) => {
                    assert!(
                        framed,
                        "{}: an unframed message cannot end at {cut}",
                        sample.name
                    );
                    assert!(
                        frame.head_len <= cut && same(&frame, &whole),
                        "{} {cut}",
                        sample.name
                    );
                }
                None => {
                    assert!(
                        !framed || cut < whole.head_len,
                        "{} {cut}: the head is there",
                        sample.name
                    );
                    let frame = decoder
                        .decode(&sample.bytes)
                        .expect("a message")
                        .expect("all of it");
                    assert!(same(&frame, &whole), "{} {cut}", sample.name);
                }
            }
        }
    }
}

#[test]
fn the_same_frames_are_read_byte_by_byte_and_in_small_pieces() {
    for sample in SAMPLES.iter() {
        let stream = [&sample.bytes[..], &sample.bytes[..]].concat();
        let (whole, _) = frames(sample.direction, &stream, stream.len());
        for piece in [1, 2, 3, 7] {
            let (pieces, end) = frames(sample.direction, &stream, piece);
            assert_eq!(end, Ok(()));
            assert_eq!(pieces.len(), whole.len());
            for ((end, frame), (whole_end, whole)) in pieces.iter().zip(&whole) {
                assert!(
                    end == whole_end && same(frame, whole),
                    "{} {piece}",
                    sample.name
                );
            }
        }
    }
}

#[test]
fn a_framed_message_is_given_out_before_its_body_has_come() {
    let sample = named("apache-framed-strict-call-everything");
    let frame = only_frame(sample.direction, &sample.bytes);
    assert_eq!(frame.head_len, 4 + 4 + 4 + "everything".len() + 4);
    let early = decoder(sample.direction).decode(&sample.bytes[..frame.head_len]);
    assert!(
        early
            .expect("a head")
            .is_some_and(|early| early.len == sample.bytes.len())
    );
}

#[test]
fn a_response_decoder_reads_in_the_format_of_the_request_from_the_first_byte() {
    for sample in SAMPLES.iter() {
        let format = only_frame(sample.direction, &sample.bytes).format;
        let mut decoder = Thrift::new().decoder(sample.direction, format, Limits::default());
        let frame = decoder
            .decode(&sample.bytes)
            .expect("a message")
            .expect("all of it");
        assert_eq!((frame.len, frame.format), (sample.bytes.len(), format));
    }
}

#[test]
fn a_strict_answer_to_a_lax_call_is_read() {
    for transport in ["framed", "unframed"] {
        let asked = named(&format!("apache-{transport}-lax-call-sayHello"));
        let format = only_frame(asked.direction, &asked.bytes).format;
        let answer = named(&format!("apache-{transport}-strict-reply-sayHello"));
        let mut decoder = Thrift::new().decoder(answer.direction, format, Limits::default());
        assert!(decoder.decode(&answer.bytes).expect("a message").is_some());
    }
}
