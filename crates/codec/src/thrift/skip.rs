//! Finds the end of a message that has no length, by going over its fields.
//!
//! The walk stops where bytes are missing and goes on there when more have come: what was
//! visited is not visited again, so the work is linear in the bytes however they arrive. The
//! stack lives here, not in calls, and keeps its memory from message to message.
//!
//! Where Thrift's own readers disagree about what a byte means (a length of more than 31 bits, a
//! type that only some know, a stop with a field id), the message is refused: an end that another
//! reader finds elsewhere would let one request hide inside another.

use super::format::Encoding;
use super::wire::{invalid, u32_at, varint32, varint64_end};
use crate::{DecodeError, Limits};

/// How the bytes of a value are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// So many bytes.
    Fixed(u8),
    Varint,
    /// A length, and so many bytes.
    Bytes,
    Struct,
    List,
    Map,
    /// What an empty list of the compact protocol may name as its element type.
    Nothing,
}

/// A struct or container that the walk is in.
#[derive(Clone, Copy, Debug)]
enum Level {
    Struct,
    /// So many values are left: of a list all of one form, of a map keys and values in turn.
    Values {
        forms: [Form; 2],
        left: u64,
    },
}

/// What comes behind the head of a value.
enum Step {
    /// More bytes are needed to say.
    Wait,
    /// The value ends here, be the bytes there already or not.
    To(usize),
    /// The value holds others, the first of which starts here.
    Into(Level, usize),
}

/// A walk over the fields of one message.
#[derive(Debug, Default)]
pub(super) struct Skip {
    at: usize,
    elements: usize,
    stack: Vec<Level>,
    /// Bytes looked at, counted again when they are looked at again.
    #[cfg(test)]
    pub(super) visited: usize,
}

impl Skip {
    /// Begins at the fields of a message, which start at `at`.
    pub(super) fn begin(&mut self, at: usize) {
        self.at = at;
        self.elements = 0;
        self.stack.clear();
        self.stack.push(Level::Struct);
    }

    /// Where the walk stands. What comes before is passed.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Goes on with `piece` alone, which starts at byte `from` of what the walk goes over, not behind
    /// where it stands.
    #[inline]
    pub(super) fn run_piece(
        &mut self,
        piece: &[u8],
        from: usize,
        encoding: Encoding,
        limits: &Limits,
    ) -> Result<Option<usize>, DecodeError> {
        self.at -= from;
        let outcome = self.run(piece, encoding, limits);
        self.at = self.at.saturating_add(from);
        match outcome {
            Ok(end) => Ok(end.map(|end| end + from)),
            Err(error) => Err(error.shifted(from)),
        }
    }

    /// Goes on. The end of the message, or None where more bytes are needed.
    pub(super) fn run(
        &mut self,
        buf: &[u8],
        encoding: Encoding,
        limits: &Limits,
    ) -> Result<Option<usize>, DecodeError> {
        loop {
            if self.at > limits.max_frame_bytes {
                return Err(DecodeError::TooLarge {
                    bytes: self.at,
                    limit: limits.max_frame_bytes,
                });
            }
            if self.at > buf.len() {
                return Ok(None);
            }
            let more = match self.stack.last().copied() {
                None => return Ok(Some(self.at)),
                Some(Level::Struct) => self.field(buf, encoding, limits)?,
                Some(Level::Values { left: 0, .. }) => {
                    self.stack.pop();
                    true
                }
                Some(Level::Values { forms, left }) => {
                    self.value(buf, encoding, limits, forms, left)?
                }
            };
            if !more {
                return Ok(None);
            }
        }
    }

    /// Passes one field. False: more bytes are needed, and nothing was passed.
    fn field(
        &mut self,
        buf: &[u8],
        encoding: Encoding,
        limits: &Limits,
    ) -> Result<bool, DecodeError> {
        let Some(&kind) = buf.get(self.at) else {
            return Ok(false);
        };
        self.visit(1);
        if kind == 0 {
            self.at += 1;
            self.stack.pop();
            return Ok(true);
        }
        let (form, value_at) = match encoding {
            Encoding::Compact => {
                let form = compact_field(kind, self.at)?;
                let value_at = if kind >> 4 == 0 {
                    varint64_end(buf, self.at + 1)?
                } else {
                    Some(self.at + 1)
                };
                let Some(value_at) = value_at else {
                    return Ok(false);
                };
                (form, value_at)
            }
            Encoding::Strict | Encoding::Lax => (binary_form(kind, self.at)?, self.at + 3),
        };
        self.visit(value_at - self.at);
        let step = self.step(buf, encoding, limits, form, value_at)?;
        if matches!(step, Step::Wait) {
            return Ok(false);
        }
        self.count(1, limits)?;
        self.take(step, limits)?;
        Ok(true)
    }

