//! Writes a frame again with other ids and other headers, everything else byte for byte.

use super::format::{Encoding, Transport, unpack};
use super::header::{MAX_HEADER_BYTES, PRELUDE_BYTES, SEQ_ID_AT, SIZE_AT};
use super::wire::{put_varint, set_u32, u32_at};
use super::{INFO, PAYLOAD, SEQID, theader, ttheader};
use crate::{Edit, Frame, Scrubbed};

/// What an edit does to a header that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'e> {
    Keep,
    Drop,
    Set(&'e str),
}

/// What `edit` does to the header `name`: what is set wins over what is removed, the last set over others.
pub(super) fn change<'e>(edit: &Edit<'e>, name: &[u8]) -> Change<'e> {
    let same = |other: &str| other.as_bytes().eq_ignore_ascii_case(name);
    if let Some((_, value)) = edit.set.iter().rev().find(|(set, _)| same(set)) {
        return Change::Set(value);
    }
    if edit.remove.iter().any(|removed| same(removed)) {
        Change::Drop
    } else {
        Change::Keep
    }
}

/// What the edit's scrub leaves of a header that is otherwise kept.
pub(super) fn scrubbed(edit: &Edit<'_>, name: &[u8], value: &[u8]) -> Scrubbed {
    edit.scrub
        .map_or(Scrubbed::Same, |scrub| scrub.scrub(name, Some(value)))
}

/// Appends the frame that `bytes` starts with, changed as `edit` says. The bytes behind those that are
/// given are taken to follow as they are. False where the headers have no place.
pub(super) fn encode(frame: &Frame, bytes: &[u8], edit: &Edit<'_>, out: &mut Vec<u8>) -> bool {
    let wanted = edit.changes_attributes();
    let (Some((transport, encoding)), true) = (unpack(frame.format), frame.rewritable) else {
        out.extend_from_slice(bytes);
        return !wanted;
    };
    let base = out.len();
    let ids = edit.ids.unwrap_or(frame.ids);
    let message_id = (ids.message != frame.ids.message).then_some(ids.message as u32);
    let taken = if wanted && transport.has_header() {
        put_header(frame, bytes, transport, edit, out)
    } else {
        0
    };
    let done = !wanted || taken > 0;
    let rest = out.len(); // where what follows the edited header starts
    let seqid = frame.spans[SEQID];
    let seqid_at = seqid.start as usize;
    match message_id {
        Some(id) if encoding == Encoding::Compact => {
            out.extend_from_slice(&bytes[taken..seqid_at]);
            put_varint(id, out);
            out.extend_from_slice(&bytes[seqid_at + seqid.len as usize..]);
        }
        Some(id) => {
            out.extend_from_slice(&bytes[taken..]);
            set_u32(out, rest + seqid_at - taken, id);
        }
        None => out.extend_from_slice(&bytes[taken..]),
    }
    if transport == Transport::Unframed {
        return done;
    }
    let grown = (out.len() - base).wrapping_sub(bytes.len()) as u32;
    if grown != 0 {
        grow(out, base, grown);
    }
    if transport.has_header() {
        set_u32(out, base + SEQ_ID_AT, ids.header as u32);
        if transport.has_inner_length() {
            let payload = frame.spans[PAYLOAD].start as usize;
            let header_grown = (rest - base).wrapping_sub(taken);
            // The inner length covers the message only: what the header grew by is not in it.
            grow(
                out,
                base + payload.wrapping_add(header_grown),
                grown.wrapping_sub(header_grown as u32),
            );
        }
    }
    done
}

/// Adds to the length at `at`.
fn grow(out: &mut [u8], at: usize, by: u32) {
    let len = u32_at(out, at).unwrap_or_default();
    set_u32(out, at, len.wrapping_add(by));
}

/// Appends prelude and header with its changes. How many of `bytes` that stands for; 0, and nothing is
/// appended, where the header, a name or a value would become larger than its size can say.
fn put_header(
    frame: &Frame,
    bytes: &[u8],
    transport: Transport,
    edit: &Edit<'_>,
    out: &mut Vec<u8>,
) -> usize {
    let base = out.len();
    let info = frame.spans[INFO].start as usize;
    let payload = frame.spans[PAYLOAD].start as usize;
    out.extend_from_slice(&bytes[..info]);
    if transport.is_ttheader() {
        ttheader::put_edited(&bytes[..payload], info, edit, out);
    } else {
        theader::put_edited(&bytes[..payload], info, edit, out);
    }
    pad(out, base);
    let size = out.len() - base - PRELUDE_BYTES;
    let fits = !transport.is_ttheader() || ttheader::fits(edit);
    if size > MAX_HEADER_BYTES || !fits {
        out.truncate(base);
        return 0;
    }
    out[base + SIZE_AT..base + SIZE_AT + 2].copy_from_slice(&((size / 4) as u16).to_be_bytes());
    payload
}

/// Appends zeros until the header that belongs to the frame at `base` is a whole number of words.
pub(super) fn pad(out: &mut Vec<u8>, base: usize) {
    while !(out.len() - base - PRELUDE_BYTES).is_multiple_of(4) {
        out.push(0);
    }
}
