//! The mark of a lane: a member `key=value` of W3C baggage, found wherever in the header it is.
//!
//! Lanes say it as a regular expression, which every client understands (`meltemi.lanes.mark`). Exactly
//! that expression is known here, and means the same: a header is read once for all lanes there are,
//! and none of their expressions is compiled.

use std::fmt::Write;
use std::sync::Arc;

/// Bytes of `key=value` that an index looks up; a longer mark is compared with each member.
pub(crate) const LONGEST: usize = 256;

const START: &str = r"^(?:.*,)?[ \t]*";
const BETWEEN: &str = r"[ \t]*=[ \t]*";
const END: &str = r"[ \t]*(?:[;,].*)?$";

/// Characters before which the expression has a backslash (Python's `re.escape`).
const ESCAPED: &[u8] = b"()[]{}?*+-|^$\\.&~# \t\n\r\x0b\x0c";

/// A key and a value to be found in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// `key=value`, nothing of it encoded.
    member: Arc<[u8]>,
    key_len: usize,
}

/// One `key=value` of a header, without its properties and the space around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'h> {
    /// Both, and what is between them.
    whole: &'h [u8],
    key: &'h [u8],
    value: &'h [u8],
}

impl Mark {
    /// The mark that `pattern` looks for; None for every pattern that is not letter by letter such a one.
    pub(crate) fn of_pattern(pattern: &str) -> Option<Self> {
        let wanted = pattern.strip_prefix(START)?.strip_suffix(END)?;
        let (key, value) = wanted.split_once(BETWEEN)?;
        let key: String = key.chars().filter(|one| *one != '\\').collect();
        let value = read(value)?;
        let is_key = !key.is_empty() && key.bytes().all(is_token);
        (is_key && written(&key, &value) == pattern).then(|| {
            let member = [key.as_bytes(), b"=", &value].concat();
            Self {
                member: member.into(),
                key_len: key.len(),
            }
        })
    }

    /// `key=value`, by which an index finds it; None where it is too long for that.
    pub(crate) fn indexed(&self) -> Option<&Arc<[u8]>> {
        (self.member.len() <= LONGEST).then_some(&self.member)
    }

    /// The key of a `key=value` that [`Mark::indexed`] gave.
    pub(crate) fn key_of(indexed: &[u8]) -> &[u8] {
        let end = indexed.iter().position(|byte| *byte == b'=');
        &indexed[..end.unwrap_or(indexed.len())]
    }

    /// Whether a member of the header is the mark.
    pub(crate) fn accepts(&self, header: &[u8]) -> bool {
        let (key, value) = self.member.split_at(self.key_len);
        let wanted = value[1..].iter().copied().map(Some);
        members(header)
            .filter_map(|member| Member::read(member, Some(key)))
            .any(|member| decoded(member.value).eq(wanted.clone()))
    }
}

/// The members of a header, in order, each with its properties. None at all of one with a line break,
/// which the expression's `.` does not pass.
#[inline]
pub(crate) fn members(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let header = if header.contains(&b'\n') { b"" } else { header };
    header.split(|byte| *byte == b',')
}

impl<'h> Member<'h> {
    /// What a member says; None where it is none, or has not the key that alone is wanted.
    #[inline]
    pub(crate) fn read(member: &'h [u8], only_key: Option<&[u8]>) -> Option<Self> {
        let from_key = trimmed_start(member);
        if only_key.is_some_and(|only| !from_key.starts_with(only)) {
            return None;
        }
        let properties = from_key.iter().position(|byte| *byte == b';');
        let whole = trimmed_end(&from_key[..properties.unwrap_or(from_key.len())]);
        let between = whole.iter().position(|byte| *byte == b'=')?;
        let key = trimmed_end(&whole[..between]);
        only_key.is_none_or(|only| only == key).then(|| Self {
            whole,
            key,
            value: trimmed_start(&whole[between + 1..]),
        })
    }

    /// `key=value` with nothing encoded and no space, where it stands so in the header.
    #[inline]
    pub(crate) fn as_written(&self) -> Option<&'h [u8]> {
        let Self { whole, key, value } = *self;
        let stands = key.len() + 1 + value.len() == whole.len();
        (stands && value.iter().all(|byte| is_plain(*byte))).then_some(whole)
    }

    /// The same made in `space`; None where the value is none that a mark of an index has.
    pub(crate) fn decoded<'s>(&self, space: &'s mut [u8; LONGEST]) -> Option<&'s [u8]> {
        let mut len = 0;
        let start = self.key.iter().copied().chain([b'=']).map(Some);
        for byte in start.chain(decoded(self.value)) {
            *space.get_mut(len)? = byte?;
            len += 1;
        }
        Some(&space[..len])
    }
}

/// The bytes that a value stands for; None in place of one that is neither plain nor percent-encoded.
fn decoded(value: &[u8]) -> impl Iterator<Item = Option<u8>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (byte, behind) = match *rest {
            [] => return None,
            [b'%', high, low, ref behind @ ..] => (pair(high, low), behind),
            [byte, ref behind @ ..] => (is_plain(byte).then_some(byte), behind),
        };
        rest = behind;
        Some(byte)
    })
}

fn pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

fn trimmed_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_space(*byte));
    &text[start.unwrap_or(text.len())..]
}

fn trimmed_end(text: &[u8]) -> &[u8] {
    let last = text.iter().rposition(|byte| !is_space(*byte));
    &text[..last.map_or(0, |last| last + 1)]
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a key is made of: a token of RFC 7230.
const fn is_token(byte: u8) -> bool {
    is_plain(byte) || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'^' | b'`' | b'|')
}

/// The value that the part of an expression stands for: a letter or its encoding each time.
fn read(mut part: &str) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    while !part.is_empty() {
        let is_plain = part.starts_with("(?:");
        let (_, encoded) = part.split_once('%')?;
        let (high, rest) = digit(encoded)?;
        let (low, rest) = digit(rest)?;
        value.push(pair(high, low)?);
        part = if is_plain {
            rest.strip_prefix(')')?
        } else {
            rest
        };
    }
    Some(value)
}

/// A hexadecimal digit, `7` or `[Aa]`, and what is behind it.
fn digit(text: &str) -> Option<(u8, &str)> {
    let bytes = text.as_bytes();
    match *bytes {
        [b'[', letter, _, b']', ..] => Some((letter, &text[4..])),
        [number @ b'0'..=b'9', ..] => Some((number, &text[1..])),
        _ => None,
    }
}

/// The expression for a mark.
fn written(key: &str, value: &[u8]) -> String {
    let mut pattern = String::from(START);
    for letter in key.chars() {
        push_escaped(&mut pattern, letter);
    }
    pattern.push_str(BETWEEN);
    for byte in value {
        if is_plain(*byte) {
            pattern.push_str("(?:");
            push_escaped(&mut pattern, char::from(*byte));
            pattern.push('|');
        }
        pattern.push('%');
        for digit in [byte >> 4, byte & 15] {
            // Writing to a String cannot fail.
            let _ = match digit {
                0..=9 => write!(pattern, "{digit}"),
                _ => write!(pattern, "[{digit:X}{digit:x}]"),
            };
        }
        if is_plain(*byte) {
            pattern.push(')');
        }
    }
    pattern + END
}

fn push_escaped(pattern: &mut String, letter: char) {
    if letter.is_ascii() && ESCAPED.contains(&(letter as u8)) {
        pattern.push('\\');
    }
    pattern.push(letter);
}
