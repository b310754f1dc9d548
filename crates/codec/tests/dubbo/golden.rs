//! What others wrote is read as they meant it, however the bytes arrive.

use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::{Direction, Format, Limits, Protocol};

use crate::sample::{SAMPLES, frames, named, only_frame};

#[test]
fn every_golden_frame_is_read_as_it_was_meant() {
    assert!(SAMPLES.len() > 240, "the golden frames are there");
    for sample in SAMPLES.iter() {
        let name = &sample.name;
        let frame = only_frame(sample.direction, &sample.bytes);
        assert_eq!((frame.kind, frame.status), sample.kind, "{name}");
        assert_eq!(
            (frame.ids.message, frame.ids.header),
            (sample.id, 0),
            "{name}"
        );
        assert_eq!(Dubbo::serialization(frame.format), Some(2), "{name}");
        assert!(frame.rewritable && frame.any_order, "{name}");
        if sample.method.is_none() {
            continue;
        }
        let head = &sample.bytes[..frame.head_len];
        let attribute = |attribute: &str| Dubbo::new().attribute(&frame, head, attribute);
        let own = |value: &Option<String>| value.clone().map(String::into_bytes);
        assert_eq!(
            attribute("method").map(<[u8]>::to_vec),
            own(&sample.method),
            "{name}"
        );
        assert_eq!(
            attribute("interface").map(<[u8]>::to_vec),
            own(&sample.interface),
            "{name}"
        );
        assert_eq!(
            attribute("version").map(<[u8]>::to_vec),
            own(&sample.version),
            "{name}"
        );
        for (key, value) in &sample.attributes {
            assert_eq!(
                attribute(&key.to_lowercase()),
                Some(&value[..]),
                "{name} {key}"
            );
        }
        assert_eq!(attribute("no-such-attachment"), None);
        let mut shown = std::collections::BTreeMap::new();
        Dubbo::new().attributes(&frame, head, &mut |key, value| {
            let key = String::from_utf8(key.to_vec()).expect("text");
            assert!(shown.insert(key, value.to_vec()).is_none(), "{name}: twice");
        });
        for (key, value) in &sample.attributes {
            assert_eq!(shown.get(key), Some(value), "{name} {key}");
        }
        let own = ["interface", "method", "version"];
        let more = shown
            .keys()
            .filter(|key| !sample.attributes.contains_key(*key));
        assert!(
            more.clone().all(|key| own.contains(&&key[..])),
            "{name} {shown:?}"
        );
    }
}

#[test]
fn the_same_frame_is_read_however_the_bytes_are_split_in_two() {
    for sample in SAMPLES.iter() {
        let whole = format!("{:?}", only_frame(sample.direction, &sample.bytes));
        let head_len = only_frame(sample.direction, &sample.bytes).head_len;
        for cut in 0..sample.bytes.len() {
            let mut decoder =
                Dubbo::new().decoder(sample.direction, Format::DETECT, Limits::default());
            let early = decoder.decode(&sample.bytes[..cut]).expect("a part of it");
            assert_eq!(early.is_some(), cut >= head_len, "{} {cut}", sample.name);
            let frame = early.or_else(|| decoder.decode(&sample.bytes).expect("a frame"));
            assert_eq!(
                format!("{:?}", frame.expect("all of it")),
                whole,
                "{} {cut}",
                sample.name
            );
        }
    }
}

#[test]
fn frames_on_one_connection_are_found_one_after_the_other_in_small_pieces() {
    for direction in [Direction::Request, Direction::Response] {
        let all = || {
            SAMPLES
                .iter()
                .filter(move |sample| sample.direction == direction)
        };
        let stream: Vec<u8> = all().flat_map(|sample| sample.bytes.clone()).collect();
        let (whole, end) = frames(direction, &stream, stream.len());
        assert_eq!((whole.len(), end), (all().count(), Ok(())));
        for piece in [1, 7, 1000] {
            let (pieces, end) = frames(direction, &stream, piece);
            assert_eq!(end, Ok(()));
            assert_eq!(format!("{pieces:?}"), format!("{whole:?}"), "{piece}");
        }
    }
}

#[test]
fn a_reply_is_given_out_before_its_body_has_come() {
    let large = named("dubbo-reply-large-attachments");
    assert_eq!(only_frame(large.direction, &large.bytes).head_len, 17);
    let error = named("dubbo-reply-status-80");
    assert_eq!(only_frame(error.direction, &error.bytes).head_len, 16);
}
