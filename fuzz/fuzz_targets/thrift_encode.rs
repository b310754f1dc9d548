//! What was written with other ids and headers is read with these, and else as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_codec::thrift::Thrift;
use meltemi_codec::{Direction, Edit, Found, Ids, Protocol};
use meltemi_fuzz::{frames, scrubbed};

const SET: [(&str, &str); 3] = [
    ("x-lane", "gray"),
    ("to_service", "reviews"),
    ("Trace-Id", ""),
];

fuzz_target!(|input: &[u8]| {
    let Some((id, bytes)) = input.split_first_chunk::<4>() else {
        return;
    };
    let id = u64::from(u32::from_be_bytes(*id) >> 1);
    let thrift = Thrift::new();
    let mut start = 0;
    for (end, frame) in frames(&Thrift::new(), Direction::Request, bytes, || usize::MAX / 2).0 {
        let Some(one) = bytes.get(start..end) else {
            return;
        };
        start = end;
        if !frame.rewritable {
            continue;
        }
        if let Some(left) = scrubbed(&thrift, &frame, one) {
            assert_eq!(left, Found::Nothing);
        }
        let ids = Ids {
            message: id,
            header: id ^ 1,
        };
        let mut out = Vec::new();
        let edit = Edit {
            ids: Some(ids),
            set: &SET[..(id % 4) as usize],
            remove: &["22", "isn"],
            scrub: None,
        };
        thrift.encode(&frame, one, &edit, &mut out);
        let decoded = thrift
            .decoder(Direction::Request, frame.format, Default::default())
            .decode(&out)
            .expect("what we wrote")
            .expect("all of it");
        assert_eq!((decoded.len, decoded.ids.message), (out.len(), id));
        assert_eq!((decoded.kind, decoded.format), (frame.kind, frame.format));
        assert_eq!(&out[decoded.head_len..], &one[frame.head_len..]);
        for name in ["method", "service"] {
            assert_eq!(
                thrift.attribute(&decoded, &out, name),
                thrift.attribute(&frame, one, name)
            );
        }
        if thrift.can_edit_attributes(frame.format) {
            assert_eq!(decoded.ids.header, id ^ 1);
            for (name, value) in edit.set {
                let found = thrift.attribute(&decoded, &out, &name.to_lowercase());
                assert_eq!(found, Some(value.as_bytes()), "{name}");
            }
            assert_eq!(thrift.attribute(&decoded, &out, "isn"), None);
        }
    }
});
