//! What a decoder says of one message: metadata to route on, and where it stands in the bytes.

/// A stretch of the frame's bytes: offset and length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte, counted from the first byte of the frame.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The bytes of this span of `frame`; empty where they are not there.
    #[must_use]
    pub fn of<'b>(&self, frame: &'b [u8]) -> &'b [u8] {
        let start = self.start as usize;
        frame
            .get(start..start + self.len as usize)
            .unwrap_or_default()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Transport and message protocol of a connection (framed binary, unframed compact, ...), as a number
/// that only the codec reads. It is part of the key of an upstream pool: what was asked in one format
/// has to be sent in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Format(pub u16);

impl Format {
    /// Not known yet: the first bytes tell.
    pub const DETECT: Self = Self(0);
}

/// What a message is to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for a reply.
    Request,
    /// Asks, and no reply comes.
    Oneway,
    /// Answers a request; [`Frame::status`] says how.
    Response,
    /// Asks whether the peer is alive; answered by the proxy, never forwarded.
    Heartbeat,
    /// Answers a heartbeat; swallowed.
    HeartbeatReply,
    /// Opens a stream: routed as a request, and what follows on its id stays with that upstream.
    StreamOpen,
    /// A further frame of an open stream, either way.
    StreamData,
    /// The last frame of a stream.
    StreamClose,
}

/// How a response turned out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// The call was served.
    #[default]
    Ok,
    /// The protocol itself says that the call failed (a Thrift exception message).
    Error,
}

/// How a reply finds its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correlation {
    /// By [`Ids::message`].
    Id,
    /// By position: the first reply of a connection answers its first request.
    Order,
}

/// The ids of a frame. Protocols with one id hold it in `message`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ids {
    /// The id of the message itself; of a stream's frames, the id of the stream.
    pub message: u64,
    /// The second place that some transports hold an id in (THeader, TTHeader).
    pub header: u64,
}

/// The head of one message.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Of a response: how it turned out.
    pub status: Status,
    /// Bytes on the wire, from the first to the last.
    pub len: usize,
    /// Bytes from the front that hold all that routing reads.
    pub head_len: usize,
    /// How it was written.
    pub format: Format,
    /// Its ids.
    pub ids: Ids,
    /// Whether [`crate::Protocol::encode`] can change it. Not so where a checksum or a transform
    /// (compression) covers what would change: such a frame goes unchanged over a connection of its own.
    pub rewritable: bool,
    /// The sender takes the replies of this connection in any order (TTHeader's out-of-order flag).
    pub any_order: bool,
    /// Places that only the codec reads.
    pub spans: [Span; 4],
}

/// What is kept of a request while it is in flight, so that an answer can be written without it.
#[derive(Clone, Debug, Default)]
pub struct ReplyTo {
    /// How the request was written.
    pub format: Format,
    /// The caller's own ids.
    pub ids: Ids,
    /// The request's method, as on the wire; its memory is reused.
    pub method: Vec<u8>,
    /// What else the codec needs.
    pub detail: u64,
}
