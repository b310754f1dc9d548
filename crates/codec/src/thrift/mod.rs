//! Apache Thrift: binary and compact messages, framed, unframed, or behind a THeader or TTHeader.
//!
//! How a connection writes is told from its first bytes. Attributes: `method`; `service` of a
//! multiplexed call (`Service:method`); every header of THeader and TTHeader by its name. An answer of
//! Meltemi's own is a `TApplicationException`: type 1 (unknown method) where no route matches, 7 (protocol error)
//! where the upstream's answer is none, 6 (internal error) for the rest.
//!
//! A framed message is forwarded by the length of its frame, which has to hold that message and nothing
//! else: Apache's framed transports take what is left of a frame for the next call, so a message behind the
//! first would be a call that no rule has seen. Requests are checked for that as their bytes pass. An unframed
//! message ends where its fields do. A payload behind a transform (compression) is not looked into: it has no
//! `method` (with TTHeader the one that the header names), counts as a call that wants an answer, and its
//! message id is taken to be the header's.

mod body;
mod decoder;
mod edit;
mod format;
mod header;
mod message;
mod reply;
mod skip;
mod theader;
mod ttheader;
mod wire;

use crate::{
    Correlation, Decoder, Direction, Edit, Format, Found, Frame, Limits, LocalError, Protocol,
    ReplyTo, Scrub, Scrubbed,
};
use edit::Change;

// What the spans of a frame are.
const METHOD: usize = 0;
const SEQID: usize = 1;
/// The info blocks of a header, up to the payload.
const INFO: usize = 2;
/// What follows the header.
const PAYLOAD: usize = 3;

/// The Thrift protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thrift;

impl Thrift {
    /// The Thrift protocol.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// The names of a format's transport (`framed`, `unframed`, `theader`, `theaderframed`, `ttheader`,
    /// `ttheaderframed`) and message protocol (`strict`, `lax`, `compact`). None before anything was detected.
    #[must_use]
    pub fn format_names(format: Format) -> Option<(&'static str, &'static str)> {
        format::unpack(format).map(|(transport, encoding)| (transport.as_str(), encoding.as_str()))
    }
}

/// The two parts of the name of a multiplexed call, which the first colon separates.
fn service_and_method(name: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match name.iter().position(|byte| *byte == b':') {
        Some(colon) => (Some(&name[..colon]), &name[colon + 1..]),
        None => (None, name),
    }
}

impl Thrift {
    /// The full name that is called, if the payload can be read.
    fn called<'h>(frame: &Frame, head: &'h [u8]) -> Option<&'h [u8]> {
        (!frame.spans[SEQID].is_empty()).then(|| frame.spans[METHOD].of(head))
    }

    /// The header of a frame that has one: its bytes, where the info blocks start, and whether it is TTHeader's.
    fn header<'h>(frame: &Frame, head: &'h [u8]) -> Option<(&'h [u8], usize, bool)> {
        let (transport, _) = format::unpack(frame.format)?;
        let header = head.get(..frame.spans[PAYLOAD].start as usize)?;
        transport.has_header().then_some((
            header,
            frame.spans[INFO].start as usize,
            transport.is_ttheader(),
        ))
    }

    fn method<'h>(frame: &Frame, head: &'h [u8]) -> Option<&'h [u8]> {
        if let Some(name) = Self::called(frame, head) {
            return Some(service_and_method(name).1);
        }
        let (header, info, ttheader) = Self::header(frame, head)?;
        if ttheader {
            ttheader::number(header, info, ttheader::TO_METHOD)
        } else {
            None
        }
    }

    fn service<'h>(frame: &Frame, head: &'h [u8]) -> Option<&'h [u8]> {
        service_and_method(Self::called(frame, head)?).0
    }
}

impl Protocol for Thrift {
    fn name(&self) -> &str {
        "thrift"
    }

    fn correlation(&self) -> Correlation {
        Correlation::Id
    }

    fn default_max_in_flight(&self) -> u32 {
        1
    }

    fn max_id(&self) -> u64 {
        i32::MAX as u64
    }

    fn can_edit_attributes(&self, format: Format) -> bool {
        format::unpack(format).is_some_and(|(transport, _)| transport.has_header())
    }

    fn decoder(&self, direction: Direction, format: Format, limits: Limits) -> Box<dyn Decoder> {
        Box::new(decoder::ThriftDecoder::new(direction, format, limits))
    }

    fn attribute<'h>(&self, frame: &Frame, head: &'h [u8], name: &str) -> Option<&'h [u8]> {
        let own = match name {
            "method" => Self::method(frame, head),
            "service" => Self::service(frame, head),
            _ => None,
        };
        own.or_else(|| {
            let (header, info, ttheader) = Self::header(frame, head)?;
            if ttheader {
                ttheader::find(header, info, name)
            } else {
                theader::find(header, info, name)
            }
        })
    }

    fn attributes(&self, frame: &Frame, head: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) {
        if let Some(method) = Self::method(frame, head) {
            visit(b"method", method);
        }
        if let Some(service) = Self::service(frame, head) {
            visit(b"service", service);
        }
        match Self::header(frame, head) {
            None => {}
            Some((header, info, true)) => ttheader::visit_all(header, info, visit),
            Some((header, info, false)) => {
                let _ = theader::walk(header, info, visit);
            }
        }
    }

    fn find(&self, frame: &Frame, head: &[u8], scrub: &dyn Scrub) -> Found {
        let Some((header, info, ttheader)) = Self::header(frame, head) else {
            return Found::Nothing;
        };
        let mut found = Found::Nothing;
        let mut look = |name: &[u8], value: &[u8]| {
            if scrub.scrub(name, Some(value)) != Scrubbed::Same {
                found = Found::Something;
            }
        };
        if ttheader {
            ttheader::visit_texts(header, info, &mut look);
        } else {
            let _ = theader::walk(header, info, look);
            let transformed = frame.spans[SEQID].is_empty();
            if theader::hides(header, info, transformed) {
                return Found::Unknown;
            }
        }
        found
    }

    fn reply_to(&self, frame: &Frame, head: &[u8], into: &mut ReplyTo) {
        into.format = frame.format;
        into.ids = frame.ids;
        into.method.clear();
        into.method
            .extend_from_slice(Self::called(frame, head).unwrap_or_default());
        into.detail = Self::header(frame, head).map_or(0, |(header, _, _)| {
            let flags = wire::u16_at(header, header::FLAGS_AT).unwrap_or_default();
            // One byte in TTHeader; in THeader a varint that is 0 or 2.
            reply::detail(
                flags,
                header.get(header::PRELUDE_BYTES).map_or(0, |id| id & 0x7f),
            )
        });
    }

    fn is_readable(&self, asked: Format, reply: &Frame) -> bool {
        // A header says how its payload was written.
        match (format::unpack(asked), format::unpack(reply.format)) {
            (Some((_, asked)), Some((transport, encoding))) => {
                transport.has_header() || asked.is_binary() == encoding.is_binary()
            }
            _ => true,
        }
    }

    fn encode(&self, frame: &Frame, bytes: &[u8], edit: &Edit<'_>, out: &mut Vec<u8>) -> bool {
        edit::encode(frame, bytes, edit, out)
    }

    fn error_reply(&self, to: &ReplyTo, error: &LocalError<'_>, out: &mut Vec<u8>) {
        reply::put_error(to, error, out);
    }
}
