//! A protocol for tests, with and without ids.
//!
//! `length(4) kind(1) id(8) method-length(1) method payload`; the length counts what follows it.

use meltemi_codec::{
    Correlation, DecodeError, Decoder, Direction, Edit, Format, Frame, Ids, Kind, Limits,
    LocalError, Protocol, ReplyTo, Span, Status,
};

pub(crate) const REQUEST: u8 = 0;
pub(crate) const ONEWAY: u8 = 1;
pub(crate) const REPLY: u8 = 2;
pub(crate) const FAILURE: u8 = 3;
pub(crate) const HEARTBEAT: u8 = 4;
pub(crate) const HEARTBEAT_REPLY: u8 = 5;
pub(crate) const OPEN: u8 = 6;
pub(crate) const DATA: u8 = 7;
pub(crate) const CLOSE: u8 = 8;
/// An error that the proxy itself answers; its payload is the message.
pub(crate) const LOCAL: u8 = 9;

const HEAD: usize = 14;

/// The format of a reply that its caller cannot read.
const STRANGE: Format = Format(2);

/// Where attributes stand, each as `|name=value`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    None,
    /// Behind the method.
    Head,
    /// Behind the payload.
    Tail,
}

pub(crate) struct Toy {
    pub(crate) correlation: Correlation,
    pub(crate) max_in_flight: u32,
    pub(crate) any_order: bool,
    pub(crate) place: Place,
}

impl Toy {
    pub(crate) const fn with_place(self, place: Place) -> Self {
        Self { place, ..self }
    }

    pub(crate) const fn with_ids() -> Self {
        Self {
            correlation: Correlation::Id,
            max_in_flight: 1,
            any_order: false,
            place: Place::None,
        }
    }

    pub(crate) const fn by_position() -> Self {
        Self {
            correlation: Correlation::Order,
            max_in_flight: 64,
            any_order: false,
            place: Place::None,
        }
    }

    pub(crate) const fn any_order() -> Self {
        Self {
            correlation: Correlation::Id,
            max_in_flight: 1,
            any_order: true,
            place: Place::None,
        }
    }
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) id: u64,
    pub(crate) method: String,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    pub(crate) fn new(kind: u8, id: u64, method: &str, payload: &[u8]) -> Self {
        Self {
            kind,
            id,
            method: method.to_owned(),
            payload: payload.to_vec(),
        }
    }

    pub(crate) fn request(id: u64, method: &str, payload: &[u8]) -> Self {
        Self::new(REQUEST, id, method, payload)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push(
            &mut out,
            self.kind,
            self.id,
            self.method.as_bytes(),
            &self.payload,
        );
        out
    }
}

pub(crate) fn push(out: &mut Vec<u8>, kind: u8, id: u64, method: &[u8], payload: &[u8]) {
    let length = HEAD - 4 + method.len() + payload.len();
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(&id.to_be_bytes());
    out.push(method.len() as u8);
    out.extend_from_slice(method);
    out.extend_from_slice(payload);
}

/// A text with other attributes behind it.
fn edited(text: &[u8], edit: &Edit<'_>) -> Vec<u8> {
    let mut parts = text.split(|byte| *byte == b'|');
    let mut out = parts.next().unwrap_or_default().to_vec();
    let set = edit.set.iter().map(|(name, _)| *name);
    let gone: Vec<&str> = set.chain(edit.remove.iter().copied()).collect();
    for part in parts {
        let name = part.split(|byte| *byte == b'=').next().unwrap_or_default();
        if !gone.iter().any(|gone| gone.as_bytes() == name) {
            out.push(b'|');
            out.extend_from_slice(part);
        }
    }
    for (name, value) in edit.set {
        out.extend_from_slice(format!("|{name}={value}").as_bytes());
    }
    out
}

struct ToyDecoder {
    limits: Limits,
}

