//! Hessian 2: steps over a value without building it, and reads and writes strings.
//!
//! The grammar is <http://hessian.caucho.com/doc/hessian-serialization.html>, as hessian-lite (Apache
//! Dubbo's) reads it. Where its reader takes more than any writer writes (a null for a number, a name of
//! characters in more bytes than they need), this one refuses: what two readers read differently is a hole.

use crate::{DecodeError, Limits};
use std::ops::Range;

const CUT_OFF: &str = "a value goes beyond its frame";
/// Characters of a chunk that is written.
const CHUNK_CHARS: usize = 0x8000;
/// Characters of the smallest first chunk that a writer makes: a value in smaller ones would hide from rules.
const LEAST_CHUNK_CHARS: usize = 1024;
pub(super) const END: u8 = b'Z';
pub(super) const NULL: u8 = b'N';
pub(super) const MAP: u8 = b'H';
pub(super) const TYPED_MAP: u8 = b'M';

pub(super) const fn invalid(at: usize, reason: &'static str) -> DecodeError {
    DecodeError::Invalid { at, reason }
}

/// The `N` bytes at `at`.
fn bytes_at<const N: usize>(buf: &[u8], at: usize) -> Result<[u8; N], DecodeError> {
    buf.get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(invalid(buf.len(), CUT_OFF))
}

pub(super) fn byte_at(buf: &[u8], at: usize) -> Result<u8, DecodeError> {
    buf.get(at).copied().ok_or(invalid(buf.len(), CUT_OFF))
}

/// `at` and so many bytes more, if they are there.
fn forward(buf: &[u8], at: usize, by: usize) -> Result<usize, DecodeError> {
    match at.checked_add(by) {
        Some(end) if end <= buf.len() => Ok(end),
        _ => Err(invalid(buf.len(), CUT_OFF)),
    }
}

/// Reads the int at `at`, in any of its forms: its value, and where it ends.
fn int(buf: &[u8], at: usize) -> Result<(i32, usize), DecodeError> {
    let tag = byte_at(buf, at)?;
    let first = i32::from(tag);
    Ok(match tag {
        0x80..=0xbf => (first - 0x90, at + 1),
        0xc0..=0xcf => {
            let [low] = bytes_at(buf, at + 1)?;
            ((first - 0xc8) * 256 + i32::from(low), at + 2)
        }
        0xd0..=0xd7 => {
            let low = u16::from_be_bytes(bytes_at(buf, at + 1)?);
            ((first - 0xd4) * 65_536 + i32::from(low), at + 3)
        }
        b'I' => (i32::from_be_bytes(bytes_at(buf, at + 1)?), at + 5),
        _ => return Err(invalid(at, "no number, where one is due")),
    })
}

/// Reads a number of things.
fn count(buf: &[u8], at: usize) -> Result<(usize, usize), DecodeError> {
    let (value, end) = int(buf, at)?;
    let value = usize::try_from(value).map_err(|_| invalid(at, "a negative number of things"))?;
    Ok((value, end))
}

/// The head of a chunk of a string: its characters, where they start, and whether it is the last chunk.
fn string_chunk(buf: &[u8], at: usize) -> Result<Option<(usize, usize, bool)>, DecodeError> {
    let tag = byte_at(buf, at)?;
    Ok(Some(match tag {
        0x00..=0x1f => (usize::from(tag), at + 1, true),
        0x30..=0x33 => {
            let [low] = bytes_at(buf, at + 1)?;
            (
                usize::from(tag - 0x30) << 8 | usize::from(low),
                at + 2,
                true,
            )
        }
        b'R' | b'S' => {
            let chars = u16::from_be_bytes(bytes_at(buf, at + 1)?);
            (usize::from(chars), at + 3, tag == b'S')
        }
        _ => return Ok(None),
    }))
}

/// Where `chars` characters end that start at `at`. A character is one of UTF-16: those outside of the
/// basic plane are two, of three bytes each.
fn chars_end(buf: &[u8], start: usize, chars: usize) -> Result<usize, DecodeError> {
    let ascii = forward(buf, start, chars)?;
    if buf[start..ascii].is_ascii() {
        return Ok(ascii);
    }
    let mut at = start;
    for _ in 0..chars {
        let width = match byte_at(buf, at)? {
            0..=0x7f => 1,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => return Err(invalid(at, "a byte that no character starts with")),
        };
        at = forward(buf, at, width)?;
    }
    Ok(at)
}

