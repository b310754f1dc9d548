//! The map behind the arguments: names, and values of which the strings are attributes.

use super::header::{HESSIAN2, serialization};
use super::hessian::{self, MAP, NULL, Skip, TYPED_MAP, Text, byte_at, invalid};
use super::{edit, request};
use crate::{DecodeError, Found, Frame, Kind, Limits, Scrub, Scrubbed};
use std::ops::Range;

/// One pair of the map, by where its parts stand.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The characters of its name; None where that is no string in one piece.
    pub(super) name: Option<Range<usize>>,
    /// The characters of its value; None where that is no string in one piece.
    pub(super) value: Option<Range<usize>>,
    /// All of it.
    pub(super) all: Range<usize>,
    /// It holds no container, no object and no reference.
    pub(super) plain: bool,
}

/// Where the first pair stands of the map at `at`, or None where there is none: null, or the end.
pub(super) fn open(bytes: &[u8], at: usize) -> Result<Option<usize>, DecodeError> {
    match bytes.get(at).copied() {
        None | Some(NULL) => Ok(None),
        Some(MAP) => Ok(Some(at + 1)),
        Some(TYPED_MAP) => hessian::kind_end(bytes, at + 1).map(Some),
        Some(_) => Err(invalid(at, "attachments that are no map")),
    }
}

/// The next pair, which starts at `at`; None at the end of the map.
pub(super) fn next(
    bytes: &[u8],
    at: usize,
    skip: &mut Skip,
    limits: &Limits,
) -> Result<Option<Entry>, DecodeError> {
    if byte_at(bytes, at)? == hessian::END {
        return Ok(None);
    }
    let (name, name_plain, value_at) = part(bytes, at, skip, limits)?;
    let (value, value_plain, end) = part(bytes, value_at, skip, limits)?;
    if name.is_none() && name_plain && byte_at(bytes, at)? == b'R' {
        return Err(invalid(at, "a name in pieces"));
    }
    Ok(Some(Entry {
        name,
        value,
        all: at..end,
        plain: name_plain && value_plain,
    }))
}

/// Reads a name or a value: its characters, whether it is plain, and where it ends.
fn part(
    bytes: &[u8],
    at: usize,
    skip: &mut Skip,
    limits: &Limits,
) -> Result<(Option<Range<usize>>, bool, usize), DecodeError> {
    match hessian::text(bytes, at)? {
        (Text::Whole(range), end) => Ok((Some(range), true, end)),
        (Text::Null | Text::Chunks, end) => Ok((None, true, end)),
        (Text::Other, _) => {
            let plain = hessian::is_plain(byte_at(bytes, at)?);
            Ok((None, plain, skip.value(bytes, at, limits)?))
        }
    }
}

/// Whether the attachments at `at`, to which `skip` has come, can be walked.
pub(super) fn check(
    bytes: &[u8],
    at: usize,
    skip: &mut Skip,
    limits: &Limits,
) -> Result<(), DecodeError> {
    let Some(mut at) = open(bytes, at)? else {
        return Ok(());
    };
    let mut seen = 0;
    while let Some(entry) = next(bytes, at, skip, limits)? {
        at = entry.all.end;
        seen += 1;
        if seen > limits.max_elements {
            let reason = "too many attachments";
            return Err(DecodeError::TooComplex { at, reason });
        }
    }
    Ok(())
}

/// What was within the limits when it was decoded stays so.
pub(super) const NO_LIMITS: Limits = Limits {
    max_frame_bytes: usize::MAX,
    max_depth: usize::MAX,
    max_elements: usize::MAX,
};

/// Where the attachments start, and `skip` ready to walk them. Of a reply, whose value stands in front of
/// them, only where all of it is there.
fn start(frame: &Frame, head: &[u8], skip: &mut Skip) -> Option<usize> {
    let there = frame.kind != Kind::Response || head.len() >= frame.len;
    if serialization(frame.format) != Some(HESSIAN2) || !there {
        return None;
    }
    match edit::place(frame, &head[..head.len().min(frame.len)], skip) {
        Ok(Some((start, None))) if start != 0 => Some(start),
        _ => None,
    }
}

/// Calls `visit` with each pair whose name and value are strings, in order.
pub(super) fn visit<'h>(frame: &Frame, head: &'h [u8], visit: &mut dyn FnMut(&'h [u8], &'h [u8])) {
    let _ = each(frame, head, &mut |entry| {
        if let (Some(name), Some(value)) = (entry.name, entry.value) {
            visit(&head[name], &head[value]);
        }
    });
}

/// Whether `scrub` takes something out of them.
pub(super) fn look(frame: &Frame, head: &[u8], scrub: &dyn Scrub) -> Found {
    let mut found = Found::Nothing;
    let all = each(frame, head, &mut |entry| {
        if scrubbed(scrub, &entry, head) != Scrubbed::Same {
            found = Found::Something;
        }
    });
    if all { found } else { Found::Unknown }
}

/// What stays of an entry.
pub(super) fn scrubbed(scrub: &dyn Scrub, entry: &Entry, bytes: &[u8]) -> Scrubbed {
    match &entry.name {
        Some(name) => {
            let value = entry.value.clone().map(|value| &bytes[value]);
            scrub.scrub(&bytes[name.clone()], value)
        }
        None => Scrubbed::Same,
    }
}

/// Calls `visit` with each pair, in order; whether that was all of them.
fn each(frame: &Frame, head: &[u8], visit: &mut dyn FnMut(Entry)) -> bool {
    let mut skip = Skip::default();
    let Some(start) = start(frame, head, &mut skip) else {
        return false;
    };
    let mut at = match open(head, start) {
        Ok(Some(at)) => at,
        Ok(None) => return true,
        Err(_) => return false,
    };
    loop {
        let entry = match next(head, at, &mut skip, &NO_LIMITS) {
            // An object of a class that an argument defined: rare, so that nothing is kept for it.
            Err(_) if skip.is_partial() => {
                if request::learn_classes(head, frame, &mut skip, &NO_LIMITS).is_err()
                    || relearn(head, start, at, &mut skip).is_err()
                {
                    return false;
                }
                continue;
            }
            Ok(Some(entry)) => entry,
            Ok(None) => return true,
            Err(_) => return false,
        };
        at = entry.all.end;
        visit(entry);
    }
}

/// Walks the attachments up to `to` again, for the classes that they define.
fn relearn(head: &[u8], start: usize, to: usize, skip: &mut Skip) -> Result<(), DecodeError> {
    let Some(mut at) = open(head, start)? else {
        return Ok(());
    };
    while at < to {
        let Some(entry) = next(head, at, skip, &NO_LIMITS)? else {
            break;
        };
        at = entry.all.end;
    }
    Ok(())
}

/// The value of the last attachment of that name that is a string.
pub(super) fn find<'h>(frame: &Frame, head: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let mut found = None;
    visit(frame, head, &mut |other, value| {
        if other.eq_ignore_ascii_case(name.as_bytes()) {
            found = Some(value);
        }
    });
    found
}
