//! One worker: a thread, an epoll, its connections. Nothing of it is shared.
//!
//! A turn: sleep in epoll, read the clock once, serve every connection that has something (replies
//! before requests, so that connections that become free serve what just came), write once to every
//! connection that has output, look at the deadlines. The life of a request in files: `accept` →
//! `bytes` (read and decode) → `requests` (filters, route) → `dispatch` (pick, connect, forward) →
//! `replies` → `finish` (metrics, log).

mod accept;
mod bytes;
mod dispatch;
mod expire;
mod failures;
mod finish;
mod flush;
mod health;
mod lanes;
mod marks;
mod mutate;
mod order;
mod replies;
mod report;
mod requests;
mod streams;
mod swap;
mod tunnel;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use meltemi_balancer::Rng;
use meltemi_resources::LaneOf;

use crate::access_log;
use crate::buffers::Buffers;
use crate::clock::{Clock, Moment};
use crate::cluster::{ClusterEntry, EndpointEntry};
use crate::config::EngineConfig;
use crate::connection::Connection;
use crate::deadlines::Deadlines;
use crate::inbox::{Command, Inbox};
use crate::peers::Peers;
use crate::poller::{Event, Interest, Poller};
use crate::request::Requests;
use crate::retired::Retired;
use crate::slots::{Id, Slots};
use crate::stats::counters::{ListenerCounters, ProtocolCounters, WorkerCounters};
use crate::stats::series::{RequestSeries, SeriesSet, TcpSeries};
use crate::tables::Tables;
use crate::view::{Filters, View};

/// What one read takes at most: the byte budget of a connection in a turn.
const SCRATCH: usize = 256 << 10;

/// Rounds of resuming and writing in one turn; what is left is done in the next one.
const ROUNDS: usize = 4;

/// The token of the eventfd.
const WAKE: u64 = u64::MAX;

/// Marks tokens of upstream connections.
const UPSTREAM: u64 = 1 << 63;

/// Lines of the access log wait this long, or until there are this many bytes of them.
const LOG_DELAY: Duration = Duration::from_millis(200);
const LOG_BATCH: usize = 64 << 10;

/// Room for the line that makes a batch full, so that it is not copied for it.
const LAST_LINE: usize = 4 << 10;

/// What all threads of an engine share; nothing of it is touched by a request.
pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) tables: ArcSwap<Tables>,
    pub(crate) retired: Retired,
    pub(crate) access_log: Option<(Arc<access_log::Writer>, access_log::Format)>,
    pub(crate) start: Instant,
    /// Whose first leak was logged by some worker.
    pub(crate) leaks: Mutex<BTreeSet<LaneOf>>,
}

impl Shared {
    /// Logs the first leak of a lane and service. No worker asks twice.
    fn tell_leak(&self, of: &LaneOf, answered_by: &str) {
        let mut told = self.leaks.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(of.clone()) {
            crate::logging::warning!("{}", of.leak(answered_by));
        }
    }
}

/// A listener by its number; it stays when the listener changes or goes.
struct Port {
    view: Rc<View>,
    counters: ListenerCounters,
    requests: ProtocolCounters,
}

