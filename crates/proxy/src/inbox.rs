//! What other threads say to a worker: a locked list, and an eventfd that ends its sleep.
//!
//! Nothing of it is on the path of a request: connections, snapshots, reports and parked requests.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::{io, mem};

use rustix::event::{EventfdFlags, eventfd};

use crate::filter::Verdict;
use crate::slots::Id;
use crate::stats::report::Report;

/// What a worker is asked to do between two turns.
pub(crate) enum Command {
    /// Serve this connection.
    Accepted {
        socket: OwnedFd,
        listener: u32,
        remote: SocketAddr,
    },
    /// New tables were published.
    Tables,
    /// A parked request goes on or is answered.
    Resume { request: Id, verdict: Verdict },
    /// Say what was counted so far.
    Report(mpsc::Sender<Report>),
    /// Finish what is in flight and close.
    Drain,
    /// End the thread.
    Stop,
}

/// The way to one worker.
pub(crate) struct Inbox {
    commands: Mutex<Vec<Command>>,
    awake: AtomicBool,
    event: OwnedFd,
    /// Downstream connections that the worker serves, or that are on their way to it.
    pub(crate) connections: AtomicUsize,
    /// Bytes that wait in the worker's memory.
    pub(crate) buffered: AtomicUsize,
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            commands: Mutex::default(),
            awake: AtomicBool::new(false),
            event,
            connections: AtomicUsize::new(0),
            buffered: AtomicUsize::new(0),
        })
    }

    pub(crate) fn event(&self) -> &OwnedFd {
        &self.event
    }

    pub(crate) fn send(&self, command: Command) {
        self.lock().push(command);
        if !self.awake.swap(true, Ordering::AcqRel) {
            // Fails only when the counter is full, and then the worker wakes as well.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// What was sent since the last call; the worker calls it when its eventfd is readable.
    pub(crate) fn take(&self) -> Vec<Command> {
        let mut count = [0; 8];
        // Nothing to read is no error: another turn took it.
        let _ = rustix::io::read(&self.event, &mut count);
        self.awake.store(false, Ordering::Release);
        mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Command>> {
        // A list of commands is whole after every push, whoever panicked.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
