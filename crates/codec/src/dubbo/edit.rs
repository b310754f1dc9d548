//! Writes a frame again with another id and other attachments, everything else byte for byte.
//!
//! A reply that has no attachments gets some: the number that its body starts with says so, and that is the
//! one byte of the body that changes. Whether the caller would read them is `reply::reads_attachments`.

use super::attachments::{self, Entry, NO_LIMITS};
use super::decoder::{FIRST_TYPE, NULL_WITH_ATTACHMENTS, WITH_ATTACHMENTS};
use super::header::{HEADER_BYTES, HESSIAN2, ID_AT, serialization, set_length};
use super::hessian::{self, END, MAP, NULL, Skip};
use super::{ATTACHMENTS, CLASSES, request};
use crate::{DecodeError, Edit, Frame, Kind, Scrubbed};

/// What is added to the type of a reply that gets attachments.
const TO_WITH_ATTACHMENTS: u8 = *WITH_ATTACHMENTS.start() - FIRST_TYPE;

/// How an edit of attachments went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    /// The edited frame was appended.
    Edited,
    /// What is to go is not there: the frame is right as it came.
    Same,
    /// There is no place for attachments.
    NoPlace,
}

/// Appends the frame that `bytes` starts with, changed as `edit` says. Attachments are only changed where all
/// of the frame is given. False where they have no place.
pub(super) fn encode(frame: &Frame, bytes: &[u8], edit: &Edit<'_>, out: &mut Vec<u8>) -> bool {
    let base = out.len();
    let put = if !edit.changes_attributes() {
        Put::Same
    } else if bytes.len() == frame.len && serialization(frame.format) == Some(HESSIAN2) {
        put_edited(frame, bytes, edit, out).unwrap_or(Put::NoPlace)
    } else {
        Put::NoPlace
    };
    if put != Put::Edited {
        out.truncate(base);
        out.extend_from_slice(bytes);
    }
    if let Some(ids) = edit.ids {
        let at = base + ID_AT;
        out[at..at + 8].copy_from_slice(&ids.message.to_be_bytes());
    }
    put != Put::NoPlace
}

/// Where the attachments of a frame stand, or would stand, and for a reply that has none the type of one that
/// has; the walk knows the classes of a reply, and how many there are before the attachments of a request. None:
/// it has no place for them.
pub(super) fn place(
    frame: &Frame,
    bytes: &[u8],
    skip: &mut Skip,
) -> Result<Option<(usize, Option<u8>)>, DecodeError> {
    match frame.kind {
        Kind::Request | Kind::Oneway => {
            skip.begin(frame.spans[CLASSES].start as usize);
            Ok(Some((frame.spans[ATTACHMENTS].start as usize, None)))
        }
        Kind::Response => {
            let first = bytes.get(HEADER_BYTES).copied().unwrap_or_default();
            if bytes[3] != super::header::OK {
                return Ok(None);
            }
            let (with, new) = match first {
                _ if WITH_ATTACHMENTS.contains(&first) => (first, None),
                FIRST_TYPE..=NULL_WITH_ATTACHMENTS => {
                    let with = first + TO_WITH_ATTACHMENTS;
                    (with, Some(with))
                }
                _ => return Ok(None),
            };
            skip.begin(0);
            let value = HEADER_BYTES + 1;
            let end = if with == NULL_WITH_ATTACHMENTS {
                value
            } else {
                skip.value(bytes, value, &crate::Limits::default())?
            };
            // Bytes behind a result without attachments are nobody's: they must not become some.
            let is_odd = new.is_some() && end != bytes.len();
            Ok((!is_odd).then_some((end, new)))
        }
        _ => Ok(None),
    }
}

