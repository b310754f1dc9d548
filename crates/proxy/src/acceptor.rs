//! The one thread that accepts, and hands each connection to the worker that has the fewest.
//!
//! The kernel's own spreading (SO_REUSEPORT) goes by hash and leaves workers uneven for long-lived
//! connections; here every connection is placed knowing where the others are. The set of listeners
//! follows the tables; open connections are not touched.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::inbox::Command;
use crate::logging;
use crate::poller::{Event, Interest, Poller};
use crate::sockets;
use crate::worker::Shared;

/// After the descriptors ran out: long enough not to spin, short enough that nobody's connect
/// times out in the backlog.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two tries to bind an address.
const RETRY: Duration = Duration::from_secs(1);

/// Connections accepted from one listener before the others get their turn.
const BATCH: usize = 64;

/// Descriptors that accepting leaves free, or an eighth of all where that is less.
const RESERVED_DESCRIPTORS: u64 = 256;

/// From new tables until the ones before them are dropped: workers have taken the new ones over, and
/// made use of them.
const SWEEP: Duration = Duration::from_millis(50);

/// Between two tries to drop what somebody still uses.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);

const WAKE: u64 = u64::MAX;

/// What the acceptor and its handle share.
struct State {
    event: OwnedFd,
    follow: AtomicBool,
    close: AtomicBool,
    closed: AtomicBool,
    stop: AtomicBool,
    errors: Mutex<BTreeMap<String, String>>,
    accepted: AtomicU64,
    over_limit: AtomicU64,
    out_of_descriptors: AtomicU64,
    bind_failures: AtomicU64,
    listening: AtomicU64,
}

/// The engine's side.
#[derive(Clone)]
pub(crate) struct AcceptorHandle(Arc<State>);

impl AcceptorHandle {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(State {
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            follow: AtomicBool::new(false),
            close: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            errors: Mutex::default(),
            accepted: AtomicU64::new(0),
            over_limit: AtomicU64::new(0),
            out_of_descriptors: AtomicU64::new(0),
            bind_failures: AtomicU64::new(0),
            listening: AtomicU64::new(0),
        })))
    }

    pub(crate) fn follow_tables(&self) {
        self.set(&self.0.follow);
    }

    /// Closes all listeners for good.
    pub(crate) fn close(&self) {
        self.set(&self.0.close);
    }

    /// Whether nothing is accepted any more: `close` or `stop` was heard.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire) || self.0.stop.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.set(&self.0.stop);
    }

    pub(crate) fn errors(&self) -> BTreeMap<String, String> {
        self.0.errors().clone()
    }

    pub(crate) fn stats(&self) -> Vec<(String, u64)> {
        let state = &self.0;
        let value = |name: &str, counter: &AtomicU64| {
            (
                format!("listener_manager.{name}"),
                counter.load(Ordering::Relaxed),
            )
        };
        vec![
            value("downstream_cx_accepted_total", &state.accepted),
            value("downstream_cx_overflow_total", &state.over_limit),
            value("accept_out_of_descriptors_total", &state.out_of_descriptors),
            value("listener_create_failure_total", &state.bind_failures),
            value("total_listeners_active", &state.listening),
        ]
    }

    fn set(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        // Fails only when the counter is full, and then the thread wakes as well.
        let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
    }
}

impl State {
    fn errors(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Open {
    name: Arc<str>,
    address: SocketAddr,
    socket: OwnedFd,
}

pub(crate) struct Acceptor {
    shared: Arc<Shared>,
    state: Arc<State>,
    poller: Poller,
    /// By listener number, which is also the token.
    open: HashMap<u32, Open>,
    paused_until: Option<Instant>,
    retry_at: Option<Instant>,
    /// When tables that were in force are dropped.
    sweep_at: Option<Instant>,
    closed: bool,
    turn: usize,
}

impl Acceptor {
    pub(crate) fn new(shared: Arc<Shared>, handle: &AcceptorHandle) -> io::Result<Self> {
        let state = Arc::clone(&handle.0);
        let poller = Poller::new()?;
        poller.add(&state.event, WAKE, Interest::READ)?;
        Ok(Self {
            shared,
            state,
            poller,
            open: HashMap::new(),
            paused_until: None,
            retry_at: None,
            sweep_at: None,
            closed: false,
            turn: 0,
        })
    }

    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            self.poller.wait(self.sleep(), &mut events)?;
            if self.state.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            self.timers();
            for event in &events {
                self.happened(event);
            }
        }
    }

