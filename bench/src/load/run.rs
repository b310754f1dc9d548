//! The loop of the load generator: one thread, one epoll, warm-up, measured time, last replies.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use serde_json::{Map, Value, json};

use super::connection::Connection;
use super::options::Options;
use super::plan::Plan;
use super::tally::Fault;
use crate::process::Usage;
use crate::socket::{connect, now_ns, timespec};

const EVENTS_A_TURN: usize = 512;
const SCRATCH_BYTES: usize = 1 << 20;
const LONGEST_WAIT_NS: u64 = 100_000_000;

/// A run in progress.
struct Run<'o> {
    options: &'o Options,
    plan: Plan,
    connections: Vec<Connection>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    scratch: Vec<u8>,
    /// Where the open loop looks for room next.
    next: usize,
    /// Requests that the open loop has begun.
    begun: u64,
    /// Most requests that the open loop was behind its schedule.
    most_behind: u64,
    /// Memory of the measured processes before the first connection.
    resident_kib_before: Vec<u64>,
}

/// What the measured time started from.
struct Mark {
    at_ns: u64,
    answers: u64,
    usage: Vec<Usage>,
    own: Usage,
}

/// Runs as `options` say.
///
/// # Errors
/// Nothing could be sent at all: the protocol is not known, or no connection could be made.
/// What went wrong with single requests is in the result.
pub fn run(options: &Options) -> Result<(Value, bool), String> {
    let plan = Plan::new(options)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let mut run = Run {
        options,
        plan,
        connections: Vec::with_capacity(options.connections),
        epoll,
        events: Vec::with_capacity(EVENTS_A_TURN),
        scratch: Vec::with_capacity(SCRATCH_BYTES),
        next: 0,
        begun: 0,
        most_behind: 0,
        resident_kib_before: options
            .pids
            .iter()
            .map(|pid| Usage::of(*pid).resident_kib)
            .collect(),
    };
    let idle = run.connect()?;
    let fields = run.go();
    run.plan
        .finish_record()
        .map_err(|error| format!("the record cannot be written: {error}"))?;
    drop(idle);
    let clean = run.plan.tally.is_clean();
    Ok((Value::Object(fields), clean))
}

