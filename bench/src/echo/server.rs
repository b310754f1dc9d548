//! The loop of the backend.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use meltemi_codec::{Direction, Format, Limits};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{SocketFlags, sockopt};
use slab::Slab;

use super::connection::{Connection, Ended};
use super::options::Options;
use crate::dialect::Spoken;
use crate::socket::{listen, now_ns, timespec};

/// Marks the event of a listening socket; the rest is its index.
const LISTENER: u64 = 1 << 32;
/// The event of the signals' pipe.
const SIGNAL: u64 = 1 << 33;
const EVENTS_A_TURN: usize = 512;
const SCRATCH_BYTES: usize = 1 << 20;
const LIMITS: Limits = Limits {
    max_frame_bytes: 128 << 20,
    max_depth: 64,
    max_elements: 1 << 20,
};

struct Server {
    spoken: Spoken,
    epoll: OwnedFd,
    listeners: Vec<Listener>,
    connections: Slab<Connection>,
    delay_ns: u64,
    waiting: VecDeque<Waiting>,
    scratch: Vec<u8>,
    replies: Vec<u8>,
}

struct Listener {
    socket: OwnedFd,
    suffix: Vec<u8>,
    calls: u64,
}

/// Replies that are due later.
struct Waiting {
    due_ns: u64,
    connection: usize,
    bytes: Vec<u8>,
}

/// Serves until SIGTERM or SIGINT; returns the calls of each listening address.
///
/// # Errors
/// The protocol is not known, or an address cannot be bound.
pub fn serve(options: &Options) -> Result<Vec<u64>, String> {
    let spoken = Spoken::find(&options.protocol)?;
    let mut server = Server {
        spoken,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?,
        listeners: Vec::new(),
        connections: Slab::new(),
        delay_ns: u64::try_from(options.delay.as_nanos()).unwrap_or(u64::MAX),
        waiting: VecDeque::new(),
        scratch: Vec::with_capacity(SCRATCH_BYTES),
        replies: Vec::new(),
    };
    for (address, suffix) in &options.listen {
        let socket = listen(*address).map_err(|error| format!("{address}: {error}"))?;
        let data = EventData::new_u64(LISTENER | server.listeners.len() as u64);
        server
            .watch(&socket, data)
            .map_err(|error| error.to_string())?;
        let suffix = suffix.clone().into_bytes();
        server.listeners.push(Listener {
            socket,
            suffix,
            calls: 0,
        });
    }
    let signals = signals().map_err(|error| format!("signals: {error}"))?;
    server
        .watch(&signals, EventData::new_u64(SIGNAL))
        .map_err(|error| error.to_string())?;
    server.run();
    Ok(server
        .listeners
        .iter()
        .map(|listener| listener.calls)
        .collect())
}

/// A pipe that becomes readable when the process is told to end.
fn signals() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGINT, writer.try_clone()?)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, writer)?;
    Ok(reader)
}

impl Server {
    fn watch(&self, socket: impl std::os::fd::AsFd, data: EventData) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, data, EventFlags::IN)?)
    }

    fn run(&mut self) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS_A_TURN);
        loop {
            events.clear();
            let wait = self
                .waiting
                .front()
                .map(|first| timespec(first.due_ns.saturating_sub(now_ns())));
            // An interrupted wait is one without events.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), wait.as_ref());
            for event in &events {
                match event.data.u64() {
                    SIGNAL => return,
                    key if key & LISTENER != 0 => self.accept((key ^ LISTENER) as usize),
                    key => self.serve(key as usize, event.flags),
                }
            }
            self.send_due();
        }
    }

    fn accept(&mut self, listener: usize) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(socket) = rustix::net::accept_with(&self.listeners[listener].socket, flags) {
            let entry = self.connections.vacant_entry();
            let data = EventData::new_u64(entry.key() as u64);
            let ready = sockopt::set_tcp_nodelay(&socket, true)
                .and_then(|()| epoll::add(&self.epoll, &socket, data, EventFlags::IN));
            if ready.is_ok() {
                let protocol = &self.spoken.protocol;
                let decoder = protocol.decoder(Direction::Request, Format::DETECT, LIMITS);
                entry.insert(Connection::new(socket, listener, decoder));
            }
        }
    }

    fn serve(&mut self, key: usize, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let was_blocked = connection.blocked;
        let outcome = if flags.contains(EventFlags::OUT) {
            connection.flush()
        } else {
            Ok(())
        };
        let outcome = outcome.and_then(|()| {
            if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                return Ok(());
            }
            let listener = &mut self.listeners[connection.listener];
            self.replies.clear();
            let (scratch, replies) = (&mut self.scratch, &mut self.replies);
            listener.calls +=
                connection.receive(&self.spoken, &listener.suffix, scratch, replies)?;
            if self.delay_ns == 0 {
                return if replies.is_empty() {
                    Ok(())
                } else {
                    connection.send(replies)
                };
            }
            let due_ns = now_ns() + self.delay_ns;
            let bytes = std::mem::take(replies);
            self.waiting.push_back(Waiting {
                due_ns,
                connection: key,
                bytes,
            });
            Ok(())
        });
        self.settle(key, was_blocked, outcome);
    }

    fn send_due(&mut self) {
        while let Some(first) = self.waiting.front() {
            if first.due_ns > now_ns() {
                return;
            }
            let Some(waiting) = self.waiting.pop_front() else {
                return;
            };
            if let Some(connection) = self.connections.get_mut(waiting.connection) {
                let was_blocked = connection.blocked;
                let outcome = connection.send(&waiting.bytes);
                self.settle(waiting.connection, was_blocked, outcome);
            }
        }
    }

    /// Closes a connection that ended; else waits for room exactly while something is to send.
    fn settle(&mut self, key: usize, was_blocked: bool, outcome: Result<(), Ended>) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if outcome.is_err() {
            // What waits for it must not reach the next connection in its place.
            self.waiting.retain(|waiting| waiting.connection != key);
            self.connections.remove(key);
        } else if connection.blocked != was_blocked {
            let also = if connection.blocked {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            let data = EventData::new_u64(key as u64);
            // The socket is open and watched: this cannot fail.
            let _ = epoll::modify(&self.epoll, &connection.socket, data, EventFlags::IN | also);
        }
    }
}