pub(crate) struct Worker {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    number: usize,
    poller: Poller,
    clock: Clock,
    scratch: Vec<u8>,
    connections: Slots<Connection>,
    requests: Requests,
    ports: Vec<Option<Port>>,
    clusters: Vec<ClusterEntry>,
    endpoints: Slots<EndpointEntry>,
    tables: Arc<Tables>,
    peers: Peers,
    series: SeriesSet<RequestSeries>,
    tcp_series: SeriesSet<TcpSeries>,
    counters: WorkerCounters,
    /// Filters of listeners that have others by now; a request may still be with them.
    left_filters: Vec<Filters>,
    /// What filters counted that are gone.
    filter_stats: BTreeMap<String, u64>,
    buffers: Buffers,
    deadlines: Deadlines,
    parked: Deadlines,
    /// When an interval of outlier detection ends.
    check_at: Moment,
    /// Connections with output: to upstreams, and all others.
    dirty_upstream: Vec<Id>,
    dirty: Vec<Id>,
    resumed: Vec<Id>,
    /// Endpoints that may be of no more use.
    leaving: Vec<Id>,
    rng: Rng,
    draining: bool,
    stopped: bool,
    /// Some listener does not let every caller set marks.
    judges_marks: bool,
    /// Bytes that wait in memory.
    buffered: usize,
    log: Vec<u8>,
    log_since: Moment,
    /// Lines about broken peers that may still be logged in this second.
    log_budget: u32,
    log_second: Moment,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, number: usize) -> io::Result<Self> {
        let inbox = Arc::clone(&shared.inboxes[number]);
        let poller = Poller::new()?;
        poller.add(inbox.event(), WAKE, Interest::READ)?;
        let clock = Clock::new(shared.start);
        let requests = Requests::new(shared.config.limits.request_timeout);
        Ok(Self {
            inbox,
            number,
            poller,
            clock,
            scratch: vec![0; SCRATCH],
            connections: Slots::new(),
            requests,
            ports: Vec::new(),
            clusters: Vec::new(),
            endpoints: Slots::new(),
            tables: Arc::default(),
            peers: Peers::new(),
            series: SeriesSet::new(),
            tcp_series: SeriesSet::new(),
            counters: WorkerCounters::default(),
            left_filters: Vec::new(),
            filter_stats: BTreeMap::new(),
            buffers: Buffers::default(),
            deadlines: Deadlines::default(),
            parked: Deadlines::default(),
            check_at: Moment::NEVER,
            dirty_upstream: Vec::new(),
            dirty: Vec::new(),
            resumed: Vec::new(),
            leaving: Vec::new(),
            rng: Rng::new(number as u64 + 1),
            draining: false,
            stopped: false,
            judges_marks: false,
            buffered: 0,
            log: Vec::new(),
            log_since: Moment::default(),
            log_budget: 0,
            log_second: Moment::default(),
            shared,
        })
    }

    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        while !self.stopped {
            self.poller.wait(self.sleep(), &mut events)?;
            self.clock.tick();
            self.turn(&events);
        }
        self.flush_log();
        Ok(())
    }

    fn turn(&mut self, events: &[Event]) {
        self.counters.turns += 1;
        for event in events.iter().filter(|event| event.token & UPSTREAM != 0) {
            if event.token == WAKE {
                self.commands();
            } else {
                self.happened(event);
            }
        }
        for event in events.iter().filter(|event| event.token & UPSTREAM == 0) {
            self.happened(event);
        }
        self.drive();
        self.expire();
        self.check_endpoints();
        self.drive();
        if !self.leaving.is_empty() {
            self.drop_leaving();
        }
        if !self.log.is_empty() && self.clock.now().since(self.log_since) >= LOG_DELAY {
            self.flush_log();
        }
        let published = self
            .inbox
            .buffered
            .load(std::sync::atomic::Ordering::Relaxed);
        if published.abs_diff(self.buffered) > SCRATCH || self.buffered == 0 && published != 0 {
            self.inbox
                .buffered
                .store(self.buffered, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Goes on with what was paused and writes what is to be written.
    fn drive(&mut self) {
        for _ in 0..ROUNDS {
            if self.is_done() {
                return;
            }
            self.run_resumed();
            self.flush_dirty();
        }
    }

    fn commands(&mut self) {
        for command in self.inbox.take() {
            match command {
                Command::Accepted {
                    socket,
                    listener,
                    remote,
                } => {
                    self.accepted(socket, listener, remote);
                }
                Command::Tables => self.swap(),
                Command::Resume { request, verdict } => self.resume_parked(request, verdict),
                Command::Report(sender) => {
                    // The reader gave up waiting: nobody needs the report.
                    let _ = sender.send(self.report());
                }
                Command::Drain => self.drain(),
                Command::Stop => {
                    self.answer_the_rest();
                    self.stopped = true;
                }
            }
        }
    }

    /// Whether nothing is left to be written or gone on with in this turn.
    fn is_done(&self) -> bool {
        self.resumed.is_empty() && self.dirty.is_empty() && self.dirty_upstream.is_empty()
    }

    /// How long there is nothing to do unless something happens.
    fn sleep(&self) -> Option<Duration> {
        if !self.is_done() {
            return Some(Duration::ZERO);
        }
        let log = (!self.log.is_empty()).then(|| self.log_since.after(LOG_DELAY));
        let next = [
            self.requests.next_deadline(),
            self.deadlines.next(),
            self.parked.next(),
            (self.check_at < Moment::NEVER).then_some(self.check_at),
            log,
        ];
        Some(next.into_iter().flatten().min()?.since(self.clock.now()))
    }

    fn port(&mut self, number: u32) -> Option<&mut Port> {
        self.ports.get_mut(number as usize)?.as_mut()
    }

    /// Whether a line about a broken peer may be logged: ten a second, so that garbage does not fill
    /// the disk. All of them are counted.
    fn may_log(&mut self) -> bool {
        let now = self.clock.now();
        if now.since(self.log_second) >= Duration::from_secs(1) {
            self.log_second = now;
            self.log_budget = 10;
        }
        let allowed = self.log_budget > 0;
        self.log_budget = self.log_budget.saturating_sub(1);
        allowed
    }
}