/// Where the string at `at` ends.
fn string_end(buf: &[u8], mut at: usize) -> Result<usize, DecodeError> {
    loop {
        let Some((chars, start, last)) = string_chunk(buf, at)? else {
            return Err(invalid(at, "no string, where one is due"));
        };
        at = chars_end(buf, start, chars)?;
        if last {
            return Ok(at);
        }
    }
}

/// Whether the bytes are characters in as many bytes as each needs: a name in others would be read by
/// a provider and not be seen by a rule.
fn is_canonical(text: &[u8]) -> bool {
    if std::str::from_utf8(text).is_ok() {
        return true;
    }
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let width = match (first, behind) {
            (0..=0x7f, _) => 1,
            (0xc2..=0xdf, [0x80..=0xbf, ..]) => 2,
            (0xe0, [0xa0..=0xbf, 0x80..=0xbf, ..]) => 3,
            (0xe1..=0xef, [0x80..=0xbf, 0x80..=0xbf, ..]) => 3,
            _ => return false,
        };
        rest = &rest[width..];
    }
    true
}

/// What stands where a string may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// A string in one piece: the bytes of its characters.
    Whole(Range<usize>),
    /// A string of several chunks.
    Chunks,
    /// A null.
    Null,
    /// Something else; how it ends is not looked for.
    Other,
}

/// Reads the string at `at`, and where it ends.
pub(super) fn text(buf: &[u8], at: usize) -> Result<(Text, usize), DecodeError> {
    if byte_at(buf, at)? == NULL {
        return Ok((Text::Null, at + 1));
    }
    let Some((chars, start, last)) = string_chunk(buf, at)? else {
        return Ok((Text::Other, at));
    };
    if !last && chars < LEAST_CHUNK_CHARS {
        return Err(invalid(at, "a string in pieces that need not be"));
    }
    if !last {
        return Ok((Text::Chunks, string_end(buf, at)?));
    }
    let end = chars_end(buf, start, chars)?;
    // As many bytes as characters: all of them are ASCII.
    if end - start != chars && !is_canonical(&buf[start..end]) {
        return Err(invalid(start, "a character in bytes that are not its own"));
    }
    Ok((Text::Whole(start..end), end))
}

/// Whether a value that starts with `tag` is one of its own: no container, no object, no reference.
pub(super) const fn is_plain(tag: u8) -> bool {
    !matches!(
        tag,
        b'C' | b'O' | b'H' | b'M' | 0x51 | 0x55..=0x58 | 0x60..=0x7f
    )
}

/// Where a container stands that a walk is in.
#[derive(Clone, Copy, Debug)]
enum Level {
    /// So many values are left.
    Fixed(usize),
    /// Values up to the end mark; so many came.
    Open(usize),
    /// Pairs up to the end mark; so many keys came; whether a value is due.
    Pairs(usize, bool),
}

/// A walk over the values of one body.
#[derive(Debug, Default)]
pub(super) struct Skip {
    stack: Vec<Level>,
    /// The number of fields of each class that was defined, in order.
    classes: Vec<usize>,
    /// The number of classes that were defined before the walk began, where what they are is not known.
    before: usize,
}

impl Skip {
    /// Starts on another body. Memory is kept, but not much of it.
    pub(super) fn begin(&mut self, classes_before: usize) {
        const KEPT: usize = 1024;
        self.stack.clear();
        self.classes.clear();
        self.classes.shrink_to(KEPT);
        self.before = classes_before;
    }

    /// The classes that were defined.
    pub(super) fn classes(&self) -> usize {
        self.before + self.classes.len()
    }

    /// Whether what the classes are that came before is not known.
    pub(super) const fn is_partial(&self) -> bool {
        self.before > 0
    }

