//! Wire formats, sans-IO: bytes in, frames out.
//!
//! A [`Frame`] says what routing needs and where it stands in the bytes; the body is forwarded as it
//! came. A codec knows no sockets, no clocks and no Python, and no input makes it panic.
//!
//! Two traits are the whole seam: a [`Protocol`] is shared by all connections of a listener, a
//! [`Decoder`] is the state of one direction of one connection. `proxy` calls both; adding a
//! protocol is implementing both and registering it where `proxy` is assembled.
#![forbid(unsafe_code)]

pub mod dubbo;
mod error;
mod frame;
mod scrub;
pub mod thrift;

pub use error::{DecodeError, ErrorKind, LocalError};
pub use frame::{Correlation, Format, Frame, Ids, Kind, ReplyTo, Span, Status};
pub use scrub::{Found, Scrub, Scrubbed};

/// Which way the bytes of a connection flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the downstream: requests.
    Request,
    /// From the upstream: replies.
    Response,
}

/// What a decoder accepts at most. Each is checked before anything is buffered or allocated for it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one frame, on the length that it declares (or, without one, on what came so far).
    pub max_frame_bytes: usize,
    /// Nesting of structs and containers that a skip goes into.
    pub max_depth: usize,
    /// Elements of one container, and fields and elements of one message together, where no declared
    /// length limits them.
    pub max_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 16 << 20,
            max_depth: 64,
            max_elements: 1 << 20,
        }
    }
}

/// What changes in a frame on its way. Everything that is not named stays byte for byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edit<'a> {
    /// New ids, in every place of the frame that holds one.
    pub ids: Option<Ids>,
    /// Attributes to add, or to replace where the name is there already: name, value.
    pub set: &'a [(&'a str, &'a str)],
    /// Attributes to take out, by name.
    pub remove: &'a [&'a str],
    /// What is taken out of the attributes that stay as they came.
    pub scrub: Option<&'a dyn Scrub>,
}

impl Edit<'_> {
    /// Whether attributes change, not only ids.
    #[must_use]
    pub const fn changes_attributes(&self) -> bool {
        !(self.set.is_empty() && self.remove.is_empty() && self.scrub.is_none())
    }

    /// What is set: of several values of one name (without case) the last.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.set
            .iter()
            .enumerate()
            .filter_map(|(at, (name, value))| {
                let mut later = self.set[at + 1..].iter();
                let is_last = !later.any(|(other, _)| other.eq_ignore_ascii_case(name));
                is_last.then_some((*name, *value))
            })
    }
}

/// One wire protocol. Shared by threads; holds no state of a connection.
pub trait Protocol: Send + Sync {
    /// The name of port names and metrics: `thrift`.
    fn name(&self) -> &str;

    /// How a reply finds its request.
    fn correlation(&self) -> Correlation;

    /// Requests that one upstream connection carries at once where nothing else was configured.
    /// 1: a connection a request in flight (a plain Thrift server answers one call at a time).
    fn default_max_in_flight(&self) -> u32;

    /// Whether replies may pass each other although the frame does not say so (Dubbo: yes).
    fn replies_in_any_order(&self) -> bool {
        false
    }

    /// Highest id that can be written into a request: ids from 1 to this are ours when multiplexing.
    fn max_id(&self) -> u64;

    /// Whether [`Edit::set`] and [`Edit::remove`] have a place in frames of this format.
    fn can_edit_attributes(&self, format: Format) -> bool;

    /// A decoder for one direction of a new connection. [`Format::DETECT`] finds out from the first
    /// bytes; a response decoder is given the format of the requests sent on that connection.
    fn decoder(&self, direction: Direction, format: Format, limits: Limits) -> Box<dyn Decoder>;

