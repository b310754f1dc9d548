//! The head of a message: type, method and sequence id, in each encoding.

use super::format::Encoding;
use super::wire::{invalid, put_varint, u32_at, varint32};
use crate::{DecodeError, Direction, Kind, Span, Status};

/// Longest method name that is read, in bytes. It bounds what is buffered before a request is routed,
/// and it tells a name's length from a frame's where neither has a mark.
pub(super) const MAX_METHOD_BYTES: usize = 0xffff;

pub(super) const TOO_LONG: &str = "the message is longer than its frame";
const VERSION_1: u32 = 0x8001_0000;
const COMPACT_ID: u8 = 0x82;
const COMPACT_VERSION: u8 = 1;
/// The type of a message that says: the call failed.
pub(super) const EXCEPTION: u8 = 3;

/// Whether a name in UTF-8 may start with `byte`: what tells a name from a length and from a mark.
pub(super) const fn starts_a_name(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e | 0xc2..=0xf4)
}

/// What stands in front of the fields of a message.
pub(super) struct Head {
    pub(super) encoding: Encoding,
    pub(super) kind: Kind,
    pub(super) status: Status,
    pub(super) method: Span,
    pub(super) seqid: Span,
    pub(super) id: u32,
    /// Where the fields start.
    pub(super) end: usize,
}

/// Reads the head of the message at `at`, which lies before `end`. None: more bytes are needed.
pub(super) fn read(
    buf: &[u8],
    at: usize,
    end: usize,
    direction: Direction,
) -> Result<Option<Head>, DecodeError> {
    let there = &buf[..buf.len().min(end)];
    let head = match there.get(at) {
        Some(0x80) => read_strict(there, at, end, direction)?,
        Some(&COMPACT_ID) => read_compact(there, at, end, direction)?,
        Some(0) => read_lax(there, at, end, direction)?,
        Some(_) => return Err(invalid(at, "no Thrift message starts like this")),
        None => None,
    };
    match head {
        Some(head) if head.end < end => Ok(Some(head)),
        None if there.len() < end => Ok(None),
        _ => Err(invalid(end, TOO_LONG)),
    }
}

/// Where a method of `len` bytes that starts at `at` ends; an error for a length that cannot be.
fn method_end(at: usize, len: u32, end: usize) -> Result<usize, DecodeError> {
    let len = len as usize;
    if len > MAX_METHOD_BYTES {
        return Err(invalid(
            at,
            "a method name longer than 65535 bytes, or of a negative length",
        ));
    }
    if at + len >= end {
        return Err(invalid(at, TOO_LONG));
    }
    Ok(at + len)
}

fn read_strict(
    buf: &[u8],
    at: usize,
    end: usize,
    direction: Direction,
) -> Result<Option<Head>, DecodeError> {
    let Some(word) = u32_at(buf, at) else {
        return Ok(None);
    };
    if word & 0xffff_ff00 != VERSION_1 {
        return Err(invalid(
            at,
            "a version of the binary protocol that is not 1",
        ));
    }
    let (kind, status) = meaning(word as u8, at + 3, direction)?;
    let Some(len) = u32_at(buf, at + 4) else {
        return Ok(None);
    };
    let seqid = method_end(at + 8, len, end)?;
    let Some(id) = u32_at(buf, seqid) else {
        return Ok(None);
    };
    Ok(Some(Head {
        encoding: Encoding::Strict,
        kind,
        status,
        method: span(at + 8, seqid),
        seqid: span(seqid, seqid + 4),
        id,
        end: seqid + 4,
    }))
}

fn read_lax(
    buf: &[u8],
    at: usize,
    end: usize,
    direction: Direction,
) -> Result<Option<Head>, DecodeError> {
    let Some(len) = u32_at(buf, at) else {
        return Ok(None);
    };
    let kind_at = method_end(at + 4, len, end)?;
    let Some(&kind) = buf.get(kind_at) else {
        return Ok(None);
    };
    let (kind, status) = meaning(kind, kind_at, direction)?;
    let Some(id) = u32_at(buf, kind_at + 1) else {
        return Ok(None);
    };
    Ok(Some(Head {
        encoding: Encoding::Lax,
        kind,
        status,
        method: span(at + 4, kind_at),
        seqid: span(kind_at + 1, kind_at + 5),
        id,
        end: kind_at + 5,
    }))
}

fn read_compact(
    buf: &[u8],
    at: usize,
    end: usize,
    direction: Direction,
) -> Result<Option<Head>, DecodeError> {
    let Some(&byte) = buf.get(at + 1) else {
        return Ok(None);
    };
    if byte & 0x1f != COMPACT_VERSION {
        return Err(invalid(
            at + 1,
            "a version of the compact protocol that is not 1",
        ));
    }
    let (kind, status) = meaning(byte >> 5, at + 1, direction)?;
    let Some((id, seqid_end)) = varint32(buf, at + 2)? else {
        return Ok(None);
    };
    let Some((len, method)) = varint32(buf, seqid_end)? else {
        return Ok(None);
    };
    let method_end = method_end(method, len, end)?;
    if buf.len() < method_end {
        return Ok(None);
    }
    Ok(Some(Head {
        encoding: Encoding::Compact,
        kind,
        status,
        method: span(method, method_end),
        seqid: span(at + 2, seqid_end),
        id,
        end: method_end,
    }))
}

fn span(start: usize, end: usize) -> Span {
    Span {
        start: start as u32,
        len: (end - start) as u32,
    }
}

/// What a message type is to the proxy; an error where it does not belong on this way.
fn meaning(kind: u8, at: usize, direction: Direction) -> Result<(Kind, Status), DecodeError> {
    match (direction, kind) {
        (Direction::Request, 1) => Ok((Kind::Request, Status::Ok)),
        (Direction::Request, 4) => Ok((Kind::Oneway, Status::Ok)),
        (Direction::Response, 2) => Ok((Kind::Response, Status::Ok)),
        (Direction::Response, EXCEPTION) => Ok((Kind::Response, Status::Error)),
        (Direction::Request, _) => Err(invalid(at, "a message that is neither a call nor oneway")),
        (Direction::Response, _) => Err(invalid(at, "a message that is no answer")),
    }
}

/// Appends the head of a message of type `kind`.
pub(super) fn put_head(encoding: Encoding, kind: u8, method: &[u8], id: u32, out: &mut Vec<u8>) {
    let len = method.len() as u32;
    match encoding {
        Encoding::Strict => {
            out.extend_from_slice(&(VERSION_1 | u32::from(kind)).to_be_bytes());
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(method);
            out.extend_from_slice(&id.to_be_bytes());
        }
        Encoding::Lax => {
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(method);
            out.push(kind);
            out.extend_from_slice(&id.to_be_bytes());
        }
        Encoding::Compact => {
            out.extend_from_slice(&[COMPACT_ID, COMPACT_VERSION | kind << 5]);
            put_varint(id, out);
            put_varint(len, out);
            out.extend_from_slice(method);
        }
    }
}
