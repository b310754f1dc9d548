//! Nothing is allocated for a frame: reading, looking up and writing reuse what is there.
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::thrift::Thrift;
use meltemi_codec::{Decoder, Direction, Edit, Format, Ids, Limits, Protocol, ReplyTo};
use serde_json::Value;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; the counter is a plain cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn requests(file: &str) -> Vec<Vec<u8>> {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/");
    let text = std::fs::read_to_string(format!("{golden}{file}")).expect("the golden messages");
    let values = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let requests =
        values.filter(|value| value["direction"] == "request" && value["rewritable"] != false);
    let hex = |value: Value| -> Vec<u8> {
        let text = value["hex"].as_str().expect("hex").to_owned();
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
            .collect()
    };
    requests.map(hex).collect()
}

/// Reads a message that comes byte by byte; of a frame, the body is shown.
fn pass(decoder: &mut dyn Decoder, bytes: &[u8]) {
    let mut found = false;
    for end in 1..=bytes.len() {
        if found {
            let checked = decoder.body(&bytes[end - 1..end], bytes.len() - end);
            checked.expect("one message");
        } else {
            found = decoder.decode(&bytes[..end]).expect("a message").is_some();
        }
    }
    assert!(found);
}

#[test]
fn a_frame_allocates_nothing_once_the_buffers_are_there() {
    let thrift = Thrift::new();
    let (mut out, mut to) = (Vec::with_capacity(1 << 20), ReplyTo::default());
    for bytes in requests("messages.jsonl") {
        let mut decoder = thrift.decoder(Direction::Request, Format::DETECT, Limits::default());
        let mut counts = [0; 2];
        for count in &mut counts {
            let before = ALLOCATIONS.get();
            let frame = decoder
                .decode(&bytes)
                .expect("a message")
                .expect("all of it");
            for name in ["method", "service", "x-lane", "to_service", "22", "absent"] {
                thrift.attribute(&frame, &bytes, name);
            }
            thrift.reply_to(&frame, &bytes, &mut to);
            out.clear();
            let edit = Edit {
                ids: Some(Ids {
                    message: 9,
                    header: 9,
                }),
                set: &[("x-lane", "b")],
                remove: &["22"],
                scrub: None,
            };
            thrift.encode(&frame, &bytes, &edit, &mut out);
            pass(&mut *decoder, &bytes);
            *count = ALLOCATIONS.get() - before;
        }
        assert_eq!(
            counts[1], 0,
            "the first frame of a connection took {}",
            counts[0]
        );
    }
}

#[test]
fn a_dubbo_frame_allocates_nothing_once_the_buffers_are_there() {
    let dubbo = Dubbo::new();
    let (mut out, mut to) = (Vec::with_capacity(1 << 20), ReplyTo::default());
    // Attachments that are objects are the exception: what to step over is found out anew.
    for bytes in requests("dubbo/frames.jsonl").iter().take(14) {
        let mut decoder = dubbo.decoder(Direction::Request, Format::DETECT, Limits::default());
        let mut counts = [0; 2];
        for count in &mut counts {
            let before = ALLOCATIONS.get();
            let frame = decoder
                .decode(bytes)
                .expect("a message")
                .expect("all of it");
            for name in ["method", "interface", "version", "group", "absent"] {
                dubbo.attribute(&frame, bytes, name);
            }
            dubbo.reply_to(&frame, bytes, &mut to);
            out.clear();
            let ids = Some(Ids {
                message: 9,
                header: 0,
            });
            let edit = Edit {
                ids,
                set: &[("x-lane", "b"), ("group", "c")],
                remove: &["path"],
                scrub: None,
            };
            dubbo.encode(&frame, bytes, &edit, &mut out);
            *count = ALLOCATIONS.get() - before;
        }
        assert_eq!(
            counts[1], 0,
            "the first frame of a connection took {}",
            counts[0]
        );
    }
}