    /// The value of the attribute `name` (lower case) of a message, or None. Of a reply only what is at
    /// hand: some have their attributes behind the value, and those are found where all of it is there.
    ///
    /// Names of the protocol itself (`method`, `service`) win over headers of the same name;
    /// header names are compared without case. `head` is the first `frame.head_len` bytes at least.
    fn attribute<'h>(&self, frame: &Frame, head: &'h [u8], name: &str) -> Option<&'h [u8]>;

    /// Calls `visit` with every attribute (name, value): for logs and `explain`, not for routing.
    fn attributes(&self, frame: &Frame, head: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]));

    /// Whether a request holds what `scrub` takes out. `head` as for [`Protocol::encode`] with attributes.
    fn find(&self, frame: &Frame, head: &[u8], scrub: &dyn Scrub) -> Found {
        let mut found = Found::Nothing;
        self.attributes(frame, head, &mut |name, value| {
            if scrub.scrub(name, Some(value)) != Scrubbed::Same {
                found = Found::Something;
            }
        });
        found
    }

    /// Keeps in `into` what an answer to this request needs, reusing its memory.
    fn reply_to(&self, frame: &Frame, head: &[u8], into: &mut ReplyTo);

    /// Bytes from the front of a frame that have to be there before its attributes can be changed: the
    /// head, unless attributes stand behind it (Dubbo replies: behind the value).
    fn edit_needs(&self, frame: &Frame) -> usize {
        frame.head_len
    }

    /// Whether the caller that sent this request reads attributes in a reply (old Dubbo does not).
    fn takes_reply_attributes(&self, _to: &ReplyTo) -> bool {
        true
    }

    /// Whether the caller that asked in format `asked` can read this reply. Not so where a reply does not
    /// say how it was written, and was written in another way (Thrift: binary, compact).
    fn is_readable(&self, _asked: Format, _reply: &Frame) -> bool {
        true
    }

    /// Appends the frame that `bytes` holds to `out`, changed as `edit` says.
    ///
    /// Only called where `frame.rewritable`. `bytes` are the frame's, from the first: at least
    /// `frame.head_len` of them, with attributes to change at least [`Protocol::edit_needs`], at most
    /// `frame.len`. What is not given here is to be forwarded behind it as it comes.
    ///
    /// False: the attributes have no place in this frame, and stay as they were; ids change all the same.
    fn encode(&self, frame: &Frame, bytes: &[u8], edit: &Edit<'_>, out: &mut Vec<u8>) -> bool;

    /// Appends the protocol's own answer to a request that Meltemi itself answers.
    fn error_reply(&self, to: &ReplyTo, error: &LocalError<'_>, out: &mut Vec<u8>);

    /// Appends the answer to a [`Kind::Heartbeat`] frame. Protocols without heartbeats have none.
    fn heartbeat_reply(&self, _frame: &Frame, _head: &[u8], _out: &mut Vec<u8>) {}
}

/// The state of one direction of one connection.
pub trait Decoder: Send {
    /// Reads the head of the frame that starts at `buf[0]`.
    ///
    /// `Ok(None)`: feed me more; call again with the same bytes and more behind them (work done so
    /// far is remembered, not repeated). `Ok(Some(frame))`: the frame is `frame.len` bytes long, of
    /// which `frame.head_len <= buf.len()` were read; the body may still be on its way. The next call
    /// starts behind the frame. After an error the connection is of no more use.
    ///
    /// # Errors
    /// What the peer did wrong, and at which byte of the frame.
    fn decode(&mut self, buf: &[u8]) -> Result<Option<Frame>, DecodeError>;

    /// Checks bytes of the body of the frame that `decode` gave out last, where it was not all there.
    ///
    /// `bytes` go on where those before ended, or start further in front: what was seen is passed over.
    /// `left` is the number of bytes of the frame that come behind them. They are shown before they are
    /// forwarded. An error means that the frame is not the one message that its head promised: these
    /// bytes must not be forwarded, and the connection that the ones before went to is of no more use
    /// either.
    ///
    /// # Errors
    /// What the peer did wrong, and at which byte of the frame.
    fn body(&mut self, _bytes: &[u8], _left: usize) -> Result<(), DecodeError> {
        Ok(())
    }
}