    /// Passes the next value of a container, or all that are left where their size is known.
    fn value(
        &mut self,
        buf: &[u8],
        encoding: Encoding,
        limits: &Limits,
        forms: [Form; 2],
        left: u64,
    ) -> Result<bool, DecodeError> {
        let (step, rest) = if let [Form::Fixed(first), Form::Fixed(second)] = forms {
            // Keys and values in turn: `left` is even here, or both have one size.
            let bytes = left * (u64::from(first) + u64::from(second)) / 2;
            (
                Step::To(
                    self.at
                        .saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX)),
                ),
                0,
            )
        } else {
            let form = forms[(left % 2) as usize];
            (self.step(buf, encoding, limits, form, self.at)?, left - 1)
        };
        if matches!(step, Step::Wait) {
            return Ok(false);
        }
        if let Some(Level::Values { left, .. }) = self.stack.last_mut() {
            *left = rest;
        }
        self.take(step, limits)?;
        Ok(true)
    }

    fn take(&mut self, step: Step, limits: &Limits) -> Result<(), DecodeError> {
        match step {
            Step::Wait => {}
            Step::To(end) => self.at = end,
            Step::Into(level, at) => {
                if self.stack.len() >= limits.max_depth {
                    return Err(DecodeError::TooComplex {
                        at: self.at,
                        reason: "structs and containers nested too deep",
                    });
                }
                if let Level::Values { left, .. } = level {
                    self.count(left, limits)?;
                }
                self.at = at;
                self.stack.push(level);
            }
        }
        Ok(())
    }

    /// Reads what tells where the value at `at` ends. Nothing is taken yet.
    #[inline(always)] // a third of the time of a small message
    fn step(
        &mut self,
        buf: &[u8],
        encoding: Encoding,
        limits: &Limits,
        form: Form,
        at: usize,
    ) -> Result<Step, DecodeError> {
        let compact = encoding == Encoding::Compact;
        let step = match form {
            Form::Fixed(bytes) => Some(Step::To(at + usize::from(bytes))),
            Form::Varint => varint64_end(buf, at)?.map(Step::To),
            Form::Bytes => {
                length(buf, at, compact)?.map(|(len, from)| Step::To(from.saturating_add(len)))
            }
            Form::Struct => Some(Step::Into(Level::Struct, at)),
            Form::List if compact => compact_list(buf, at, limits)?,
            Form::List => binary_list(buf, at, limits)?,
            Form::Map if compact => compact_map(buf, at, limits)?,
            Form::Map => binary_map(buf, at, limits)?,
            Form::Nothing => return Err(invalid(at, UNKNOWN_TYPE)),
        };
        self.visit(match &step {
            Some(Step::Into(_, end)) => end - at,
            Some(Step::To(end)) if form == Form::Varint => end - at,
            _ => buf.len().saturating_sub(at).min(10),
        });
        Ok(step.unwrap_or(Step::Wait))
    }

    fn count(&mut self, elements: u64, limits: &Limits) -> Result<(), DecodeError> {
        self.elements = self
            .elements
            .saturating_add(usize::try_from(elements).unwrap_or(usize::MAX));
        if self.elements > limits.max_elements {
            return Err(DecodeError::TooComplex {
                at: self.at,
                reason: "too many fields and elements",
            });
        }
        Ok(())
    }

    #[cfg(test)]
    fn visit(&mut self, bytes: usize) {
        self.visited += bytes;
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests count what is visited")]
    const fn visit(&self, _bytes: usize) {}
}

const UNKNOWN_TYPE: &str = "a type that Thrift does not have";

/// A length, and where what it counts starts; an error where it is negative.
#[inline(always)]
fn length(buf: &[u8], at: usize, compact: bool) -> Result<Option<(usize, usize)>, DecodeError> {
    let read = if compact {
        varint32(buf, at)?
    } else {
        u32_at(buf, at).map(|len| (len, at + 4))
    };
    match read {
        Some((len, _)) if len > i32::MAX as u32 => Err(invalid(at, "a negative length")),
        Some((len, end)) => Ok(Some((len as usize, end))),
        None => Ok(None),
    }
}

