//! Meltemi's own answers: a `TApplicationException` in the way that the caller wrote.

use super::edit::pad;
use super::format::{Encoding, Transport, unpack};
use super::header::{PRELUDE_BYTES, SIZE_AT, THEADER_MAGIC, TTHEADER_MAGIC};
use super::message::{self, EXCEPTION};
use super::wire::{put_varint, set_u32};
use super::{service_and_method, ttheader};
use crate::{ErrorKind, LocalError, ReplyTo};

/// `TApplicationException.UNKNOWN_METHOD`: no rule takes this call.
const UNKNOWN_METHOD: u32 = 1;
/// `TApplicationException.INTERNAL_ERROR`: the call was fine, serving it failed.
const INTERNAL_ERROR: u32 = 6;
/// `TApplicationException.PROTOCOL_ERROR`: what the other side answered is no answer.
const PROTOCOL_ERROR: u32 = 7;

/// The type of the exception that an error is answered with.
const fn exception_type(kind: ErrorKind) -> u32 {
    match kind {
        ErrorKind::RouteNotFound => UNKNOWN_METHOD,
        ErrorKind::BadResponse => PROTOCOL_ERROR,
        ErrorKind::ClusterNotFound
        | ErrorKind::NoHealthyUpstream
        | ErrorKind::UpstreamConnectFailure
        | ErrorKind::UpstreamReset
        | ErrorKind::Timeout
        | ErrorKind::Overflow
        | ErrorKind::RateLimited
        | ErrorKind::Denied
        | ErrorKind::Unsupported => INTERNAL_ERROR,
    }
}

/// What a reply copies of the request's header: flags and protocol id.
pub(super) fn detail(flags: u16, protocol_id: u8) -> u64 {
    u64::from(flags) << 8 | u64::from(protocol_id)
}

/// Appends the answer to the request `to`.
pub(super) fn put_error(to: &ReplyTo, error: &LocalError<'_>, out: &mut Vec<u8>) {
    let (transport, encoding) = unpack(to.format).unwrap_or((Transport::Framed, Encoding::Strict));
    let base = out.len();
    if transport != Transport::Unframed {
        out.extend_from_slice(&[0; 4]);
    }
    if transport.has_header() {
        put_header(to, transport, base, out);
    }
    let inner = out.len();
    if transport.has_inner_length() {
        out.extend_from_slice(&[0; 4]);
    }
    message::put_head(
        encoding,
        EXCEPTION,
        answered(&to.method),
        to.ids.message as u32,
        out,
    );
    put_exception(
        encoding,
        error.message.as_bytes(),
        exception_type(error.kind),
        out,
    );
    if transport.has_inner_length() {
        set_len(out, inner);
    }
    if transport != Transport::Unframed {
        set_len(out, base);
    }
}

/// The name that an answer has: as a server of several services does, the method without the service,
/// unless that would be no name.
fn answered(called: &[u8]) -> &[u8] {
    match service_and_method(called) {
        (Some(_), method)
            if !method
                .first()
                .is_some_and(|byte| message::starts_a_name(*byte)) =>
        {
            called
        }
        (_, method) => method,
    }
}

/// Writes into the length at `at` how many bytes follow it.
fn set_len(out: &mut [u8], at: usize) {
    let len = out.len() - at - 4;
    set_u32(out, at, len as u32);
}

/// Appends what stands between a frame's length and its payload.
fn put_header(to: &ReplyTo, transport: Transport, base: usize, out: &mut Vec<u8>) {
    let ttheader = transport.is_ttheader();
    // Flags of THeader belong to the caller; those of TTHeader say what kind of frame it is.
    let (magic, flags) = if ttheader {
        (TTHEADER_MAGIC, 0)
    } else {
        (THEADER_MAGIC, (to.detail >> 8) as u16)
    };
    out.extend_from_slice(&magic.to_be_bytes());
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&(to.ids.header as u32).to_be_bytes());
    out.extend_from_slice(&[0, 0, to.detail as u8, 0]); // size, protocol id, no transforms
    if ttheader {
        ttheader::put_number(ttheader::MSG_TYPE, b"3", out);
    }
    pad(out, base);
    let words = (out.len() - base - PRELUDE_BYTES) / 4;
    out[base + SIZE_AT..base + SIZE_AT + 2].copy_from_slice(&(words as u16).to_be_bytes());
}

/// Appends `struct TApplicationException {1: string message, 2: i32 type}`.
fn put_exception(encoding: Encoding, text: &[u8], kind: u32, out: &mut Vec<u8>) {
    if encoding == Encoding::Compact {
        out.push(0x18); // field 1, a string
        put_varint(text.len() as u32, out);
        out.extend_from_slice(text);
        out.push(0x15); // field 2, an i32
        put_varint(kind << 1, out);
    } else {
        out.extend_from_slice(&[11, 0, 1]);
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
        out.extend_from_slice(text);
        out.extend_from_slice(&[8, 0, 2]);
        out.extend_from_slice(&kind.to_be_bytes());
    }
    out.push(0);
}