/// Appends the edited frame; of no use unless it says so.
fn put_edited(
    frame: &Frame,
    bytes: &[u8],
    edit: &Edit<'_>,
    out: &mut Vec<u8>,
) -> Result<Put, DecodeError> {
    let mut skip = Skip::default();
    let Some((start, new_type)) = place(frame, bytes, &mut skip)? else {
        return Ok(Put::NoPlace);
    };
    let base = out.len();
    let rest = match attachments::open(bytes, start)? {
        Some(first) => {
            out.extend_from_slice(&bytes[..first]);
            let kept = out.len();
            let end = match put_kept(bytes, first, edit, &mut skip, out) {
                // An object of a class that an argument defined: rare, so that nothing is kept for it.
                Err(_) if skip.is_partial() => {
                    out.truncate(kept);
                    request::learn_classes(bytes, frame, &mut skip, &NO_LIMITS)?;
                    put_kept(bytes, first, edit, &mut skip, out)?
                }
                end => end?,
            };
            end + 1
        }
        None if edit.set.is_empty() => return Ok(Put::Same),
        None => {
            out.extend_from_slice(&bytes[..start]);
            out.push(MAP);
            start + usize::from(bytes.get(start) == Some(&NULL))
        }
    };
    if let Some(new_type) = new_type {
        out[base + HEADER_BYTES] = new_type;
    }
    for (name, value) in edit.settings() {
        hessian::put_string(name, out);
        hessian::put_string(value, out);
    }
    out.push(END);
    out.extend_from_slice(&bytes[rest..]);
    if i32::try_from(out.len() - base - HEADER_BYTES).is_err() {
        return Ok(Put::NoPlace);
    }
    set_length(out, base);
    Ok(Put::Edited)
}

/// Appends the entries that stay: those that the edit does not name, and those whose going would change the
/// numbers of what stays behind them. Where the map ends.
///
/// Walks twice, so that nothing is kept in memory: classes that are defined a second time come behind the
/// others, which keep their numbers.
fn put_kept(
    bytes: &[u8],
    first: usize,
    edit: &Edit<'_>,
    skip: &mut Skip,
    out: &mut Vec<u8>,
) -> Result<usize, DecodeError> {
    let named = |entry: &Entry| {
        let Some(name) = entry.name.clone().map(|name| &bytes[name]) else {
            return false;
        };
        let same = |other: &str| other.as_bytes().eq_ignore_ascii_case(name);
        edit.set.iter().any(|(set, _)| same(set)) || edit.remove.iter().any(|gone| same(gone))
    };
    let scrubbed = |entry: &Entry| match edit.scrub {
        Some(scrub) => attachments::scrubbed(scrub, entry, bytes),
        None => Scrubbed::Same,
    };
    let stays = |entry: &Entry| !named(entry) && scrubbed(entry) == Scrubbed::Same;
    let (mut at, mut numbered) = (first, first);
    while let Some(entry) = attachments::next(bytes, at, skip, &NO_LIMITS)? {
        at = entry.all.end;
        if !entry.plain && stays(&entry) {
            numbered = entry.all.start;
        }
    }
    at = first;
    while let Some(entry) = attachments::next(bytes, at, skip, &NO_LIMITS)? {
        at = entry.all.end;
        match scrubbed(&entry) {
            _ if !entry.plain && entry.all.start < numbered => {
                out.extend_from_slice(&bytes[entry.all]);
            }
            _ if named(&entry) => {}
            Scrubbed::Same => out.extend_from_slice(&bytes[entry.all]),
            Scrubbed::Less(rest) => put_less(bytes, &entry, &rest, out),
            Scrubbed::Gone => {}
        }
    }
    Ok(at)
}

/// Appends an entry with another value, in one piece; none, where that is no text.
fn put_less(bytes: &[u8], entry: &Entry, value: &[u8], out: &mut Vec<u8>) {
    if let (Some(name), Ok(value)) = (&entry.name, std::str::from_utf8(value)) {
        out.extend_from_slice(&bytes[entry.all.start..name.end]);
        hessian::put_string(value, out);
    }
}
