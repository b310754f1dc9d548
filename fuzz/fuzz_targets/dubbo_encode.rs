//! What was written with another id and other attachments is read with these, and else as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::{Direction, Edit, Ids, Protocol};
use meltemi_fuzz::{frames, scrubbed};

const SET: [(&str, &str); 3] = [("x-lane", "gray"), ("group", "blue"), ("Trace-Id", "")];

fuzz_target!(|input: &[u8]| {
    let Some((id, bytes)) = input.split_first_chunk::<4>() else {
        return;
    };
    let id = u64::from(u32::from_be_bytes(*id));
    let dubbo = Dubbo::new();
    let mut start = 0;
    for (end, frame) in frames(&dubbo, Direction::Request, bytes, || usize::MAX / 2).0 {
        let Some(one) = bytes.get(start..end) else {
            return;
        };
        start = end;
        // What others refer to may have to stay; then it is said to be there.
        scrubbed(&dubbo, &frame, one);
        let edit = Edit {
            ids: Some(Ids {
                message: id,
                header: 0,
            }),
            set: &SET[..(id % 4) as usize],
            remove: &["lane", "path"],
            scrub: None,
        };
        let mut out = Vec::new();
        dubbo.encode(&frame, one, &edit, &mut out);
        let decoded = dubbo
            .decoder(Direction::Request, frame.format, Default::default())
            .decode(&out)
            .expect("what we wrote")
            .expect("all of it");
        assert_eq!((decoded.len, decoded.ids.message), (out.len(), id));
        assert_eq!((decoded.kind, decoded.format), (frame.kind, frame.format));
        let arguments = frame.spans[2].start as usize;
        if arguments == 0 {
            continue;
        }
        assert_eq!(out[16..arguments], one[16..arguments], "the arguments stay");
        for name in ["method", "interface"] {
            assert_eq!(
                dubbo.attribute(&decoded, &out, name),
                dubbo.attribute(&frame, one, name)
            );
        }
        for (name, value) in edit.set {
            let found = dubbo.attribute(&decoded, &out, &name.to_lowercase());
            assert_eq!(found, Some(value.as_bytes()), "{name}");
        }
    }
});
