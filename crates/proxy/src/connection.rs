//! One connection: its bytes in and out, and what it is for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use meltemi_codec::{Decoder, Format, Frame, Protocol};
use meltemi_resources::Marks;

use crate::clock::Moment;
use crate::flight::Flight;
use crate::poller::Interest;
use crate::request::NONE;
use crate::slots::Id;
use crate::transport::Stream;

/// Frames up to here are forwarded whole; larger ones as their bytes come.
pub(crate) const LARGE: usize = 16 << 10;

/// Who writes to a connection stops when this much waits in it ...
pub(crate) const HIGH: usize = 256 << 10;

/// ... and goes on below this.
pub(crate) const LOW: usize = 64 << 10;

/// Why a connection is not read.
pub(crate) mod pause {
    /// Too much waits in its own output.
    pub(crate) const OUTPUT: u8 = 1;
    /// Too many of its requests are in flight.
    pub(crate) const REQUESTS: u8 = 2;
    /// Too much waits where its bytes go.
    pub(crate) const PEER: u8 = 4;
    /// Its reply waits for its turn.
    pub(crate) const TURN: u8 = 8;
}

/// Bytes that are part of a frame whose head was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    /// They belong to this request (downstream) or to its reply (upstream).
    Of {
        left: usize,
        request: Id,
    },
    /// Nobody wants them.
    Skip {
        left: usize,
    },
}

pub(crate) struct Connection {
    pub(crate) stream: Stream,
    /// What epoll was told; None: it was taken out.
    pub(crate) armed: Option<Interest>,
    pub(crate) connected: bool,
    pub(crate) dirty: bool,
    pub(crate) queued: bool,
    /// No more frames are read: the peer's FIN, a broken frame, or the drain.
    pub(crate) read_closed: bool,
    /// The peer's FIN was seen.
    pub(crate) peer_ended: bool,
    /// Our FIN follows the last byte of the output.
    pub(crate) ending: bool,
    /// Our FIN was sent.
    pub(crate) ended: bool,
    /// Only waits for the peer's FIN, so that what we sent last is not lost to a reset.
    pub(crate) lingering: bool,
    /// Somebody stopped writing to it.
    pub(crate) full: bool,
    /// The transport itself has bytes to write.
    pub(crate) transport_pending: bool,
    pub(crate) pause: u8,
    pub(crate) out: Vec<u8>,
    pub(crate) out_at: usize,
    /// Bytes ever sent.
    pub(crate) sent_total: u64,
    /// Bytes of a frame that is not complete.
    pub(crate) stash: Vec<u8>,
    pub(crate) decoder: Option<Box<dyn Decoder>>,
    /// A frame that is known but not complete.
    pub(crate) pending: Option<Box<Frame>>,
    pub(crate) body: Body,
    pub(crate) accounted: usize,
    /// When its entry among the deadlines comes up.
    pub(crate) alarm: Moment,
    /// When it last read or wrote.
    pub(crate) touched: Moment,
    /// Since when its output takes nothing.
    pub(crate) stalled: Moment,
    pub(crate) role: Role,
}

#[allow(clippy::large_enum_variant)] // All of one size: a slot is used again by any role.
pub(crate) enum Role {
    Downstream(Downstream),
    Upstream(Upstream),
    Tunnel(Tunnel),
}

pub(crate) struct Downstream {
    pub(crate) listener: u32,
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) remote: SocketAddr,
    /// Who it is, as a number of the worker, and the snapshot that this was looked up in.
    pub(crate) peer: u32,
    pub(crate) peer_version: u64,
    /// The marks that it may not set, and the snapshot that this was found out in.
    pub(crate) denied: Option<Rc<Marks>>,
    pub(crate) denied_version: u64,
    /// Its requests in the order in which they came.
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) requests: u32,
    /// Replies may pass each other, whatever a request says.
    pub(crate) any_order: bool,
    /// Requests whose replies may not pass others by what they say themselves.
    pub(crate) in_order: u32,
    /// Two of its requests share an id: replies come in order until none is left.
    pub(crate) twins: bool,
    /// The highest id since it last had no request.
    pub(crate) highest: u64,
    /// The request whose reply is partly written: nothing may come between.
    pub(crate) replying: Id,
    /// What comes behind that reply (heartbeats).
    pub(crate) behind: Vec<u8>,
    /// Reply bytes that wait for their turn.
    pub(crate) held: usize,
}

/// What tells the pools of one endpoint apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolKey {
    pub(crate) protocol: usize,
    pub(crate) format: Format,
    /// One request at a time, its bytes unchanged.
    pub(crate) exclusive: bool,
}

