//! Bytes to frames.

use super::header::{self, EVENT, HEADER_BYTES, HESSIAN2, Header, OK, REQUEST, TWO_WAY};
use super::hessian::{Skip, invalid};
use super::request;
use crate::{DecodeError, Decoder, Direction, Frame, Ids, Kind, Limits, Span, Status};

/// The int that a reply's body starts with, for an exception without attachments; the next five follow.
pub(super) const FIRST_TYPE: u8 = 0x90;
/// The bytes that say that a reply holds an exception: without, and with attachments.
const EXCEPTIONS: [u8; 2] = [FIRST_TYPE, FIRST_TYPE + 3];
/// The bytes that say that a reply has attachments.
pub(super) const WITH_ATTACHMENTS: std::ops::RangeInclusive<u8> = FIRST_TYPE + 3..=FIRST_TYPE + 5;
/// The byte that says that a reply is null, with attachments.
pub(super) const NULL_WITH_ATTACHMENTS: u8 = FIRST_TYPE + 5;

/// One direction of one Dubbo connection.
#[derive(Debug)]
pub(super) struct DubboDecoder {
    direction: Direction,
    limits: Limits,
    skip: Skip,
}

impl DubboDecoder {
    pub(super) fn new(direction: Direction, limits: Limits) -> Self {
        Self {
            direction,
            limits,
            skip: Skip::default(),
        }
    }

    fn request(&mut self, header: &Header, buf: &[u8]) -> Result<Option<Frame>, DecodeError> {
        let kind = if header.is(TWO_WAY) {
            Kind::Request
        } else {
            Kind::Oneway
        };
        if header.serialization() != HESSIAN2 {
            return Ok(Some(frame(header, kind, HEADER_BYTES)));
        }
        let Some(bytes) = buf.get(..header.len) else {
            return Ok(None);
        };
        let spans = request::read(bytes, &mut self.skip, &self.limits)?;
        Ok(Some(Frame {
            spans,
            ..frame(header, kind, header.len)
        }))
    }
}

impl Decoder for DubboDecoder {
    fn decode(&mut self, buf: &[u8]) -> Result<Option<Frame>, DecodeError> {
        let Some(header) = header::read(buf, &self.limits)? else {
            return Ok(None);
        };
        if header.is(EVENT) {
            let kind = if header.is(REQUEST) && header.is(TWO_WAY) {
                Kind::Heartbeat
            } else {
                Kind::HeartbeatReply
            };
            let complete = buf.len() >= header.len;
            return Ok(complete.then(|| frame(&header, kind, header.len)));
        }
        match (self.direction, header.is(REQUEST)) {
            (Direction::Request, true) => self.request(&header, buf),
            (Direction::Response, false) => response(&header, buf),
            (Direction::Request, false) => Err(invalid(
                header::FLAGS_AT,
                "a response, where requests are due",
            )),
            (Direction::Response, true) => Err(invalid(
                header::FLAGS_AT,
                "a request, where responses are due (a callback)",
            )),
        }
    }
}

fn response(header: &Header, buf: &[u8]) -> Result<Option<Frame>, DecodeError> {
    if header.status != OK {
        return Ok(Some(Frame {
            status: Status::Error,
            ..frame(header, Kind::Response, HEADER_BYTES)
        }));
    }
    if header.serialization() != HESSIAN2 {
        return Ok(Some(frame(header, Kind::Response, HEADER_BYTES)));
    }
    if header.len == HEADER_BYTES {
        return Err(invalid(HEADER_BYTES, "a result without a body"));
    }
    let Some(first) = buf.get(HEADER_BYTES) else {
        return Ok(None);
    };
    if !(FIRST_TYPE..=NULL_WITH_ATTACHMENTS).contains(first) {
        return Err(invalid(HEADER_BYTES, "a result of no known type"));
    }
    let status = if EXCEPTIONS.contains(first) {
        Status::Error
    } else {
        Status::Ok
    };
    Ok(Some(Frame {
        status,
        ..frame(header, Kind::Response, HEADER_BYTES + 1)
    }))
}

fn frame(header: &Header, kind: Kind, head_len: usize) -> Frame {
    Frame {
        kind,
        status: Status::Ok,
        len: header.len,
        head_len,
        format: header.format(),
        ids: Ids {
            message: header.id,
            header: 0,
        },
        rewritable: true,
        any_order: true,
        spans: [Span::default(); 4],
    }
}