impl Decoder for ToyDecoder {
    fn decode(&mut self, buf: &[u8]) -> Result<Option<Frame>, DecodeError> {
        let Some(length) = buf.first_chunk::<4>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*length) as usize + 4;
        if len < HEAD {
            return Err(DecodeError::Invalid {
                at: 0,
                reason: "shorter than its head",
            });
        }
        if len > self.limits.max_frame_bytes {
            let limit = self.limits.max_frame_bytes;
            return Err(DecodeError::TooLarge { bytes: len, limit });
        }
        if buf.len() < HEAD {
            return Ok(None);
        }
        let method = usize::from(buf[13]);
        if HEAD + method > len {
            return Err(DecodeError::Invalid {
                at: 13,
                reason: "a method beyond the end",
            });
        }
        if buf.len() < HEAD + method {
            return Ok(None);
        }
        let (kind, status) = match buf[4] {
            REQUEST => (Kind::Request, Status::Ok),
            ONEWAY => (Kind::Oneway, Status::Ok),
            REPLY => (Kind::Response, Status::Ok),
            FAILURE | LOCAL => (Kind::Response, Status::Error),
            HEARTBEAT => (Kind::Heartbeat, Status::Ok),
            HEARTBEAT_REPLY => (Kind::HeartbeatReply, Status::Ok),
            OPEN => (Kind::StreamOpen, Status::Ok),
            DATA => (Kind::StreamData, Status::Ok),
            CLOSE => (Kind::StreamClose, Status::Ok),
            _ => {
                return Err(DecodeError::Invalid {
                    at: 4,
                    reason: "no such kind",
                });
            }
        };
        let id = u64::from_be_bytes(buf[5..13].try_into().unwrap());
        Ok(Some(Frame {
            kind,
            status,
            len,
            head_len: HEAD + method,
            format: if buf[HEAD..].starts_with(b"strange") && kind == Kind::Response {
                STRANGE
            } else {
                Format(1)
            },
            ids: Ids {
                message: id,
                header: 0,
            },
            // `sealed`: a checksum covers it.
            rewritable: !buf[HEAD..].starts_with(b"sealed"),
            // `free:` says that the reply may pass others.
            any_order: buf[HEAD..].starts_with(b"free:"),
            spans: [Span {
                start: HEAD as u32,
                len: method as u32,
            }; 4],
        }))
    }
}

impl Protocol for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    fn correlation(&self) -> Correlation {
        self.correlation
    }

    fn default_max_in_flight(&self) -> u32 {
        self.max_in_flight
    }

    fn replies_in_any_order(&self) -> bool {
        self.any_order
    }

    fn max_id(&self) -> u64 {
        u64::from(u32::MAX)
    }

    fn can_edit_attributes(&self, _format: Format) -> bool {
        self.place != Place::None
    }

    fn edit_needs(&self, frame: &Frame) -> usize {
        match self.place {
            Place::Tail => frame.len,
            _ => frame.head_len,
        }
    }

    fn takes_reply_attributes(&self, to: &ReplyTo) -> bool {
        !to.method.starts_with(b"old:")
    }

    fn is_readable(&self, _asked: Format, reply: &Frame) -> bool {
        reply.format != STRANGE
    }

    fn decoder(&self, _: Direction, _: Format, limits: Limits) -> Box<dyn Decoder> {
        Box::new(ToyDecoder { limits })
    }

    fn attribute<'h>(&self, frame: &Frame, head: &'h [u8], name: &str) -> Option<&'h [u8]> {
        (name == "method").then(|| frame.spans[0].of(head))
    }

    fn attributes(&self, frame: &Frame, head: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) {
        visit(b"method", frame.spans[0].of(head));
    }

    fn reply_to(&self, frame: &Frame, head: &[u8], into: &mut ReplyTo) {
        into.format = frame.format;
        into.ids = frame.ids;
        into.method.clear();
        into.method.extend_from_slice(frame.spans[0].of(head));
    }

    fn encode(&self, frame: &Frame, bytes: &[u8], edit: &Edit<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.extend_from_slice(bytes);
        if let Some(ids) = edit.ids {
            out[start + 5..start + 13].copy_from_slice(&ids.message.to_be_bytes());
        }
        if !edit.changes_attributes() {
            return true;
        }
        let text = start + HEAD..start + frame.head_len;
        match self.place {
            Place::None => return false,
            Place::Head => {
                let method = edited(&out[text.clone()], edit);
                out[start + 13] = method.len() as u8;
                out.splice(text, method);
            }
            Place::Tail => {
                assert_eq!(bytes.len(), frame.len, "what is behind is there");
                let payload = edited(&out[text.end..], edit);
                out.splice(text.end.., payload);
            }
        }
        let len = frame.len + out.len() - start - bytes.len() - 4;
        out[start..start + 4].copy_from_slice(&(len as u32).to_be_bytes());
        true
    }

    fn error_reply(&self, to: &ReplyTo, error: &LocalError<'_>, out: &mut Vec<u8>) {
        let message = format!("{}: {}", error.kind.as_str(), error.message);
        push(out, LOCAL, to.ids.message, &to.method, message.as_bytes());
    }

    fn heartbeat_reply(&self, frame: &Frame, _head: &[u8], out: &mut Vec<u8>) {
        push(out, HEARTBEAT_REPLY, frame.ids.message, b"", b"");
    }
}