    /// Where the value at `at` ends.
    pub(super) fn value(
        &mut self,
        buf: &[u8],
        mut at: usize,
        limits: &Limits,
    ) -> Result<usize, DecodeError> {
        self.stack.clear();
        loop {
            at = self.one(buf, at, limits)?;
            loop {
                let Some(level) = self.stack.last_mut() else {
                    return Ok(at);
                };
                if due(level, buf, &mut at, limits)? {
                    break;
                }
                self.stack.pop();
            }
        }
    }

    /// Steps over the value at `at`, or into it.
    fn one(&mut self, buf: &[u8], mut at: usize, limits: &Limits) -> Result<usize, DecodeError> {
        let mut tag = byte_at(buf, at)?;
        while tag == b'C' {
            at = self.class(buf, at + 1, limits)?;
            tag = byte_at(buf, at)?;
        }
        match tag {
            b'H' => self.enter(at, Level::Pairs(0, false), limits, at + 1),
            b'M' => {
                let end = kind_end(buf, at + 1)?;
                self.enter(at, Level::Pairs(0, false), limits, end)
            }
            0x55 => {
                let end = kind_end(buf, at + 1)?;
                self.enter(at, Level::Open(0), limits, end)
            }
            0x57 => self.enter(at, Level::Open(0), limits, at + 1),
            0x56 | 0x58 => {
                let start = if tag == 0x56 {
                    kind_end(buf, at + 1)?
                } else {
                    at + 1
                };
                let (length, end) = count(buf, start)?;
                self.enter(at, fixed(buf, start, end, length, limits)?, limits, end)
            }
            0x70..=0x77 => {
                let end = kind_end(buf, at + 1)?;
                self.enter(at, Level::Fixed(usize::from(tag - 0x70)), limits, end)
            }
            0x78..=0x7f => self.enter(at, Level::Fixed(usize::from(tag - 0x78)), limits, at + 1),
            b'O' => {
                let (class, end) = count(buf, at + 1)?;
                self.object(at, class, limits, end)
            }
            0x60..=0x6f => self.object(at, usize::from(tag - 0x60), limits, at + 1),
            _ => scalar_end(buf, at),
        }
    }

    fn enter(
        &mut self,
        at: usize,
        level: Level,
        limits: &Limits,
        end: usize,
    ) -> Result<usize, DecodeError> {
        if self.stack.len() >= limits.max_depth {
            let reason = "values nested too deep";
            return Err(DecodeError::TooComplex { at, reason });
        }
        self.stack.push(level);
        Ok(end)
    }

    fn object(
        &mut self,
        at: usize,
        class: usize,
        limits: &Limits,
        end: usize,
    ) -> Result<usize, DecodeError> {
        let known = class
            .checked_sub(self.before)
            .and_then(|class| self.classes.get(class));
        let Some(fields) = known else {
            return Err(invalid(at, "an object of a class that was not defined"));
        };
        self.enter(at, Level::Fixed(*fields), limits, end)
    }

    /// Keeps how many fields the class has whose name is at `at`.
    fn class(&mut self, buf: &[u8], at: usize, limits: &Limits) -> Result<usize, DecodeError> {
        let start = string_end(buf, at)?;
        let (fields, mut end) = count(buf, start)?;
        fixed(buf, start, end, fields, limits)?;
        for _ in 0..fields {
            end = string_end(buf, end)?;
        }
        if self.classes.len() >= limits.max_elements {
            let reason = "too many classes";
            return Err(DecodeError::TooComplex { at, reason });
        }
        self.classes.push(fields);
        Ok(end)
    }
}

/// A container of `length` values, each of which is a byte at least.
fn fixed(
    buf: &[u8],
    at: usize,
    end: usize,
    length: usize,
    limits: &Limits,
) -> Result<Level, DecodeError> {
    if length > limits.max_elements {
        return Err(too_many(at));
    }
    if length > buf.len() - end {
        return Err(invalid(at, CUT_OFF));
    }
    Ok(Level::Fixed(length))
}

const fn too_many(at: usize) -> DecodeError {
    let reason = "too many elements in one value";
    DecodeError::TooComplex { at, reason }
}

