//! What others wrote is read as they meant it.

use meltemi_codec::Protocol;
use meltemi_codec::thrift::Thrift;

use crate::sample::{SAMPLES, kind_of, named, only_frame};

#[test]
fn every_golden_message_is_read_as_it_was_meant() {
    assert!(SAMPLES.len() > 90, "the golden messages are there");
    for sample in SAMPLES.iter() {
        let frame = only_frame(sample.direction, &sample.bytes);
        let names = Thrift::format_names(frame.format).expect("a format");
        assert_eq!(
            format!("{} {}", names.0, names.1),
            sample.format,
            "{}",
            sample.name
        );
        assert_eq!(
            (frame.kind, frame.status),
            kind_of(&sample.kind),
            "{}",
            sample.name
        );
        assert_eq!(frame.ids, sample.ids, "{}", sample.name);
        assert_eq!(frame.rewritable, sample.rewritable, "{}", sample.name);
        assert_eq!(frame.any_order, sample.any_order, "{}", sample.name);
        let head = &sample.bytes[..frame.head_len];
        let thrift = Thrift::new();
        let attribute = |name: &str| {
            thrift
                .attribute(&frame, head, name)
                .map(|value| String::from_utf8(value.to_vec()).expect("text"))
        };
        assert_eq!(attribute("method"), sample.method, "{}", sample.name);
        assert_eq!(attribute("service"), sample.service, "{}", sample.name);
        for (name, value) in &sample.attributes {
            assert_eq!(
                attribute(name).as_ref(),
                Some(value),
                "{} {name}",
                sample.name
            );
        }
        assert_eq!(attribute("no-such-header"), None);
    }
}

#[test]
fn every_attribute_is_shown_once_by_the_name_that_it_is_found_by() {
    for sample in SAMPLES.iter() {
        let frame = only_frame(sample.direction, &sample.bytes);
        let head = &sample.bytes[..frame.head_len];
        let mut shown = Vec::new();
        Thrift::new().attributes(&frame, head, &mut |name, value| {
            shown.push((name.to_vec(), value.to_vec()))
        });
        for (name, value) in &shown {
            let name = String::from_utf8(name.clone())
                .expect("text")
                .to_lowercase();
            assert_eq!(
                Thrift::new().attribute(&frame, head, &name),
                Some(&value[..]),
                "{} {name}",
                sample.name
            );
        }
        let own = usize::from(sample.method.is_some()) + usize::from(sample.service.is_some());
        assert!(
            shown.len() >= own + sample.attributes.len().min(2),
            "{}",
            sample.name
        );
    }
}

#[test]
fn a_header_does_not_hide_the_method_and_the_case_of_names_does_not_matter() {
    let sample = named("ttheader-worked-example");
    let frame = only_frame(sample.direction, &sample.bytes);
    let attribute = |name| Thrift::new().attribute(&frame, &sample.bytes, name);
    assert_eq!(attribute("method"), Some(&b"ReviewProduct"[..]));
    assert_eq!(attribute("rpc_transit_baggage"), Some(&b"env=dev"[..]));
    for name in ["6", "toservice", "to_service", "to-service"] {
        assert_eq!(attribute(name), Some(&b"reviews"[..]), "{name}");
    }
}

#[test]
fn messages_on_one_connection_are_found_one_after_the_other() {
    for sample in SAMPLES.iter() {
        let mut stream = sample.bytes.clone();
        stream.extend_from_slice(&sample.bytes);
        stream.extend_from_slice(&sample.bytes);
        let (frames, end) = crate::sample::frames(sample.direction, &stream, stream.len());
        assert_eq!(end, Ok(()));
        let ends: Vec<usize> = frames.iter().map(|(end, _)| *end).collect();
        let len = sample.bytes.len();
        assert_eq!(ends, [len, 2 * len, 3 * len], "{}", sample.name);
    }
}