fn values(
    forms: [Form; 2],
    count: usize,
    at: usize,
    limits: &Limits,
) -> Result<Level, DecodeError> {
    if count > limits.max_elements {
        return Err(DecodeError::TooComplex {
            at,
            reason: "a container with too many elements",
        });
    }
    Ok(Level::Values {
        forms,
        left: count as u64,
    })
}

fn binary_list(buf: &[u8], at: usize, limits: &Limits) -> Result<Option<Step>, DecodeError> {
    let Some((count, end)) = length(buf, at + 1, false)? else {
        return Ok(None);
    };
    if count == 0 {
        return Ok(Some(Step::To(end))); // some writers name no type then
    }
    let form = binary_form(buf[at], at)?;
    Ok(Some(Step::Into(values([form; 2], count, at, limits)?, end)))
}

fn binary_map(buf: &[u8], at: usize, limits: &Limits) -> Result<Option<Step>, DecodeError> {
    let Some((count, end)) = length(buf, at + 2, false)? else {
        return Ok(None);
    };
    if count == 0 {
        return Ok(Some(Step::To(end)));
    }
    let (key, value) = (binary_form(buf[at], at)?, binary_form(buf[at + 1], at + 1)?);
    pairs(key, value, count, at, limits).map(|level| Some(Step::Into(level, end)))
}

fn compact_list(buf: &[u8], at: usize, limits: &Limits) -> Result<Option<Step>, DecodeError> {
    let Some(&head) = buf.get(at) else {
        return Ok(None);
    };
    let form = compact_element(head, at)?;
    let (count, end) = if head >> 4 == 15 {
        let Some(read) = length(buf, at + 1, true)? else {
            return Ok(None);
        };
        read
    } else {
        (usize::from(head >> 4), at + 1)
    };
    Ok(Some(Step::Into(values([form; 2], count, at, limits)?, end)))
}

fn compact_map(buf: &[u8], at: usize, limits: &Limits) -> Result<Option<Step>, DecodeError> {
    let Some((count, types)) = length(buf, at, true)? else {
        return Ok(None);
    };
    if count == 0 {
        return Ok(Some(Step::To(types)));
    }
    let Some(&kinds) = buf.get(types) else {
        return Ok(None);
    };
    let (key, value) = (
        compact_element(kinds >> 4, types)?,
        compact_element(kinds, types)?,
    );
    pairs(key, value, count, at, limits).map(|level| Some(Step::Into(level, types + 1)))
}

/// The level of a map: an even number of values is left where a key comes, an odd one where a value does.
fn pairs(
    key: Form,
    value: Form,
    count: usize,
    at: usize,
    limits: &Limits,
) -> Result<Level, DecodeError> {
    match values([key, value], count, at, limits)? {
        Level::Values { forms, left } => Ok(Level::Values {
            forms,
            left: left * 2,
        }),
        Level::Struct => Ok(Level::Struct),
    }
}

/// The types of the binary protocol.
#[inline(always)]
fn binary_form(kind: u8, at: usize) -> Result<Form, DecodeError> {
    Ok(match kind {
        2 | 3 => Form::Fixed(1),
        4 | 10 => Form::Fixed(8),
        6 => Form::Fixed(2),
        8 => Form::Fixed(4),
        11 => Form::Bytes,
        12 => Form::Struct,
        13 => Form::Map,
        14 | 15 => Form::List,
        16 => Form::Fixed(16),
        _ => return Err(invalid(at, UNKNOWN_TYPE)),
    })
}

/// The type of a field of the compact protocol: booleans have their value in it.
fn compact_field(head: u8, at: usize) -> Result<Form, DecodeError> {
    match head & 0x0f {
        0 => Err(invalid(at, "a stop with a field id")),
        1 | 2 => Ok(Form::Fixed(0)),
        _ => compact_element(head, at),
    }
}

/// The type of an element of the compact protocol: booleans are a byte each.
fn compact_element(head: u8, at: usize) -> Result<Form, DecodeError> {
    Ok(match head & 0x0f {
        0 => Form::Nothing,
        1..=3 => Form::Fixed(1),
        4..=6 => Form::Varint,
        7 => Form::Fixed(8),
        8 => Form::Bytes,
        9 | 10 => Form::List,
        11 => Form::Map,
        12 => Form::Struct,
        13 => Form::Fixed(16),
        _ => return Err(invalid(at, UNKNOWN_TYPE)),
    })
}
