//! Writes a frame again with another id and other attachments, everything else byte for byte.

use super::attachments::{self, Entry, NO_LIMITS};
use super::decoder::{NULL_WITH_ATTACHMENTS, WITH_ATTACHMENTS};
use super::header::{HEADER_BYTES, HESSIAN2, ID_AT, serialization, set_length};
use super::hessian::{self, END, MAP, NULL, Skip};
use super::{ATTACHMENTS, CLASSES, request};
use crate::{DecodeError, Edit, Frame, Kind};

/// Appends the frame that `bytes` starts with, changed as `edit` says. Attachments are only changed where all
/// of the frame is given.
pub(super) fn encode(frame: &Frame, bytes: &[u8], edit: &Edit<'_>, out: &mut Vec<u8>) {
    let base = out.len();
    let wanted = !(edit.set.is_empty() && edit.remove.is_empty());
    let edited = wanted
        && bytes.len() == frame.len
        && serialization(frame.format) == Some(HESSIAN2)
        && matches!(put_edited(frame, bytes, edit, out), Ok(true));
    if !edited {
        out.truncate(base);
        out.extend_from_slice(bytes);
    }
    if let Some(ids) = edit.ids {
        let at = base + ID_AT;
        out[at..at + 8].copy_from_slice(&ids.message.to_be_bytes());
    }
}

/// Where the attachments of a frame stand; the walk knows the classes before them. None: it has no place for them.
fn place(frame: &Frame, bytes: &[u8], skip: &mut Skip) -> Result<Option<usize>, DecodeError> {
    match frame.kind {
        Kind::Request | Kind::Oneway => {
            if frame.spans[CLASSES].start > 0 {
                request::learn_classes(bytes, frame, skip, &NO_LIMITS)?;
            }
            Ok(Some(frame.spans[ATTACHMENTS].start as usize))
        }
        Kind::Response => {
            let first = bytes.get(HEADER_BYTES).copied().unwrap_or_default();
            if bytes[3] != super::header::OK || !WITH_ATTACHMENTS.contains(&first) {
                return Ok(None);
            }
            skip.begin(0);
            let value = HEADER_BYTES + 1;
            if first == NULL_WITH_ATTACHMENTS {
                return Ok(Some(value));
            }
            skip.value(bytes, value, &crate::Limits::default())
                .map(Some)
        }
        _ => Ok(None),
    }
}

/// Appends the edited frame. False: there is no place for attachments; what was appended is of no use.
fn put_edited(
    frame: &Frame,
    bytes: &[u8],
    edit: &Edit<'_>,
    out: &mut Vec<u8>,
) -> Result<bool, DecodeError> {
    let mut skip = Skip::default();
    let Some(start) = place(frame, bytes, &mut skip)? else {
        return Ok(false);
    };
    let base = out.len();
    let rest = match attachments::open(bytes, start)? {
        Some(first) => {
            let mut entries = Vec::new();
            let mut at = first;
            while let Some(entry) = attachments::next(bytes, at, &mut skip, &NO_LIMITS)? {
                at = entry.all.end;
                entries.push(entry);
            }
            out.extend_from_slice(&bytes[..first]);
            put_kept(bytes, &entries, edit, out);
            at + 1
        }
        None if edit.set.is_empty() => return Ok(false),
        None => {
            out.extend_from_slice(&bytes[..start]);
            out.push(MAP);
            start + usize::from(bytes.get(start) == Some(&NULL))
        }
    };
    for (i, (name, value)) in edit.set.iter().enumerate() {
        let again = &edit.set[i + 1..];
        if !again
            .iter()
            .any(|(later, _)| later.eq_ignore_ascii_case(name))
        {
            hessian::put_string(name, out);
            hessian::put_string(value, out);
        }
    }
    out.push(END);
    out.extend_from_slice(&bytes[rest..]);
    if i32::try_from(out.len() - base - HEADER_BYTES).is_err() {
        return Ok(false);
    }
    set_length(out, base);
    Ok(true)
}

/// Appends the entries that stay: those that the edit does not name, and those whose going would change the
/// numbers of what stays behind them.
fn put_kept(bytes: &[u8], entries: &[Entry], edit: &Edit<'_>, out: &mut Vec<u8>) {
    let named = |entry: &Entry| {
        let Some(name) = entry.name.clone().map(|name| &bytes[name]) else {
            return false;
        };
        let same = |other: &str| other.as_bytes().eq_ignore_ascii_case(name);
        edit.set.iter().any(|(set, _)| same(set)) || edit.remove.iter().any(|gone| same(gone))
    };
    let numbered = entries
        .iter()
        .rposition(|entry| !entry.plain && !named(entry))
        .unwrap_or(0);
    for (i, entry) in entries.iter().enumerate() {
        if !named(entry) || (!entry.plain && i < numbered) {
            out.extend_from_slice(&bytes[entry.all.clone()]);
        }
    }
}