pub(crate) struct Upstream {
    pub(crate) cluster: u32,
    pub(crate) endpoint: Id,
    pub(crate) address: SocketAddr,
    pub(crate) key: PoolKey,
    pub(crate) protocol: Arc<dyn Protocol>,
    /// Requests that it may carry at once.
    pub(crate) capacity: u32,
    /// Whether it stands among the connections of its pool that take a request.
    pub(crate) ready: bool,
    /// Takes no more requests and closes when the last one is over.
    pub(crate) retiring: bool,
    /// Exclusive: its request.
    pub(crate) request: Id,
    /// Multiplexed by id: its requests.
    pub(crate) flight: Flight,
    /// Multiplexed by position: its requests, NONE for one that is over.
    pub(crate) order: VecDeque<Id>,
    /// Requests that wait until it is connected.
    pub(crate) waiting: Vec<Id>,
    pub(crate) connect_by: Moment,
}

/// One half of a connection that is forwarded as TCP.
pub(crate) struct Tunnel {
    pub(crate) other: Id,
    pub(crate) upstream: bool,
    pub(crate) listener: u32,
    pub(crate) cluster: u32,
    pub(crate) endpoint: Id,
    pub(crate) remote: SocketAddr,
    pub(crate) received: u64,
    pub(crate) tried: crate::request::Tried,
    pub(crate) connect_by: Moment,
}

impl Connection {
    pub(crate) fn new(stream: Stream, connected: bool, now: Moment, role: Role) -> Self {
        Self {
            stream,
            armed: None,
            connected,
            dirty: false,
            queued: false,
            read_closed: false,
            peer_ended: false,
            ending: false,
            ended: false,
            lingering: false,
            full: false,
            transport_pending: false,
            pause: 0,
            out: Vec::new(),
            out_at: 0,
            sent_total: 0,
            stash: Vec::new(),
            decoder: None,
            pending: None,
            body: Body::None,
            accounted: 0,
            alarm: Moment::NEVER,
            touched: now,
            stalled: Moment::NEVER,
            role,
        }
    }

    /// Bytes that wait to be sent.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.out.len() - self.out_at
    }

    /// Whether whoever writes to it has to stop; it is then told when there is room again.
    #[inline]
    pub(crate) fn is_full(&mut self) -> bool {
        let full = self.waiting() > HIGH;
        self.full |= full;
        full
    }

    /// Whether nothing follows from its output being written.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        !self.full
            && !self.ending
            && !self.read_closed
            && !self.transport_pending
            && self.armed == Some(self.wants())
    }

    /// Bytes that it keeps in memory.
    #[inline]
    pub(crate) fn holds(&self) -> usize {
        let held = match &self.role {
            Role::Downstream(down) => down.held,
            _ => 0,
        };
        self.waiting() + self.stash.len() + held
    }

    pub(crate) fn wants(&self) -> Interest {
        if !self.connected && !self.stream.handshaking() {
            return Interest::WRITE;
        }
        let read = self.lingering
            || (self.pause == 0 && !self.read_closed)
            || (!self.connected && self.stream.handshaking());
        let write = (self.connected && self.waiting() > 0) || self.transport_pending;
        Interest { read, write }
    }

    #[inline]
    pub(crate) fn downstream(&mut self) -> Option<&mut Downstream> {
        match &mut self.role {
            Role::Downstream(downstream) => Some(downstream),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn upstream(&mut self) -> Option<&mut Upstream> {
        match &mut self.role {
            Role::Upstream(upstream) => Some(upstream),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn tunnel(&mut self) -> Option<&mut Tunnel> {
        match &mut self.role {
            Role::Tunnel(tunnel) => Some(tunnel),
            _ => None,
        }
    }
}

impl Downstream {
    pub(crate) fn new(
        listener: u32,
        protocol: &Arc<dyn Protocol>,
        remote: SocketAddr,
        any_order: bool,
    ) -> Self {
        Self {
            listener,
            protocol: Arc::clone(protocol),
            remote,
            peer: crate::peers::NOBODY,
            peer_version: 0,
            denied: None,
            denied_version: 0,
            first: NONE,
            last: NONE,
            requests: 0,
            any_order,
            in_order: 0,
            twins: false,
            highest: 0,
            replying: Id::NONE,
            behind: Vec::new(),
            held: 0,
        }
    }

    /// Whether replies may pass each other now.
    #[inline]
    pub(crate) const fn unordered(&self) -> bool {
        (self.any_order || self.in_order == 0) && !self.twins
    }
}

impl Upstream {
    /// Requests that it carries now.
    #[inline]
    pub(crate) fn live(&self) -> u32 {
        if self.key.exclusive {
            return u32::from(!self.request.is_none()) + self.waiting.len() as u32;
        }
        self.flight.live() + self.order.len() as u32 + self.waiting.len() as u32
    }
}
