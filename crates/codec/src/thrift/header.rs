//! The header transports: what stands in front of the message, and what is inside it.
//!
//! THeader (Apache) and TTHeader (CloudWeGo) share their first 14 bytes: length (u32, of what follows
//! it), magic (u16), flags (u16), sequence id (u32), size of the header in words of 4 bytes (u16).
//! Then come protocol id, transforms and info blocks, in varints ([`super::theader`]) or in numbers
//! of fixed size ([`super::ttheader`]), padding, and behind the header the message.

use super::decoder::declared_len;
use super::format::{Encoding, Transport, pack};
use super::message::{self, Head};
use super::wire::{invalid, u16_at, u32_at};
use super::{INFO, METHOD, PAYLOAD, SEQID, theader, ttheader};
use crate::{DecodeError, Direction, Frame, Ids, Kind, Limits, Span, Status};

pub(super) const THEADER_MAGIC: u16 = 0x0fff;
pub(super) const TTHEADER_MAGIC: u16 = 0x1000;

/// Where the protocol id stands: the size of what both headers share.
pub(super) const PRELUDE_BYTES: usize = 14;
/// Where the flags stand.
pub(super) const FLAGS_AT: usize = 6;
/// Where the header's own id stands.
pub(super) const SEQ_ID_AT: usize = 8;
/// Where the size of the header stands, in words.
pub(super) const SIZE_AT: usize = 12;
/// Largest header that the size can say.
pub(super) const MAX_HEADER_BYTES: usize = 0xffff * 4;
/// Most transforms that are read: there are three kinds.
pub(super) const MAX_TRANSFORMS: usize = 16;

/// Replies may pass each other.
const OUT_OF_ORDER: u16 = 0x0001;
/// Frames of a stream, which are no Thrift messages.
const STREAMING: u16 = 0x0002;

/// What a header says of its payload.
pub(super) struct Start {
    pub(super) compact: bool,
    /// The payload was transformed (compressed): what is in it cannot be read, nor changed.
    pub(super) transformed: bool,
    /// Where the info blocks start.
    pub(super) info: usize,
}

/// Reads the head of the frame at `buf[0]`. None: more bytes are needed.
pub(super) fn decode(
    buf: &[u8],
    transport: Transport,
    direction: Direction,
    limits: &Limits,
) -> Result<Option<Frame>, DecodeError> {
    let ttheader = transport.is_ttheader();
    let Some((payload, len)) = sizes(buf, ttheader, limits)? else {
        return Ok(None);
    };
    let Some(head) = buf.get(..payload) else {
        return Ok(None);
    };
    let flags = u16_at(buf, FLAGS_AT).unwrap_or_default();
    if ttheader && flags & STREAMING != 0 {
        return Err(invalid(FLAGS_AT, "TTHeader streaming is not supported"));
    }
    let start = if ttheader {
        ttheader::start(head)?
    } else {
        theader::start(head)?
    };
    let message = if start.transformed {
        None
    } else {
        Some(read_payload(buf, payload, len, direction)?)
    };
    let message = match message {
        Some(None) => return Ok(None),
        Some(Some(message)) => Some(message),
        None => None,
    };
    // Last, because it is the only work that grows with the header: done once a frame.
    let checksum = if ttheader {
        ttheader::check(head, start.info)?
    } else {
        theader::check(head, start.info)?
    };
    let mut frame = frame(transport, direction, &start, message.as_ref(), payload, len);
    frame.rewritable &= !checksum;
    frame.any_order = ttheader && flags & OUT_OF_ORDER != 0;
    frame.ids.header = u64::from(u32_at(buf, SEQ_ID_AT).unwrap_or_default());
    if message.is_none() {
        frame.ids.message = frame.ids.header;
    }
    Ok(Some(frame))
}

/// Where the payload starts and where the frame ends, by what the prelude says.
fn sizes(
    buf: &[u8],
    ttheader: bool,
    limits: &Limits,
) -> Result<Option<(usize, usize)>, DecodeError> {
    let Some(len) = declared_len(buf, limits)? else {
        return Ok(None);
    };
    if len <= PRELUDE_BYTES {
        return Err(invalid(0, "a frame shorter than its header"));
    }
    let Some(words) = u16_at(buf, SIZE_AT) else {
        return Ok(None);
    };
    let magic = if ttheader {
        TTHEADER_MAGIC
    } else {
        THEADER_MAGIC
    };
    if u16_at(buf, 4) != Some(magic) {
        return Err(invalid(
            4,
            "not the magic number that the connection began with",
        ));
    }
    let payload = PRELUDE_BYTES + usize::from(words) * 4;
    if payload >= len {
        return Err(invalid(SIZE_AT, "a header longer than its frame"));
    }
    Ok(Some((payload, len)))
}

/// The message in the payload at `at`, and whether a length of its own stands in front of it.
fn read_payload(
    buf: &[u8],
    at: usize,
    end: usize,
    direction: Direction,
) -> Result<Option<(Head, bool)>, DecodeError> {
    let inner = match buf.get(at) {
        None => return Ok(None),
        Some(0x80..) => false,
        // A lax message starts with the length of a name that is shorter than the rest.
        Some(_) => match u32_at(buf, at) {
            None => return Ok(None),
            Some(len) => (len as usize).checked_add(at + 4) == Some(end),
        },
    };
    let at = if inner { at + 4 } else { at };
    Ok(message::read(buf, at, end, direction)?.map(|head| (head, inner)))
}

fn frame(
    transport: Transport,
    direction: Direction,
    start: &Start,
    message: Option<&(Head, bool)>,
    payload: usize,
    len: usize,
) -> Frame {
    let transport = match (
        transport.is_ttheader(),
        message.is_some_and(|(_, inner)| *inner),
    ) {
        (true, true) => Transport::TTHeaderFramed,
        (true, false) => Transport::TTHeader,
        (false, true) => Transport::THeaderFramed,
        (false, false) => Transport::THeader,
    };
    let mut spans = [Span::default(); 4];
    spans[INFO] = Span {
        start: start.info as u32,
        len: (payload - start.info) as u32,
    };
    spans[PAYLOAD] = Span {
        start: payload as u32,
        len: (len - payload) as u32,
    };
    let encoding = if start.compact {
        Encoding::Compact
    } else {
        Encoding::Strict
    };
    let mut frame = Frame {
        kind: if direction == Direction::Request {
            Kind::Request
        } else {
            Kind::Response
        },
        status: Status::Ok,
        len,
        head_len: payload,
        format: pack(transport, encoding),
        ids: Ids::default(),
        rewritable: false,
        any_order: false,
        spans,
    };
    if let Some((head, _)) = message {
        frame.kind = head.kind;
        frame.status = head.status;
        frame.head_len = head.end;
        frame.format = pack(transport, head.encoding);
        frame.ids.message = u64::from(head.id);
        frame.rewritable = true;
        frame.spans[METHOD] = head.method;
        frame.spans[SEQID] = head.seqid;
    }
    frame
}