impl Run<'_> {
    fn connect(&mut self) -> Result<Vec<OwnedFd>, String> {
        let addresses = self.options.addresses.iter().cycle();
        for (index, address) in addresses.clone().take(self.options.connections).enumerate() {
            let socket = match connect(*address) {
                Ok(socket) => socket,
                Err(error) if index == 0 => return Err(format!("{address}: {error}")),
                Err(error) => {
                    self.plan
                        .tally
                        .fault(Fault::NotConnected, 1, || format!("{address}: {error}"));
                    continue;
                }
            };
            let data = EventData::new_u64(self.connections.len() as u64);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)
                .map_err(|error| format!("epoll: {error}"))?;
            self.connections
                .push(Connection::new(socket, &self.plan, self.options.in_flight));
        }
        addresses
            .take(self.options.idle)
            .map(|address| connect(*address).map_err(|error| format!("{address}: {error}")))
            .collect()
    }

    fn go(&mut self) -> Map<String, Value> {
        let start = now_ns();
        let begin = start + nanoseconds(self.options.warm_up);
        let end = begin + nanoseconds(self.options.duration);
        if self.options.rate.is_none() {
            self.fill(start);
        }
        let mut mark = None;
        let mut now = start;
        while now < end && self.alive() && !self.all_answered() {
            if mark.is_none() && now >= begin {
                mark = Some(self.mark());
            }
            let wait = match self.options.rate {
                Some(rate) => self.begin_due(now, start, rate),
                None => LONGEST_WAIT_NS,
            };
            self.turn(wait, self.options.rate.is_none());
            now = now_ns();
        }
        let mark = mark.unwrap_or_else(|| self.mark());
        self.plan.tally.measuring = false;
        let mut fields = self.measured(&mark);
        self.plan.left = 0;
        self.await_rest();
        fields.append(&mut self.plan.tally.fields());
        fields
    }

    /// Closed loop: as many requests in flight as may be.
    fn fill(&mut self, now: u64) {
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            while connection.has_room() && self.plan.left > 0 {
                connection.ask(&mut self.plan, now);
            }
            self.flush(index);
        }
    }

    /// Open loop: begins the requests whose time has come; returns how long to wait for the next.
    fn begin_due(&mut self, now: u64, start: u64, rate: f64) -> u64 {
        // Request n is due at n / rate: the first one at the start.
        let due = ((now - start) as f64 * rate / 1e9) as u64 + 1;
        self.most_behind = self.most_behind.max(due.saturating_sub(self.begun));
        let mut full = 0;
        while self.begun < due && full < self.connections.len() && self.plan.left > 0 {
            let index = self.next;
            self.next = (self.next + 1) % self.connections.len();
            if !self.connections[index].has_room() {
                full += 1;
                continue;
            }
            full = 0;
            let intended = start + (self.begun as f64 * 1e9 / rate) as u64;
            self.connections[index].ask(&mut self.plan, intended);
            self.begun += 1;
            self.flush(index);
        }
        if self.begun < due {
            return 1_000_000;
        }
        let next = start + (self.begun as f64 * 1e9 / rate) as u64;
        next.saturating_sub(now_ns()).min(LONGEST_WAIT_NS)
    }

    /// Waits once and serves every connection that is ready.
    fn turn(&mut self, wait_ns: u64, refill: bool) {
        self.events.clear();
        let wait = timespec(wait_ns);
        // An interrupted wait is one without events.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&wait));
        for place in 0..self.events.len() {
            let event = self.events[place];
            let (index, flags) = (event.data.u64() as usize, event.flags);
            let connection = &mut self.connections[index];
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                connection.receive(&mut self.plan, &mut self.scratch, refill);
            }
            self.flush(index);
        }
    }

    fn flush(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let was_blocked = connection.blocked;
        connection.flush(&mut self.plan);
        let outcome = if connection.dead {
            epoll::delete(&self.epoll, &connection.socket)
        } else if connection.blocked != was_blocked {
            let also = if connection.blocked {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            let data = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &connection.socket, data, EventFlags::IN | also)
        } else {
            Ok(())
        };
        // A dead connection may be gone from the epoll already; nothing else can fail.
        let _ = outcome;
    }

    fn alive(&self) -> bool {
        self.connections.iter().any(|connection| !connection.dead)
    }

    fn in_flight(&self) -> usize {
        let alive = self
            .connections
            .iter()
            .filter(|connection| !connection.dead);
        alive.map(Connection::in_flight).sum()
    }

    fn all_answered(&self) -> bool {
        self.plan.left == 0 && self.in_flight() == 0
    }

    fn await_rest(&mut self) {
        let deadline = now_ns() + nanoseconds(self.options.grace);
        while self.in_flight() > 0 && now_ns() < deadline {
            self.turn(LONGEST_WAIT_NS / 10, false);
        }
        let waiting = self.in_flight() as u64;
        let grace = self.options.grace;
        self.plan.tally.fault(Fault::NoReply, waiting, || {
            format!("{grace:?} after the end")
        });
    }

    fn mark(&mut self) -> Mark {
        self.plan.tally.measuring = true;
        Mark {
            at_ns: now_ns(),
            answers: self.plan.tally.answers,
            usage: self
                .options
                .pids
                .iter()
                .map(|pid| Usage::of(*pid))
                .collect(),
            own: Usage::of(std::process::id()),
        }
    }

    /// The fields of the measured time, which ends now.
    fn measured(&self, mark: &Mark) -> Map<String, Value> {
        let seconds = ((now_ns() - mark.at_ns) as f64 / 1e9).max(1e-9);
        let requests = self.plan.tally.answers - mark.answers;
        let a_request = |cpu: Duration| cpu.as_secs_f64() * 1e6 / requests.max(1) as f64;
        let processes: Vec<_> = self
            .options
            .pids
            .iter()
            .zip(&mark.usage)
            .zip(&self.resident_kib_before)
            .map(|((pid, before), resident_kib_before)| {
                let usage = Usage::of(*pid);
                let cpu = usage.cpu.saturating_sub(before.cpu);
                json!({
                    "pid": pid,
                    "cpu_us_per_request": a_request(cpu),
                    "cpu_share": cpu.as_secs_f64() / seconds,
                    "user_share": usage.user_share(before),
                    "resident_kib_before": resident_kib_before,
                    "resident_kib": usage.resident_kib,
                })
            })
            .collect();
        let own = Usage::of(std::process::id())
            .cpu
            .saturating_sub(mark.own.cpu);
        let fields = json!({
            "connections": self.connections.len(),
            "in_flight": self.options.in_flight,
            "payload_bytes": self.options.payload_bytes,
            "seconds": seconds,
            "requests": requests,
            "rps": (requests as f64 / seconds).round(),
            "processes": processes,
            "own_cpu_us_per_request": a_request(own),
            "most_behind": self.most_behind,
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