/// Whether another value is due in a container; the end mark is passed over.
fn due(
    level: &mut Level,
    buf: &[u8],
    at: &mut usize,
    limits: &Limits,
) -> Result<bool, DecodeError> {
    let seen = match level {
        Level::Fixed(0) => return Ok(false),
        Level::Fixed(left) => {
            *left -= 1;
            return Ok(true);
        }
        Level::Pairs(_, due @ true) => {
            *due = false;
            return Ok(true);
        }
        Level::Open(seen) | Level::Pairs(seen, false) => seen,
    };
    if byte_at(buf, *at)? == END {
        *at += 1;
        return Ok(false);
    }
    *seen += 1;
    if *seen > limits.max_elements {
        return Err(too_many(*at));
    }
    if let Level::Pairs(_, due) = level {
        *due = true;
    }
    Ok(true)
}

/// Where the name of a type ends, or the number of one that was named before.
pub(super) fn kind_end(buf: &[u8], at: usize) -> Result<usize, DecodeError> {
    match string_chunk(buf, at)? {
        Some(_) => string_end(buf, at),
        None => count(buf, at).map(|(_, end)| end),
    }
}

/// Where a value ends that holds no others.
fn scalar_end(buf: &[u8], at: usize) -> Result<usize, DecodeError> {
    let by = match byte_at(buf, at)? {
        0x00..=0x1f | 0x30..=0x33 | b'R' | b'S' => return string_end(buf, at),
        0x20..=0x2f | 0x34..=0x37 | b'A' | b'B' => return binary_end(buf, at),
        b'N' | b'T' | b'F' | 0x5b | 0x5c | 0x80..=0xbf | 0xd8..=0xef => 1,
        0x5d | 0xc0..=0xcf | 0xf0..=0xff => 2,
        0x5e | 0xd0..=0xd7 | 0x38..=0x3f => 3,
        b'I' | 0x59 | 0x5f | 0x4b => 5,
        b'L' | b'D' | 0x4a => 9,
        0x51 => return count(buf, at + 1).map(|(_, end)| end),
        _ => return Err(invalid(at, "a byte that no value starts with")),
    };
    forward(buf, at, by)
}

fn binary_end(buf: &[u8], mut at: usize) -> Result<usize, DecodeError> {
    loop {
        let tag = byte_at(buf, at)?;
        let (length, start) = match tag {
            0x20..=0x2f => (usize::from(tag - 0x20), at + 1),
            0x34..=0x37 => {
                let [low] = bytes_at(buf, at + 1)?;
                (usize::from(tag - 0x34) << 8 | usize::from(low), at + 2)
            }
            b'A' | b'B' => {
                let length = u16::from_be_bytes(bytes_at(buf, at + 1)?);
                (usize::from(length), at + 3)
            }
            _ => return Err(invalid(at, "no bytes, where more are due")),
        };
        at = forward(buf, start, length)?;
        if tag != b'A' {
            return Ok(at);
        }
    }
}

/// Appends `text` as hessian-lite writes it: in chunks where it is long, and what is outside of the basic
/// plane as two characters, which stay together.
pub(super) fn put_string(text: &str, out: &mut Vec<u8>) {
    let mut left = text.encode_utf16().count();
    let mut chars = text.chars();
    while left > CHUNK_CHARS {
        let start = out.len();
        out.extend_from_slice(b"R\0\0");
        let mut taken = 0;
        while taken + 2 <= CHUNK_CHARS {
            let Some(char) = chars.next() else { break };
            put_char(char, out);
            taken += char.len_utf16();
        }
        out[start + 1..start + 3].copy_from_slice(&(taken as u16).to_be_bytes());
        left -= taken;
    }
    match left {
        0..=31 => out.push(left as u8),
        32..=1023 => out.extend_from_slice(&[0x30 + (left >> 8) as u8, left as u8]),
        _ => {
            out.push(b'S');
            out.extend_from_slice(&(left as u16).to_be_bytes());
        }
    }
    chars.for_each(|char| put_char(char, out));
}

fn put_char(char: char, out: &mut Vec<u8>) {
    let mut units = [0; 2];
    let units = char.encode_utf16(&mut units);
    if let [high, low] = units {
        for unit in [*high, *low] {
            let bytes = [
                0xe0 | (unit >> 12) as u8,
                0x80 | (unit >> 6 & 0x3f) as u8,
                0x80 | (unit & 0x3f) as u8,
            ];
            out.extend_from_slice(&bytes);
        }
    } else {
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    }
}
