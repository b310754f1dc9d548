//! Bytes to frames: finds out how a connection writes, then reads the head of each message.

use super::body::Body;
use super::format::{Encoding, Transport, pack, unpack};
use super::message::{self, Head, MAX_METHOD_BYTES};
use super::skip::Skip;
use super::wire::{invalid, u16_at, u32_at};
use super::{INFO, METHOD, PAYLOAD, SEQID, header};
use crate::{DecodeError, Decoder, Direction, Format, Frame, Ids, Limits, Span};

/// Longest frame that any transport can have (TTHeader's own limit), in bytes.
const MAX_FRAME_BYTES: usize = 0x3fff_ffff;

/// One direction of one Thrift connection.
#[derive(Debug)]
pub(super) struct ThriftDecoder {
    direction: Direction,
    limits: Limits,
    /// None: the first bytes tell.
    transport: Option<Transport>,
    /// The walk over the fields of the message at hand.
    skip: Skip,
    /// Unframed: the head of a message whose end is waited for.
    unfinished: Option<Frame>,
    /// Framed requests: what is known of the body.
    body: Body,
}

impl ThriftDecoder {
    pub(super) fn new(direction: Direction, format: Format, limits: Limits) -> Self {
        Self {
            direction,
            limits: Limits {
                max_frame_bytes: limits.max_frame_bytes.min(MAX_FRAME_BYTES),
                ..limits
            },
            transport: unpack(format).map(|(transport, _)| transport),
            skip: Skip::default(),
            unfinished: None,
            body: Body::default(),
        }
    }

    fn in_frame(&mut self, buf: &[u8], transport: Transport) -> Result<Option<Frame>, DecodeError> {
        let frame = match transport {
            Transport::Framed => self.framed(buf)?,
            _ => header::decode(buf, transport, self.direction, &self.limits)?,
        };
        self.body.end();
        // Of a reply it is known whose it is; a message behind a transform cannot be read.
        if let Some(frame) = &frame
            && self.direction == Direction::Request
            && !frame.spans[SEQID].is_empty()
        {
            self.skip.begin(frame.head_len);
            self.body.begin(frame.len, encoding_of(frame));
            let shown = &buf[..buf.len().min(frame.len)];
            self.body
                .show(shown, &mut self.skip, self.limits.max_depth)?;
        }
        Ok(frame)
    }

    fn framed(&self, buf: &[u8]) -> Result<Option<Frame>, DecodeError> {
        let Some(len) = declared_len(buf, &self.limits)? else {
            return Ok(None);
        };
        let Some(head) = message::read(buf, 4, len, self.direction)? else {
            return Ok(None);
        };
        Ok(Some(plain_frame(Transport::Framed, &head, len)))
    }

    fn unframed(&mut self, buf: &[u8]) -> Result<Option<Frame>, DecodeError> {
        let mut frame = match self.unfinished.take() {
            Some(frame) => frame,
            None => {
                // A lax message has no mark: each has to be one that would be told from a frame if it
                // were the first, as it may be on its way upstream.
                if buf.first() == Some(&0) {
                    match detect(buf, &self.limits)? {
                        None => return Ok(None),
                        Some(Transport::Unframed) => {}
                        Some(_) => return Err(invalid(4, "a frame on an unframed connection")),
                    }
                }
                let Some(head) = message::read(buf, 0, usize::MAX, self.direction)? else {
                    return Ok(None);
                };
                self.skip.begin(head.end);
                plain_frame(Transport::Unframed, &head, 0)
            }
        };
        match self.skip.run(buf, encoding_of(&frame), &self.limits)? {
            Some(end) => {
                frame.len = end;
                Ok(Some(frame))
            }
            None => {
                self.unfinished = Some(frame);
                Ok(None)
            }
        }
    }
}

impl Decoder for ThriftDecoder {
    fn decode(&mut self, buf: &[u8]) -> Result<Option<Frame>, DecodeError> {
        let transport = match self.transport {
            Some(transport) => transport,
            None => {
                let Some(transport) = detect(buf, &self.limits)? else {
                    return Ok(None);
                };
                self.transport = Some(transport);
                transport
            }
        };
        match transport {
            Transport::Unframed => self.unframed(buf),
            _ => self.in_frame(buf, transport),
        }
    }

    fn body(&mut self, bytes: &[u8], left: usize) -> Result<(), DecodeError> {
        let new = self.body.unseen(bytes, left)?;
        self.body.show(new, &mut self.skip, self.limits.max_depth)
    }
}

/// The bytes of the frame whose length is at `buf[0]`, checked before anything else is waited for.
pub(super) fn declared_len(buf: &[u8], limits: &Limits) -> Result<Option<usize>, DecodeError> {
    let Some(len) = u32_at(buf, 0) else {
        return Ok(None);
    };
    if len > i32::MAX as u32 {
        return Err(invalid(0, "a frame of a negative length"));
    }
    let len = len as usize + 4;
    if len > limits.max_frame_bytes {
        return Err(DecodeError::TooLarge {
            bytes: len,
            limit: limits.max_frame_bytes,
        });
    }
    Ok(Some(len))
}

fn encoding_of(frame: &Frame) -> Encoding {
    unpack(frame.format).map_or(Encoding::Strict, |(_, encoding)| encoding)
}

