//! Apache's header: varints throughout, one kind of info block (names and values).
//!
//! Source: apache/thrift `doc/specs/HeaderFormat.md`, and what `THeaderTransport` of Apache's Python
//! library reads. Where a name comes twice, the later value holds. An info id that is not known (0
//! is padding) ends what can be read: the rest of the header is left as it is.

use super::header::{MAX_TRANSFORMS, PRELUDE_BYTES, Start};
use super::wire::{invalid, put_varint, varint32};
use super::{Change, edit};
use crate::{DecodeError, Edit, Scrubbed};

const BINARY: u32 = 0;
const COMPACT: u32 = 2;
/// Transforms without data of their own in the header: zlib, snappy.
const PLAIN_TRANSFORMS: [u32; 2] = [1, 3];
const KEY_VALUE: u32 = 1;

const CUT: &str = "a header that ends inside a value";

/// Reads protocol id and transforms; `head` are the bytes up to the payload.
pub(super) fn start(head: &[u8]) -> Result<Start, DecodeError> {
    let (protocol, at) = number(head, PRELUDE_BYTES)?;
    if protocol != BINARY && protocol != COMPACT {
        return Err(invalid(
            PRELUDE_BYTES,
            "a THeader protocol that is neither binary nor compact",
        ));
    }
    let (transforms, mut info) = number(head, at)?;
    if transforms as usize > MAX_TRANSFORMS {
        return Err(invalid(at, "too many transforms"));
    }
    for _ in 0..transforms {
        let (transform, end) = number(head, info)?;
        info = end;
        if !PLAIN_TRANSFORMS.contains(&transform) {
            info = head.len(); // where its data ends is not known
            break;
        }
    }
    Ok(Start {
        compact: protocol == COMPACT,
        transformed: transforms > 0,
        info,
    })
}

/// Reads the header once, so that later readers need not fail. Never a checksum here: false.
pub(super) fn check(head: &[u8], info: usize) -> Result<bool, DecodeError> {
    walk(head, info, |_, _| ()).map(|_| false)
}

/// Visits names and values. Where the part that was understood ends.
pub(super) fn walk<'h>(
    head: &'h [u8],
    info: usize,
    mut visit: impl FnMut(&'h [u8], &'h [u8]),
) -> Result<usize, DecodeError> {
    let mut at = info;
    while at < head.len() {
        let (id, block) = number(head, at)?;
        if id != KEY_VALUE {
            break;
        }
        let (count, mut pair) = number(head, block)?;
        for _ in 0..count {
            let (name, value_at) = text(head, pair)?;
            let (value, end) = text(head, value_at)?;
            visit(name, value);
            pair = end;
        }
        at = pair;
    }
    Ok(at)
}

/// Appends the info blocks of `head` with the changes of `edit`, in one block.
pub(super) fn put_edited(head: &[u8], info: usize, edit: &Edit<'_>, out: &mut Vec<u8>) {
    let mut count = 0u32;
    let stays = |name: &[u8], value: &[u8]| match edit::change(edit, name) {
        Change::Keep => edit::scrubbed(edit, name, value) != Scrubbed::Gone,
        change => change != Change::Drop,
    };
    let understood = walk(head, info, |name, value| {
        count += u32::from(stays(name, value));
    });
    let Ok(understood) = understood else { return };
    let is_new = |name: &str| find(head, info, name).is_none();
    count += edit.settings().filter(|(name, _)| is_new(name)).count() as u32;
    if count > 0 {
        put_varint(KEY_VALUE, out);
        put_varint(count, out);
    }
    let _ = walk(head, info, |name, value| match edit::change(edit, name) {
        Change::Keep => match edit::scrubbed(edit, name, value) {
            Scrubbed::Same => put_pair(name, value, out),
            Scrubbed::Less(rest) => put_pair(name, &rest, out),
            Scrubbed::Gone => {}
        },
        Change::Drop => {}
        Change::Set(value) => put_pair(name, value.as_bytes(), out),
    });
    for (name, value) in edit.settings().filter(|(name, _)| is_new(name)) {
        put_pair(name.as_bytes(), value.as_bytes(), out);
    }
    if head.get(understood).is_some_and(|id| *id != 0) {
        out.extend_from_slice(&head[understood..]);
    }
}

/// Whether there is more in the header than what was understood of it, and padding.
pub(super) fn hides(head: &[u8], info: usize, transformed: bool) -> bool {
    match walk(head, info, |_, _| ()) {
        // Where an unknown transform's data ends is not known: nothing behind it was looked at.
        Ok(_) if transformed && info == head.len() => true,
        Ok(understood) => head[understood..].iter().any(|byte| *byte != 0),
        Err(_) => true,
    }
}

/// The value of the header `name`, whose case does not matter.
pub(super) fn find<'h>(head: &'h [u8], info: usize, name: &str) -> Option<&'h [u8]> {
    let mut found = None;
    let _ = walk(head, info, |key, value| {
        if key.eq_ignore_ascii_case(name.as_bytes()) {
            found = Some(value);
        }
    });
    found
}

fn put_pair(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for text in [name, value] {
        put_varint(text.len() as u32, out);
        out.extend_from_slice(text);
    }
}

fn number(head: &[u8], at: usize) -> Result<(u32, usize), DecodeError> {
    varint32(head, at)?.ok_or(invalid(at, CUT))
}

fn text(head: &[u8], at: usize) -> Result<(&[u8], usize), DecodeError> {
    let (len, start) = number(head, at)?;
    let end = start.saturating_add(len as usize);
    head.get(start..end)
        .map(|text| (text, end))
        .ok_or(invalid(at, CUT))
}
