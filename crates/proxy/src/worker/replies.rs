//! Replies: from an upstream to the right caller, in the right order, or from Meltemi itself.

use meltemi_balancer::Seen;
use meltemi_codec::{Correlation, ErrorKind, Frame, Ids, Kind, Protocol, Status};
use meltemi_routing::Mutation;

use super::Worker;
use super::mutate::{self, Side};
use super::requests::capture;
use crate::connection::{Body, HIGH, pause};
use crate::flight::Found;
use crate::request::{Request, Stage};
use crate::slots::Id;
use crate::stats::labels::Outcome;
use crate::view::{Head, View};

impl Worker {
    /// A frame came from an upstream; `bytes` is what is there of it.
    pub(super) fn reply_frame(&mut self, id: Id, frame: &Frame, bytes: &[u8]) {
        match frame.kind {
            Kind::Response | Kind::StreamData | Kind::StreamClose => {}
            Kind::Heartbeat => return self.answer_heartbeat(id, frame, bytes),
            Kind::HeartbeatReply => return,
            Kind::Request | Kind::Oneway | Kind::StreamOpen => {
                let reason = "sent a request where only replies can be";
                return self.upstream_broken(id, ErrorKind::BadResponse, reason);
            }
        }
        let Some(request_id) = self.asked(id, frame) else {
            return;
        };
        let whole = bytes.len() == frame.len;
        let Some(request) = self.requests.get_mut(request_id) else {
            return;
        };
        let Some(view) = request.view.clone() else {
            return;
        };
        if frame.format != request.reply_to.format
            && let Some(protocol) = view.protocol()
            && !protocol.is_readable(request.reply_to.format, frame)
        {
            return self.unreadable(id, request_id);
        }
        let (outcome, seen) = match frame.status {
            Status::Ok => (Outcome::Ok, Seen::Success),
            Status::Error => (Outcome::Failed, Seen::Failed),
        };
        let (number, endpoint) = (request.cluster, request.endpoint);
        self.saw(number, endpoint, seen);
        let keeper = self
            .requests
            .get(request_id)
            .and_then(|request| request.keeper);
        if keeper.is_some() && whole && self.replied_again(request_id, &view, frame.status) {
            return;
        }
        let Some(request) = self.requests.get_mut(request_id) else {
            return;
        };
        request.outcome = outcome;
        request.sent += frame.len as u64;
        if let Some((_, format)) = &self.shared.access_log
            && !format.reply_attributes().is_empty()
            && let Some(protocol) = view.protocol()
        {
            let protocol = &**protocol;
            let head = Head {
                protocol,
                frame,
                bytes,
            };
            capture(
                format.reply_attributes(),
                &mut request.captured_reply,
                &head,
            );
        }
        let goes_on = request.stream && frame.kind == Kind::StreamData;
        if !goes_on {
            request.stage = Stage::Replying;
        }
        self.deliver(request_id, &view, Some(frame), bytes, whole);
        if !whole {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.body = Body::Of {
                    left: frame.len - bytes.len(),
                    request: request_id,
                };
            }
        } else if !goes_on {
            self.replied(request_id, outcome);
        }
    }

    /// A reply is written in a way that its caller would not understand.
    fn unreadable(&mut self, id: Id, request_id: Id) {
        let connection = self.connections.get_mut(id);
        let Some(up) = connection.and_then(|entry| entry.upstream()) else {
            return;
        };
        let message = format!(
            "upstream {} answered in another protocol than it was asked in",
            up.address
        );
        self.clusters[up.cluster as usize]
            .counters
            .upstream_cx_protocol_error += 1;
        self.saw_bad_reply(request_id);
        self.leave_upstream(request_id, false);
        self.failed_upstream(request_id, ErrorKind::BadResponse, &message);
    }

    /// A reply came that is none to its request.
    fn saw_bad_reply(&mut self, id: Id) {
        if let Some(request) = self.requests.get(id) {
            let (number, endpoint) = (request.cluster, request.endpoint);
            self.saw(number, endpoint, Seen::Failed);
        }
    }

    /// The request that a reply answers; None when there is none, which is dealt with.
    fn asked(&mut self, id: Id, frame: &Frame) -> Option<Id> {
        let connection = self.connections.get_mut(id)?;
        let up = connection.upstream()?;
        let number = up.cluster as usize;
        let by_id = up.protocol.correlation() == Correlation::Id;
        if up.key.exclusive {
            let request_id = up.request;
            let Some(request) = self.requests.get(request_id) else {
                let reason = "sent a reply that nobody waits for";
                self.upstream_broken(id, ErrorKind::BadResponse, reason);
                return None;
            };
            if by_id && frame.ids.message != request.reply_to.ids.message {
                let message = format!(
                    "upstream {} answered id {} where {} was asked",
                    up.address, frame.ids.message, request.reply_to.ids.message
                );
                self.clusters[number].counters.upstream_cx_protocol_error += 1;
                self.saw_bad_reply(request_id);
                self.leave_upstream(request_id, false);
                self.failed_upstream(request_id, ErrorKind::BadResponse, &message);
                return None;
            }
            return Some(request_id);
        }
        let found = if by_id {
            up.flight.get(frame.ids.message)
        } else {
            match up.order.front() {
                None => Found::Unknown,
                Some(request) if request.is_none() => {
                    up.order.pop_front();
                    Found::Late
                }
                Some(request) => Found::Request(*request),
            }
        };
        match found {
            Found::Request(request) => Some(request),
            Found::Late => {
                self.clusters[number].counters.upstream_rq_late_reply += 1;
                self.released(id);
                None
            }
            Found::Unknown => {
                self.clusters[number].counters.upstream_rq_unknown_reply += 1;
                None
            }
        }
    }

    /// A reply is complete.
    fn replied(&mut self, id: Id, outcome: Outcome) {
        // By position: the front of the queue has had its reply.
        if let Some(request) = self.requests.get(id) {
            let upstream = request.upstream;
            let up = self
                .connections
                .get_mut(upstream)
                .and_then(|entry| entry.upstream());
            if let Some(up) = up
                && up.order.front() == Some(&id)
            {
                up.order.pop_front();
            }
        }
        let reusable = self
            .requests
            .get(id)
            .is_some_and(|request| !request.stream || request.stream_closed);
        self.leave_upstream(id, reusable);
        self.complete(id, outcome);
    }

    /// Further bytes of a reply.
    pub(super) fn download(&mut self, _upstream: Id, id: Id, bytes: &[u8], last: bool) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let (outcome, Some(view)) = (request.outcome, request.view.clone()) else {
            return;
        };
        let goes_on = request.stream && request.stage == Stage::Sent;
        self.deliver(id, &view, None, bytes, last);
        if last && !goes_on {
            self.replied(id, outcome);
        }
    }

    /// Writes reply bytes to the caller when it is their turn, or holds them back until it is.
    fn deliver(&mut self, id: Id, view: &View, frame: Option<&Frame>, bytes: &[u8], last: bool) {
        let turn = self.turn_of(id);
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        if request.copy {
            return;
        }
        let down_id = request.downstream;
        let Some(connection) = self.connections.get_mut(down_id) else {
            return;
        };
        let rewrite = frame.and_then(|frame| Rewrite::of(view, request, frame));
        // Only the first bytes of a reply hold what a mutation changes.
        let mut mutated = frame.is_none() || !request.mutates_reply;
        if !turn {
            let before = request.held.len();
            self.buffers.ready(&mut request.held);
            match rewrite {
                Some(rewrite) => mutated |= rewrite.write(bytes, &mut request.held),
                None => request.held.extend_from_slice(bytes),
            }
            let added = request.held.len() - before;
            let much = request.held.len() > HIGH;
            self.held_back(id, added, much && !last);
        } else {
            request.delivered = true;
            let full = match rewrite {
                Some(rewrite) => {
                    self.buffers.ready(&mut connection.out);
                    mutated |= rewrite.write(bytes, &mut connection.out);
                    let full = connection.is_full();
                    self.mark(down_id);
                    full
                }
                None => self.append(down_id, bytes),
            };
            self.written(id, down_id, full, last);
        }
        if !mutated {
            self.not_mutated(id, view, Side::Reply);
        }
    }

    /// Reply bytes were kept for later.
    fn held_back(&mut self, id: Id, added: usize, too_much: bool) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let (down_id, upstream) = (request.downstream, request.upstream);
        let connection = self.connections.get_mut(down_id);
        if let Some(down) = connection.and_then(|entry| entry.downstream()) {
            down.held += added;
        }
        if too_much {
            self.pause(upstream, pause::TURN);
        }
        self.account(down_id);
    }

    /// Reply bytes went to the caller's connection.
    fn written(&mut self, id: Id, down_id: Id, full: bool, last: bool) {
        if last && !full {
            let connection = self.connections.get_mut(down_id);
            let replying = connection.and_then(|entry| entry.downstream());
            if replying.is_none_or(|down| down.replying.is_none()) {
                return;
            }
        }
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let (upstream, stream) = (request.upstream, request.stream);
        if full {
            self.pause(down_id, pause::OUTPUT);
            if !last {
                self.pause(upstream, pause::PEER);
            }
        }
        let connection = self.connections.get_mut(down_id);
        let Some(down) = connection.and_then(|entry| entry.downstream()) else {
            return;
        };
        if !last {
            down.replying = id;
        } else if down.replying == id && stream {
            down.replying = Id::NONE;
            self.next_in_line(down_id);
        }
    }

    /// A reply (or an error in its place) is complete: its request is over, or waits for its turn.
    pub(super) fn complete(&mut self, id: Id, outcome: Outcome) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        request.outcome = outcome;
        request.stage = Stage::Replied;
        self.requests.stop_timer(id);
        let Some(request) = self.requests.get(id) else {
            return;
        };
        if request.copy || request.oneway {
            return self.finish(id, outcome, None);
        }
        if !request.held.is_empty() {
            return;
        }
        let downstream = request.downstream;
        self.unlink(downstream, id);
        self.finish(id, outcome, None);
        self.next_in_line(downstream);
    }

    /// Gives up what a request has upstream: its caller is gone.
    pub(super) fn give_up(&mut self, id: Id) {
        self.leave_upstream(id, false);
    }

    /// A oneway request is on its way: nothing comes back.
    pub(super) fn oneway_sent(&mut self, id: Id) {
        self.leave_upstream(id, true);
        self.finish(id, Outcome::Ok, None);
    }

    /// The last byte of a request went upstream.
    pub(super) fn uploaded(&mut self, id: Id) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        if request.oneway {
            self.oneway_sent(id);
        }
    }

    /// The bytes of a request ended too early.
    pub(super) fn upload_cut(&mut self, id: Id) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let (oneway, downstream) = (request.oneway, request.downstream);
        self.leave_upstream(id, false);
        if !oneway {
            self.unlink(downstream, id);
        }
        self.finish(id, Outcome::Canceled, None);
        self.next_in_line(downstream);
    }
}

/// What is written differently in a reply than it came.
struct Rewrite<'a> {
    protocol: &'a dyn Protocol,
    frame: &'a Frame,
    ids: Option<Ids>,
    mutation: &'a [Mutation],
    /// There is a mutation that the caller would not read.
    unread: bool,
}

impl<'a> Rewrite<'a> {
    /// None where the reply goes out as it came.
    #[inline]
    fn of(view: &'a View, request: &Request, frame: &'a Frame) -> Option<Self> {
        if (request.wire == 0 && !request.mutates_reply) || !frame.rewritable {
            return None;
        }
        let protocol = &**view.protocol()?;
        let unread = request.mutates_reply && !protocol.takes_reply_attributes(&request.reply_to);
        let mutation = if request.mutates_reply && !unread {
            mutate::of(view, request.route, Side::Reply)
        } else {
            &[]
        };
        Some(Self {
            protocol,
            frame,
            ids: (request.wire != 0).then_some(request.reply_to.ids),
            mutation,
            unread,
        })
    }

    /// False where the mutation was left out.
    fn write(&self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        mutate::encode(
            self.protocol,
            self.frame,
            bytes,
            self.ids,
            self.mutation,
            out,
        ) && !self.unread
    }
}