fn plain_frame(transport: Transport, head: &Head, len: usize) -> Frame {
    let mut spans = [Span::default(); 4];
    spans[METHOD] = head.method;
    spans[SEQID] = head.seqid;
    debug_assert!(spans[INFO].is_empty() && spans[PAYLOAD].is_empty());
    Frame {
        kind: head.kind,
        status: head.status,
        len,
        head_len: head.end,
        format: pack(transport, head.encoding),
        ids: Ids {
            message: u64::from(head.id),
            header: 0,
        },
        rewritable: true,
        any_order: false,
        spans,
    }
}

/// Tells the transport from the first bytes of a connection. None: more bytes are needed.
///
/// The marks do not overlap: a length has its highest bit clear, the version words of the binary and
/// the compact protocol have it set, no method name starts with the bytes of a header's magic, and the
/// name's length that a lax binary message starts with is told from a frame's length by what follows:
/// a name, or (the two upper bytes of) another length.
fn detect(buf: &[u8], limits: &Limits) -> Result<Option<Transport>, DecodeError> {
    const NO_THRIFT: &str = "no Thrift message starts like this";
    match (buf.first(), buf.get(1)) {
        (None, _) | (Some(0x80 | 0x82), None) => return Ok(None),
        (Some(0x80), Some(0x01)) => return Ok(Some(Transport::Unframed)),
        (Some(0x82), Some(version)) if version & 0x1f == 1 => return Ok(Some(Transport::Unframed)),
        (Some(0x80..), _) => return Err(invalid(0, NO_THRIFT)),
        _ => {}
    }
    let Some(len) = declared_len(buf, limits)? else {
        return Ok(None);
    };
    match buf.get(4) {
        None => Ok(None),
        Some(1..=4) if len == 4 => Ok(Some(Transport::Unframed)), // a lax message without a name
        Some(_) if len == 4 => Err(invalid(0, "an empty frame")),
        Some(0x00 | 0x80 | 0x82) => Ok(Some(Transport::Framed)),
        Some(0x0f | 0x10) => match u16_at(buf, 4) {
            None => Ok(None),
            Some(header::THEADER_MAGIC) => Ok(Some(Transport::THeader)),
            Some(header::TTHEADER_MAGIC) => Ok(Some(Transport::TTHeader)),
            Some(_) => Err(invalid(4, NO_THRIFT)),
        },
        Some(&byte) if message::starts_a_name(byte) && len <= 4 + MAX_METHOD_BYTES => {
            Ok(Some(Transport::Unframed))
        }
        Some(_) => Err(invalid(4, NO_THRIFT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a decoder looked at to read `message`, which comes in pieces of `piece` bytes.
    fn visited(message: &[u8], piece: usize) -> usize {
        let mut decoder = ThriftDecoder::new(Direction::Request, Format::DETECT, Limits::default());
        let mut given = 0;
        loop {
            given = (given + piece).min(message.len());
            if let Some(frame) = decoder.decode(&message[..given]).expect("a message") {
                assert_eq!((frame.len, given), (message.len(), message.len()));
                return decoder.skip.visited;
            }
        }
    }

    /// The same for the message in a frame, which is given out by its head, and its body passes.
    fn visited_framed(message: &[u8], piece: usize) -> usize {
        let frame = [&(message.len() as u32).to_be_bytes(), message].concat();
        let mut decoder = ThriftDecoder::new(Direction::Request, Format::DETECT, Limits::default());
        let head = decoder.decode(&frame[..20]).expect("a head");
        assert_eq!(head.map(|head| head.len), Some(frame.len()));
        let mut at = 20;
        for bytes in frame[20..].chunks(piece) {
            at += bytes.len();
            decoder.body(bytes, frame.len() - at).expect("one message");
        }
        decoder.skip.visited
    }

    /// A call in the compact protocol with `count` times the field `field`.
    fn compact(field: &[u8], count: usize) -> Vec<u8> {
        [&[0x82, 0x21, 0, 1, b'a'][..], &field.repeat(count), &[0]].concat()
    }

    #[test]
    fn work_is_linear_in_the_bytes_however_they_arrive() {
        let fields: [(&str, &[u8]); 6] = [
            ("integers", &[0x16, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            ("strings", &[0x18, 3, b'a', b'b', b'c']),
            ("structs", &[0x1c, 0x1c, 0, 0]),
            ("maps", &[0x1b, 1, 0x81, 1, b'k', 1]),
            ("lists", &[0x19, 0x24, 0x80, 0x01, 5]),
            ("far ids", &[0x05, 0xff, 0xff, 3, 1]),
        ];
        for (name, field) in fields {
            for count in [1_000, 20_000] {
                let message = compact(field, count);
                for work in [
                    visited(&message, 1),
                    visited_framed(&message, 1),
                    visited_framed(&message, 1000),
                ] {
                    assert!(
                        work <= 12 * message.len(),
                        "{count} {name}: {work} for {}",
                        message.len()
                    );
                }
            }
        }
    }

    #[test]
    fn a_list_of_numbers_of_fixed_size_is_one_step() {
        let head = [
            0x80, 1, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 0, 15, 0, 1, 8, 0, 0, 0x27, 0x10,
        ];
        let message = [&head[..], &[7; 40_000], &[0]].concat();
        assert!(visited(&message, message.len()) < 50);
        assert!(visited(&message, 1) < 200);
        assert!(visited_framed(&message, 1) < 300);
    }
}
