//! Replies: from an upstream to the right caller, in the right order, or from Meltemi itself.

use std::rc::Rc;

use meltemi_codec::{Correlation, ErrorKind, Frame, Kind, LocalError, Status};

use super::Worker;
use super::dispatch::encode;
use crate::connection::{Body, HIGH, Role, pause};
use crate::filter::Again;
use crate::flight::Found;
use crate::request::{NONE, Stage};
use crate::slots::Id;
use crate::stats::labels::Outcome;
use crate::view::View;

impl Worker {
    /// A frame came from an upstream; `bytes` is what is there of it.
    pub(super) fn reply_frame(&mut self, id: Id, frame: &Frame, bytes: &[u8]) {
        match frame.kind {
            Kind::Response | Kind::StreamData | Kind::StreamClose => {}
            Kind::Heartbeat => return self.answer_heartbeat(id, frame, bytes),
            Kind::HeartbeatReply => return,
            Kind::Request | Kind::Oneway | Kind::StreamOpen => {
                return self.upstream_broken(id, "sent a request where only replies can be");
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
        let outcome = match frame.status {
            Status::Ok => Outcome::Ok,
            Status::Error => Outcome::Failed,
        };
        if request.keeper.is_some() && whole && self.replied_again(request_id, &view, frame.status)
        {
            return;
        }
        let Some(request) = self.requests.get_mut(request_id) else {
            return;
        };
        request.outcome = outcome;
        request.sent += frame.len as u64;
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

    /// The request that a reply answers; None when there is none, which is dealt with.
    fn asked(&mut self, id: Id, frame: &Frame) -> Option<Id> {
        let connection = self.connections.get_mut(id)?;
        let up = connection.upstream()?;
        let number = up.cluster as usize;
        let by_id = up.protocol.correlation() == Correlation::Id;
        if up.key.exclusive {
            let request_id = up.request;
            let Some(request) = self.requests.get(request_id) else {
                self.upstream_broken(id, "sent a reply that nobody waits for");
                return None;
            };
            if by_id && frame.ids.message != request.reply_to.ids.message {
                let message = format!(
                    "upstream {} answered id {} where {} was asked",
                    up.address, frame.ids.message, request.reply_to.ids.message
                );
                self.clusters[number].counters.upstream_cx_protocol_error += 1;
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
    fn deliver(
        &mut self,
        id: Id,
        view: &Rc<View>,
        frame: Option<&Frame>,
        bytes: &[u8],
        last: bool,
    ) {
        let turn = self.turn_of(id);
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        if request.copy {
            return;
        }
        let (down_id, upstream, stream) = (request.downstream, request.upstream, request.stream);
        let Some(protocol) = view.protocol() else {
            return;
        };
        let shared = request.wire != 0;
        let edits = frame.filter(|frame| frame.rewritable).and_then(|frame| {
            let route = view.table()?.table.routes().get(request.route as usize)?;
            let edits = last
                && !route.response_mutation.is_empty()
                && protocol.can_edit_attributes(frame.format);
            edits.then_some(&*route.response_mutation)
        });
        let ids = (shared && last).then_some(request.reply_to.ids);
        let rewrites = ids.is_some() || edits.is_some();
        let Some(connection) = self.connections.get_mut(down_id) else {
            return;
        };
        if !turn {
            let before = request.held.len();
            match frame {
                Some(frame) if rewrites => {
                    encode(
                        &**protocol,
                        frame,
                        bytes,
                        ids,
                        edits.unwrap_or(&[]),
                        &mut request.held,
                    );
                }
                _ => request.held.extend_from_slice(bytes),
            }
            let much = request.held.len() > HIGH;
            let added = request.held.len() - before;
            if let Some(down) = connection.downstream() {
                down.held += added;
            }
            if much && !last {
                self.pause(upstream, pause::TURN);
            }
            return self.account(down_id);
        }
        request.delivered = true;
        let full = match frame {
            Some(frame) if rewrites => {
                self.buffers.ready(&mut connection.out);
                encode(
                    &**protocol,
                    frame,
                    bytes,
                    ids,
                    edits.unwrap_or(&[]),
                    &mut connection.out,
                );
                let full = connection.waiting() > HIGH;
                self.mark(down_id);
                full
            }
            _ => self.append(down_id, bytes),
        };
        if full {
            self.pause(down_id, pause::OUTPUT);
            if !last {
                self.pause(upstream, pause::PEER);
            }
        }
        let Some(down) = self
            .connections
            .get_mut(down_id)
            .and_then(|entry| entry.downstream())
        else {
            return;
        };
        if !last {
            down.replying = id;
        } else if down.replying == id && stream {
            down.replying = Id::NONE;
            self.next_in_line(down_id);
        }
    }

    /// Whether bytes of this request's reply may be written now.
    fn turn_of(&mut self, id: Id) -> bool {
        let Some(request) = self.requests.get(id) else {
            return false;
        };
        let (stream, held) = (request.stream, !request.held.is_empty());
        let Some(connection) = self.connections.get_mut(request.downstream) else {
            return false;
        };
        let Some(down) = connection.downstream() else {
            return false;
        };
        if !down.replying.is_none() {
            return down.replying == id;
        }
        if held {
            return false;
        }
        stream || down.unordered() || self.requests.first_in_line(down.first) == id.index
    }

    /// A reply (or an error in its place) is complete: its request is over, or waits for its turn.
    fn complete(&mut self, id: Id, outcome: Outcome) {
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

    /// Lets replies go whose turn it is now.
    fn next_in_line(&mut self, down_id: Id) {
        loop {
            let Some(connection) = self.connections.get_mut(down_id) else {
                return;
            };
            let Some(down) = connection.downstream() else {
                return;
            };
            if !down.replying.is_none() {
                return;
            }
            if !down.behind.is_empty() {
                let behind = std::mem::take(&mut down.behind);
                self.append(down_id, &behind);
                continue;
            }
            if down.held == 0 {
                return;
            }
            let Some(id) = self.held_and_next(down_id) else {
                return;
            };
            let Some(request) = self.requests.get_mut(id) else {
                return;
            };
            let held = std::mem::take(&mut request.held);
            request.delivered = true;
            let (stage, stream, outcome) = (request.stage, request.stream, request.outcome);
            let upstream = request.upstream;
            let partial = self.connections.get(upstream).is_some_and(
                |entry| matches!(entry.body, Body::Of { request, .. } if request == id),
            );
            let Some(connection) = self.connections.get_mut(down_id) else {
                return;
            };
            if let Some(down) = connection.downstream() {
                down.held -= held.len();
                if stage != Stage::Replied && (partial || !stream) {
                    down.replying = id;
                }
            }
            let full = self.append(down_id, &held);
            self.account(down_id);
            if stage == Stage::Replied {
                self.unlink(down_id, id);
                self.finish(id, outcome, None);
            } else {
                self.unpause(upstream, pause::TURN);
                if full {
                    self.pause(upstream, pause::PEER);
                }
            }
        }
    }

    /// The first request whose held reply may go now.
    fn held_and_next(&mut self, down_id: Id) -> Option<Id> {
        let down = self.connections.get_mut(down_id)?.downstream()?;
        let unordered = down.unordered();
        let first = self.requests.first_in_line(down.first);
        let mut next = down.first;
        while next != NONE {
            let request = self.requests.at(next);
            let may = unordered || request.stream || next == first;
            if may && !request.held.is_empty() {
                return Some(self.requests.id_at(next));
            }
            next = request.behind;
        }
        None
    }

    /// Takes a request out of its connection's list.
    pub(super) fn unlink(&mut self, down_id: Id, id: Id) {
        let half = self.shared.config.limits.max_connection_requests / 2;
        let request = self.requests.at(id.index);
        let (before, behind) = (request.before, request.behind);
        (request.before, request.behind) = (NONE, NONE);
        if before != NONE {
            self.requests.at(before).behind = behind;
        }
        if behind != NONE {
            self.requests.at(behind).before = before;
        }
        let Some(connection) = self.connections.get_mut(down_id) else {
            return;
        };
        let (read_closed, paused) = (connection.read_closed, connection.pause & pause::REQUESTS);
        let Some(down) = connection.downstream() else {
            return;
        };
        if before == NONE {
            down.first = behind;
        }
        if behind == NONE {
            down.last = before;
        }
        if down.replying == id {
            down.replying = Id::NONE;
        }
        down.requests -= 1;
        let left = down.requests as usize;
        if left == 0 {
            down.twins = false;
            down.highest = 0;
        }
        if paused != 0 && left <= half {
            self.unpause(down_id, pause::REQUESTS);
        }
        if left == 0 && read_closed {
            self.mark(down_id);
        }
    }

    /// A request failed at its upstream: a filter may want it sent again, else it is answered.
    pub(super) fn failed_upstream(&mut self, id: Id, kind: ErrorKind, message: &str) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        if let (Some(keeper), Some(view)) = (request.keeper, request.view.clone())
            && request.kept.is_some()
            && !request.delivered
        {
            let attempts = request.attempts;
            let again = view
                .filters
                .borrow_mut()
                .get_mut(usize::from(keeper))
                .map_or(Again::No, |filter| filter.failed(kind, attempts));
            if again == Again::Yes {
                return self.send_kept_again(id);
            }
        }
        self.fail(id, kind, message);
    }

    /// Asks the filter that kept a request about its reply; true when it is sent again.
    fn replied_again(&mut self, id: Id, view: &Rc<View>, status: Status) -> bool {
        let Some(request) = self.requests.get(id) else {
            return false;
        };
        let (Some(keeper), attempts) = (request.keeper, request.attempts) else {
            return false;
        };
        let again = view
            .filters
            .borrow_mut()
            .get_mut(usize::from(keeper))
            .map_or(Again::No, |filter| filter.replied(status, attempts));
        if again == Again::No || request.kept.is_none() {
            return false;
        }
        self.leave_upstream(id, true);
        self.send_kept_again(id);
        true
    }

    fn send_kept_again(&mut self, id: Id) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        let index = self
            .endpoints
            .get(request.endpoint)
            .and_then(|entry| entry.index);
        if let Some(index) = index {
            request.tried.push(index);
        }
        request.stage = Stage::Queued;
        request.wire = 0;
        let number = request.cluster as usize;
        let all_tried = {
            let tried = request.tried;
            let cluster = &mut self.clusters[number];
            cluster.counters.upstream_rq_retry += 1;
            cluster.balancer.pick(&mut self.rng, tried.all()).is_none()
        };
        let Some(kept) = self.take_kept(id) else {
            return;
        };
        self.requests.start_timer(id, self.clock.now());
        if let Some(request) = self.requests.get_mut(id)
            && all_tried
        {
            // Every endpoint had its chance: the same ones once more.
            request.tried = crate::request::Tried::default();
        }
        self.keep(id, &kept.frame, &kept.bytes, usize::MAX, Stage::Queued);
        self.attempt(id, &kept.frame, &kept.bytes);
    }

    /// Answers a request with an error in the protocol's own way.
    pub(super) fn fail(&mut self, id: Id, kind: ErrorKind, message: &(impl AsRef<str> + ?Sized)) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        let outcome = Outcome::Local(kind);
        if request.oneway || request.copy {
            return self.finish(id, outcome, None);
        }
        let down_id = request.downstream;
        let Some(view) = request.view.clone() else {
            return;
        };
        let Some(protocol) = view.protocol() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(down_id) else {
            return;
        };
        let Some(down) = connection.downstream() else {
            return;
        };
        if down.replying == id {
            // Half of a reply is out; the only honest end is the end of the connection.
            return self.close_downstream(down_id);
        }
        down.held -= request.held.len();
        request.held.clear();
        request.stage = Stage::Replying;
        let error = LocalError {
            kind,
            message: message.as_ref(),
        };
        let turn = self.turn_of(id);
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(down_id) else {
            return;
        };
        if turn {
            self.buffers.ready(&mut connection.out);
            let before = connection.out.len();
            protocol.error_reply(&request.reply_to, &error, &mut connection.out);
            request.sent = (connection.out.len() - before) as u64;
            self.mark(down_id);
        } else {
            protocol.error_reply(&request.reply_to, &error, &mut request.held);
            request.sent = request.held.len() as u64;
            let held = request.held.len();
            if let Some(down) = connection.downstream() {
                down.held += held;
            }
        }
        self.complete(id, outcome);
    }

    /// Gives up what a request has upstream: its caller is gone.
    pub(super) fn give_up(&mut self, id: Id) {
        self.leave_upstream(id, false);
    }

    /// The caller is alive, and so are we.
    pub(super) fn answer_heartbeat(&mut self, id: Id, frame: &Frame, bytes: &[u8]) {
        let mut reply = Vec::new();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match &mut connection.role {
            Role::Downstream(down) => {
                down.protocol.heartbeat_reply(frame, bytes, &mut reply);
                let listener = down.listener;
                if !down.replying.is_none() {
                    down.behind.extend_from_slice(&reply);
                    reply.clear();
                }
                if let Some(port) = self.port(listener) {
                    port.requests.request_heartbeat += 1;
                }
            }
            Role::Upstream(up) => {
                let busy = self
                    .requests
                    .get(up.request)
                    .is_some_and(|request| request.uploading);
                if !busy {
                    up.protocol.heartbeat_reply(frame, bytes, &mut reply);
                }
            }
            Role::Tunnel(_) => {}
        }
        if !reply.is_empty() {
            self.append(id, &reply);
        }
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