    fn sleep(&self) -> Option<Duration> {
        let next = [self.paused_until, self.retry_at, self.sweep_at]
            .into_iter()
            .flatten()
            .min()?;
        Some(next.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn happened(&mut self, event: &Event) {
        if event.token != WAKE {
            self.accept(event.token as u32);
            return;
        }
        let mut count = [0; 8];
        // Nothing to read is no error.
        let _ = rustix::io::read(&self.state.event, &mut count);
        if self.state.close.swap(false, Ordering::AcqRel) {
            self.closed = true;
            self.open.clear();
            self.state.listening.store(0, Ordering::Relaxed);
            self.state.closed.store(true, Ordering::Release);
        }
        if self.state.follow.swap(false, Ordering::AcqRel) {
            self.sweep_at.get_or_insert_with(|| Instant::now() + SWEEP);
            self.follow();
        }
    }

    fn timers(&mut self) {
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| now >= until) {
            self.paused_until = self.scarce().then(|| now + PAUSE);
            if self.paused_until.is_none() {
                for (number, open) in &self.open {
                    self.watch(*number, open, Interest::READ);
                }
            }
        }
        if self.retry_at.is_some_and(|at| now >= at) {
            self.follow();
        }
        if self.sweep_at.is_some_and(|at| now >= at) {
            let left = self.shared.retired.sweep();
            self.sweep_at = left.then(|| now + SWEEP_AGAIN);
        }
    }

    /// Opens and closes listeners until they are those of the tables.
    fn follow(&mut self) {
        self.retry_at = None;
        if self.closed {
            return;
        }
        let tables = self.shared.tables.load_full();
        let wanted: HashMap<u32, _> = tables
            .listeners
            .iter()
            .map(|listener| (listener.number, listener))
            .collect();
        self.open.retain(|number, open| {
            wanted
                .get(number)
                .is_some_and(|listener| listener.listener.address == open.address)
        });
        let mut errors = BTreeMap::new();
        for (number, wanted) in wanted {
            if self.open.contains_key(&number) {
                continue;
            }
            let (name, address) = (Arc::clone(&wanted.listener.name), wanted.listener.address);
            match sockets::listening(address) {
                Ok(socket) => {
                    logging::info!("listener {name} listens on {address}");
                    self.add(
                        number,
                        Open {
                            name,
                            address,
                            socket,
                        },
                    );
                }
                Err(error) => {
                    self.state.bind_failures.fetch_add(1, Ordering::Relaxed);
                    errors.insert(
                        name.to_string(),
                        format!("cannot listen on {address}: {error}"),
                    );
                    self.retry_at = Some(Instant::now() + RETRY);
                }
            }
        }
        self.state
            .listening
            .store(self.open.len() as u64, Ordering::Relaxed);
        let mut known = self.state.errors();
        for (name, error) in errors
            .iter()
            .filter(|(name, error)| known.get(*name) != Some(error))
        {
            logging::warning!("listener {name}: {error}; it is tried again every second");
        }
        *known = errors;
    }

    fn add(&mut self, number: u32, open: Open) {
        let interest = Interest {
            read: self.paused_until.is_none(),
            write: false,
        };
        match self.poller.add(&open.socket, u64::from(number), interest) {
            Ok(()) => drop(self.open.insert(number, open)),
            Err(error) => logging::error!("listener {} cannot be watched: {error}", open.name),
        }
    }

    fn watch(&self, number: u32, open: &Open, interest: Interest) {
        if let Err(error) = self
            .poller
            .modify(&open.socket, u64::from(number), interest)
        {
            logging::error!("listener {} cannot be watched: {error}", open.name);
        }
    }

    fn accept(&mut self, number: u32) {
        for _ in 0..BATCH {
            let Some(open) = self.open.get(&number) else {
                return;
            };
            match sockets::accept(&open.socket) {
                Ok((socket, remote)) => {
                    let last = is_reserved(&socket);
                    self.place(socket, number, remote);
                    if last {
                        return self.pause(Errno::MFILE);
                    }
                }
                Err(Errno::AGAIN) => return,
                // The peer left before we came, or a signal came: the next one.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => return self.pause(error),
            }
        }
    }

    /// Whether only the reserve of descriptors is left. The kernel gives the lowest free number.
    fn scarce(&self) -> bool {
        rustix::io::dup(&self.state.event).is_ok_and(|probe| is_reserved(&probe))
    }

    /// The backlog keeps who knocks meanwhile.
    fn pause(&mut self, error: Errno) {
        let before = self
            .state
            .out_of_descriptors
            .fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            logging::warning!("accepting pauses for {} ms: {error}", PAUSE.as_millis());
        }
        self.paused_until = Some(Instant::now() + PAUSE);
        for (number, open) in &self.open {
            self.watch(
                *number,
                open,
                Interest {
                    read: false,
                    write: false,
                },
            );
        }
    }

    fn place(&mut self, socket: OwnedFd, listener: u32, remote: SocketAddr) {
        self.state.accepted.fetch_add(1, Ordering::Relaxed);
        let inboxes = &self.shared.inboxes;
        self.turn += 1;
        let mut best = 0;
        let (mut least, mut total) = (usize::MAX, 0);
        for step in 0..inboxes.len() {
            let at = (self.turn + step) % inboxes.len();
            let connections = inboxes[at].connections.load(Ordering::Acquire);
            total += connections;
            if connections < least {
                (best, least) = (at, connections);
            }
        }
        if total >= self.shared.config.limits.max_connections {
            // Closing at once tells the client more than leaving it in the backlog would.
            self.state.over_limit.fetch_add(1, Ordering::Relaxed);
            return;
        }
        inboxes[best].connections.fetch_add(1, Ordering::AcqRel);
        inboxes[best].send(Command::Accepted {
            socket,
            listener,
            remote,
        });
    }
}

/// Whether a descriptor is of those that are kept for upstream connections: callers that are here
/// already are to be served when there is no room for more of them.
fn is_reserved(descriptor: &impl AsRawFd) -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return false;
    };
    let reserve = (limit / 8).min(RESERVED_DESCRIPTORS);
    u64::try_from(descriptor.as_raw_fd()).is_ok_and(|number| number >= limit - reserve)
}
