//! What a run counts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::histogram::Histogram;

/// What went wrong with a request or a connection. Each makes the run fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection could be made.
    NotConnected,
    /// The connection ended with this request in flight.
    ConnectionLost,
    /// The connection ended with nothing in flight.
    ConnectionClosed,
    /// Bytes that are no frame of the protocol.
    Undecodable,
    /// A reply with an id that no request in flight has.
    UnknownId,
    /// The echo of another request.
    AnotherRequestsReply,
    /// The echo, or what stands around it, is not what was sent.
    CorruptReply,
    /// A reply that says neither result nor exception, or names another method.
    BrokenReply,
    /// The protocol's own exception.
    Exception,
    /// No reply until the end of the grace time.
    NoReply,
}

impl Fault {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::ConnectionLost => "connection_lost",
            Self::ConnectionClosed => "connection_closed",
            Self::Undecodable => "undecodable",
            Self::UnknownId => "unknown_id",
            Self::AnotherRequestsReply => "another_requests_reply",
            Self::CorruptReply => "corrupt_reply",
            Self::BrokenReply => "broken_reply",
            Self::Exception => "exception",
            Self::NoReply => "no_reply",
        }
    }
}

/// Different exception messages that are kept; the rest is counted under one name.
const MAX_MESSAGES: usize = 64;

/// The counts of one run.
#[derive(Default)]
pub struct Tally {
    /// Latencies of the measured time, in nanoseconds.
    pub latency: Histogram,
    /// Whether the measured time has begun and has not ended.
    pub measuring: bool,
    /// Requests sent.
    pub sent: u64,
    /// Right answers.
    pub answers: u64,
    /// Exceptions that were expected.
    pub exceptions: u64,
    backends: Vec<(Vec<u8>, u64)>,
    /// Right answers that name no backend.
    nameless: u64,
    messages: BTreeMap<String, u64>,
    faults: BTreeMap<&'static str, u64>,
    first_fault: Option<String>,
}

impl Tally {
    /// Replies of every kind that came to a request in flight.
    #[must_use]
    pub const fn replies(&self) -> u64 {
        self.answers + self.exceptions
    }

    /// Counts a right answer.
    pub fn answer(&mut self, latency_ns: u64, backend: &[u8]) {
        self.answers += 1;
        if self.measuring {
            self.latency.add(latency_ns);
        }
        if backend.is_empty() {
            self.nameless += 1;
            return;
        }
        match self.backends.iter_mut().find(|(name, _)| name == backend) {
            Some((_, count)) => *count += 1,
            None => self.backends.push((backend.to_vec(), 1)),
        }
    }

    /// Counts an exception, which is a fault unless `expected`.
    pub fn exception(&mut self, message: &[u8], expected: bool) {
        let message = String::from_utf8_lossy(message).into_owned();
        if expected {
            self.exceptions += 1;
        } else {
            self.fault(Fault::Exception, 1, || message.clone());
        }
        if self.messages.len() < MAX_MESSAGES || self.messages.contains_key(&message) {
            *self.messages.entry(message).or_default() += 1;
        } else {
            *self.messages.entry("(others)".to_owned()).or_default() += 1;
        }
    }

    /// Counts `times` of a fault; the first of the run is described.
    pub fn fault(&mut self, fault: Fault, times: u64, describe: impl FnOnce() -> String) {
        if times == 0 {
            return;
        }
        *self.faults.entry(fault.as_str()).or_default() += times;
        self.first_fault
            .get_or_insert_with(|| format!("{}: {}", fault.as_str(), describe()));
    }

    /// Whether every request got a right answer so far.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// The counts of the whole run as JSON fields; latencies are those of the measured time, in µs.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds to microseconds for people"
    )]
    pub fn fields(&self) -> Map<String, Value> {
        let us = |ns: u64| (ns as f64 / 100.0).round() / 10.0;
        let named = |(name, count): &(Vec<u8>, u64)| {
            (
                String::from_utf8_lossy(name).into_owned(),
                Value::from(*count),
            )
        };
        let mut backends: Vec<_> = self.backends.iter().map(named).collect();
        if self.nameless > 0 {
            backends.push((String::new(), Value::from(self.nameless)));
        }
        backends.sort_by(|a, b| a.0.cmp(&b.0));
        let fields = json!({
            "mean_us": us(self.latency.mean() as u64),
            "p50_us": us(self.latency.per_mille(500)),
            "p90_us": us(self.latency.per_mille(900)),
            "p99_us": us(self.latency.per_mille(990)),
            "p999_us": us(self.latency.per_mille(999)),
            "max_us": us(self.latency.max()),
            "sent": self.sent,
            "answers": self.answers,
            "exceptions": self.exceptions,
            "backends": backends.into_iter().collect::<Map<_, _>>(),
            "exception_messages": self.messages,
            "errors": self.faults,
            "first_error": self.first_fault,
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}
