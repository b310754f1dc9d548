//! Apache Dubbo 2 over TCP: a header of 16 bytes, and a body whose serialization the header names.
//!
//! Of a request in hessian2 the codec reads what routing needs: attributes `interface` (the path), `method`,
//! `version`, and every attachment that is a string, by its name without case; of two of one name the later
//! counts, as it does for a provider. `version` is the attachment of that name where there is one (a provider of
//! Apache Dubbo acts on it), else the body's. A string of several chunks (more than 32,768 characters) is no
//! attribute. Arguments stand before the attachments and are stepped over, whatever they hold, without being built.
//!
//! So a hessian2 request is read when all of it has come, up to [`crate::Limits::max_frame_bytes`]: what decides
//! its route may be its last bytes. A body that cannot be walked is refused: two readers that see different ends
//! of the arguments would see different attachments. Requests in other serializations have what their header
//! says, the attribute `serialization` (`fastjson2`, ...), and no other. They and all replies are given out by
//! their header: a reply whose status is OK and that is written in hessian2 by one byte more, which says whether
//! it holds an exception. An exception inside a reply of another serialization is not seen.
//!
//! An edit of attributes writes the attachments again, entry by entry, and nothing else but the length: an entry
//! that is set goes to the end, under the name given, and takes the place of all entries of that name without
//! case. Objects, lists and maps number themselves and later ones may refer to them by that number; so an entry
//! that holds one stays where it is as long as another such entry stays behind it (where it was to be set, the
//! new entry behind it counts). Attributes of a reply can be edited where it came with attachments (type 3, 4 or
//! 5) and all of it is given: a reply without them answers a consumer that would not read them.
//!
//! An event that wants an answer is a heartbeat; one that wants none (a server that becomes read-only says so) is
//! swallowed, as the answers are. Calls from a provider to its consumer (callback arguments) are refused.
//!
//! An answer of Meltemi's own has the status 60 (service not found) where no route matches, 50 (bad response)
//! where the upstream's answer is none, 31 (server timeout) where none came in time, and 80 (server error) for
//! the rest, rate limits too, as Aeraki's. Apache's consumer takes all but 20, 25, 30 and 31 for one kind of error
//! (`DefaultFuture`), 100 (thread pool exhausted) too: it drops no provider for it. Its reason is a hessian2 string whatever the request was
//! written in: the header of each frame names its own serialization.

mod attachments;
mod decoder;
mod edit;
mod header;
mod hessian;
mod reply;
mod request;

use crate::{
    Correlation, Decoder, Direction, Edit, Format, Found, Frame, Limits, LocalError, Protocol,
    ReplyTo, Scrub,
};

// What the spans of a frame are.
const METHOD: usize = 0;
const INTERFACE: usize = 1;
/// From where the attachments start to the end of the frame; 0 where they were not looked for.
const ATTACHMENTS: usize = 2;
/// No bytes: its `start` is the number of classes that the arguments define.
const CLASSES: usize = 3;

/// The Dubbo protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dubbo;

impl Dubbo {
    /// The Dubbo protocol.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// The number of the serialization (2: hessian2) that a format stands for. None before anything was read.
    #[must_use]
    pub const fn serialization(format: Format) -> Option<u8> {
        header::serialization(format)
    }
}

fn own(name: &str, frame: &Frame) -> Option<usize> {
    let span = match name {
        "method" => METHOD,
        "interface" => INTERFACE,
        _ => return None,
    };
    (!frame.spans[span].is_empty()).then_some(span)
}

impl Protocol for Dubbo {
    fn name(&self) -> &str {
        "dubbo"
    }

    fn correlation(&self) -> Correlation {
        Correlation::Id
    }

    fn default_max_in_flight(&self) -> u32 {
        1024
    }

    fn replies_in_any_order(&self) -> bool {
        true
    }

    fn max_id(&self) -> u64 {
        i64::MAX as u64
    }

    fn can_edit_attributes(&self, format: Format) -> bool {
        Self::serialization(format) == Some(header::HESSIAN2)
    }

    fn decoder(&self, direction: Direction, _format: Format, limits: Limits) -> Box<dyn Decoder> {
        Box::new(decoder::DubboDecoder::new(direction, limits))
    }

    fn attribute<'h>(&self, frame: &Frame, head: &'h [u8], name: &str) -> Option<&'h [u8]> {
        if let Some(span) = own(name, frame) {
            return Some(frame.spans[span].of(head));
        }
        if name == "serialization"
            && let Some(other) = header::other_serialization(frame.format)
        {
            return Some(other.as_bytes());
        }
        let found = attachments::find(frame, head, name);
        if name == "version" {
            return found.or_else(|| request::version(frame, head));
        }
        found
    }

    fn attributes(&self, frame: &Frame, head: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) {
        if let Some(other) = header::other_serialization(frame.format) {
            visit(b"serialization", other.as_bytes());
        }
        for name in ["interface", "method"] {
            if let Some(span) = own(name, frame) {
                visit(name.as_bytes(), frame.spans[span].of(head));
            }
        }
        if attachments::find(frame, head, "version").is_none()
            && let Some(version) = request::version(frame, head)
        {
            visit(b"version", version);
        }
        attachments::visit(frame, head, &mut |name, value| {
            let hidden = std::str::from_utf8(name)
                .is_ok_and(|name| own(&name.to_ascii_lowercase(), frame).is_some());
            if !hidden {
                visit(name, value);
            }
        });
    }

    fn find(&self, frame: &Frame, head: &[u8], scrub: &dyn Scrub) -> Found {
        if Self::serialization(frame.format) != Some(header::HESSIAN2) {
            return Found::Unknown;
        }
        attachments::look(frame, head, scrub)
    }

    fn reply_to(&self, frame: &Frame, head: &[u8], into: &mut ReplyTo) {
        into.format = frame.format;
        into.ids = frame.ids;
        into.method.clear();
        into.method.extend_from_slice(frame.spans[METHOD].of(head));
        into.detail = u64::from(reply::reads_attachments(frame, head));
    }

    fn edit_needs(&self, frame: &Frame) -> usize {
        // A head that is more than the header: there is a body with a place for attachments.
        if frame.head_len > header::HEADER_BYTES {
            frame.len
        } else {
            frame.head_len
        }
    }

    fn takes_reply_attributes(&self, to: &ReplyTo) -> bool {
        to.detail != 0
    }

    fn encode(&self, frame: &Frame, bytes: &[u8], edit: &Edit<'_>, out: &mut Vec<u8>) -> bool {
        edit::encode(frame, bytes, edit, out)
    }

    fn error_reply(&self, to: &ReplyTo, error: &LocalError<'_>, out: &mut Vec<u8>) {
        reply::put_error(to, error, out);
    }

    fn heartbeat_reply(&self, frame: &Frame, head: &[u8], out: &mut Vec<u8>) {
        reply::put_heartbeat(frame, head, out);
    }
}
