//! The body of a request: versions, names, parameter types, arguments, attachments.

use super::header::{HEADER_BYTES, HESSIAN2, serialization};
use super::hessian::{self, Skip, Text, invalid};
use super::{ATTACHMENTS, CLASSES, INTERFACE, METHOD};
use crate::{DecodeError, Frame, Limits, Span};
use std::ops::Range;

/// Reads the body of the request that is all of `bytes`: the spans of its frame.
pub(super) fn read(
    bytes: &[u8],
    skip: &mut Skip,
    limits: &Limits,
) -> Result<[Span; 4], DecodeError> {
    let (_, at) = name(bytes, HEADER_BYTES)?; // of Dubbo's own version
    let (interface, at) = name(bytes, at)?;
    let (_, at) = name(bytes, at)?; // the service's version
    let (method, at) = name(bytes, at)?;
    let (types, mut at) = name(bytes, at)?;
    skip.begin(0);
    for _ in 0..parameters(bytes, types)? {
        at = skip.value(bytes, at, limits)?;
    }
    let mut spans = [Span::default(); 4];
    spans[METHOD] = span(method);
    spans[INTERFACE] = span(interface);
    spans[ATTACHMENTS] = span(at..bytes.len());
    spans[CLASSES].start = skip.classes() as u32;
    super::attachments::check(bytes, at, skip, limits)?;
    Ok(spans)
}

fn span(range: Range<usize>) -> Span {
    Span {
        start: range.start as u32,
        len: range.len() as u32,
    }
}

/// Reads a string that is a name, or null, which is none.
fn name(bytes: &[u8], at: usize) -> Result<(Range<usize>, usize), DecodeError> {
    match hessian::text(bytes, at)? {
        (Text::Whole(range), end) => Ok((range, end)),
        (Text::Null, end) => Ok((at..at, end)),
        (Text::Chunks, _) => Err(invalid(at, "a name in pieces")),
        (Text::Other, _) => Err(invalid(at, "no name, where one is due")),
    }
}

/// The version of the service, as the body has it; None where it has none.
pub(super) fn version<'h>(frame: &Frame, head: &'h [u8]) -> Option<&'h [u8]> {
    if serialization(frame.format) != Some(HESSIAN2) || frame.spans[ATTACHMENTS].start == 0 {
        return None;
    }
    let (_, at) = name(head, HEADER_BYTES).ok()?;
    let (_, at) = name(head, at).ok()?;
    let (version, _) = name(head, at).ok()?;
    head.get(version).filter(|version| !version.is_empty())
}

/// Walks the arguments again, so that the skip knows the classes that they define.
pub(super) fn learn_classes(
    bytes: &[u8],
    frame: &Frame,
    skip: &mut Skip,
    limits: &Limits,
) -> Result<(), DecodeError> {
    skip.begin(0);
    let mut at = HEADER_BYTES;
    for _ in 0..4 {
        at = name(bytes, at)?.1;
    }
    at = name(bytes, at)?.1;
    let end = frame.spans[ATTACHMENTS].start as usize;
    while at < end {
        at = skip.value(bytes, at, limits)?;
    }
    Ok(())
}

/// The number of parameters that descriptors of Java types (`ILjava/lang/String;[J`) name.
///
/// Only what Apache Dubbo's reader would find in them is taken: it passes over what is no descriptor,
/// and would find another number of arguments there.
fn parameters(bytes: &[u8], types: Range<usize>) -> Result<usize, DecodeError> {
    let wrong = |at| invalid(at, "a parameter type that is none");
    let (mut at, end) = (types.start, types.end);
    let mut found = 0;
    while at < end {
        while at < end && bytes[at] == b'[' {
            at += 1;
        }
        match bytes[at..end].first() {
            Some(b'V' | b'Z' | b'B' | b'C' | b'D' | b'F' | b'I' | b'J' | b'S') => at += 1,
            Some(b'L') => {
                let rest = &bytes[at + 1..end];
                let length = rest
                    .iter()
                    .position(|byte| *byte == b';')
                    .ok_or(wrong(at))?;
                if !rest[..length]
                    .split(|byte| *byte == b'/')
                    .all(is_identifier)
                {
                    return Err(wrong(at));
                }
                at += length + 2;
            }
            _ => return Err(wrong(at)),
        }
        found += 1;
    }
    Ok(found)
}

fn is_identifier(word: &[u8]) -> bool {
    let starts = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$';
    word.first().is_some_and(|byte| starts(*byte))
        && word
            .iter()
            .all(|byte| starts(*byte) || byte.is_ascii_digit())
}
