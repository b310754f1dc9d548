//! A request from its head to its cluster: limits, filters, route.

use std::rc::Rc;
use std::sync::Arc;

use meltemi_codec::{ErrorKind, Frame, Kind, Protocol};
use meltemi_routing::HashPolicy;

use super::Worker;
use crate::connection::{Body, HIGH, pause};
use crate::filter::{RequestView, Verdict};
use crate::request::{Kept, Stage};
use crate::slots::Id;
use crate::stats::counters::ProtocolCounters;
use crate::view::{Head, View};

/// All filters have been asked.
const NO_MORE_FILTERS: usize = usize::MAX;

impl Worker {
    /// A frame came from a downstream; `bytes` is what is there of it.
    pub(super) fn request_frame(&mut self, id: Id, frame: &Frame, bytes: &[u8]) {
        match frame.kind {
            Kind::Request | Kind::Oneway | Kind::StreamOpen => self.open(id, frame, bytes),
            Kind::StreamData | Kind::StreamClose => self.stream_from_caller(id, frame, bytes),
            Kind::Heartbeat => self.answer_heartbeat(id, frame, bytes),
            Kind::HeartbeatReply => {}
            Kind::Response => {
                let error = meltemi_codec::DecodeError::Invalid {
                    at: 0,
                    reason: "a reply where only requests can be",
                };
                self.not_a_request(id, &error);
            }
        }
    }

    fn open(&mut self, id: Id, frame: &Frame, bytes: &[u8]) {
        if !self.judges_marks {
            return self.open_as(id, frame, bytes, None);
        }
        match self.without_denied_marks(id, frame, bytes) {
            None => self.open_as(id, frame, bytes, None),
            Some(Ok(plain)) => self.open_as(id, &plain.frame, &plain.bytes, None),
            Some(Err(reason)) => self.open_as(id, frame, bytes, Some(&reason)),
        }
    }

    /// Begins a request, which is answered with an error where it is `denied`.
    fn open_as(&mut self, id: Id, frame: &Frame, bytes: &[u8], denied: Option<&str>) {
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(down) = connection.downstream() else {
            return;
        };
        let Some(Some(port)) = self.ports.get_mut(down.listener as usize) else {
            return;
        };
        let view = Rc::clone(&port.view);
        let protocol = &down.protocol;
        let speaks = |ours: &Arc<dyn Protocol>| Arc::ptr_eq(ours, protocol);
        if !view.protocol().is_some_and(speaks) {
            // The listener speaks something else by now; its clients connect again.
            return self.stop_reading(id);
        }
        count_request(&mut port.requests, frame.kind);
        let request_id = self.requests.open(Rc::clone(&view), now);
        let Some(request) = self.requests.get_mut(request_id) else {
            return;
        };
        protocol.reply_to(frame, bytes, &mut request.reply_to);
        request.downstream = id;
        request.received = frame.len as u64;
        request.oneway = frame.kind == Kind::Oneway;
        request.stream = frame.kind == Kind::StreamOpen;
        if let Some((_, format)) = &self.shared.access_log {
            let protocol = &**protocol;
            let head = Head {
                protocol,
                frame,
                bytes,
            };
            capture(format.attributes(), &mut request.captured, &head);
        }
        let left = frame.len - bytes.len();
        if left > 0 {
            request.uploading = true;
            connection.body = Body::Of {
                left,
                request: request_id,
            };
        }
        if frame.kind != Kind::Oneway {
            self.line_up(id, request_id, frame);
        }
        if let Some(reason) = denied {
            return self.fail(request_id, ErrorKind::Denied, reason);
        }
        match self.over_a_limit() {
            Some(reason) => self.fail(request_id, ErrorKind::Overflow, reason),
            None => self.advance(request_id, &view, frame, bytes, 0),
        }
    }

    /// Why this worker takes no more requests at the moment.
    fn over_a_limit(&mut self) -> Option<&'static str> {
        let limits = &self.shared.config.limits;
        if self.requests.live() > limits.max_requests {
            self.counters.overflow_requests += 1;
            return Some("too many requests are in flight");
        }
        // Every worker may hold its part of what the process may.
        if self.buffered > limits.max_buffered_bytes / self.shared.inboxes.len() {
            self.counters.overflow_buffered_bytes += 1;
            return Some("too many bytes wait in memory");
        }
        None
    }

    /// Takes a request on from the filter `from`.
    pub(super) fn advance(
        &mut self,
        id: Id,
        view: &Rc<View>,
        frame: &Frame,
        bytes: &[u8],
        from: usize,
    ) {
        if view.has_filters && from != NO_MORE_FILTERS {
            match self.ask_filters(id, view, frame, bytes, from) {
                (_, Verdict::Continue) => {}
                (_, Verdict::Answer { kind, message }) => return self.fail(id, kind, &message),
                (at, Verdict::Park { timeout }) => {
                    self.keep(id, frame, bytes, at + 1, Stage::Parked);
                    return self.park(id, timeout);
                }
            }
        }
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        let keeps = request.keeper.is_some();
        if (keeps || request.copy_to.is_some()) && bytes.len() < frame.len {
            // The filters have spoken; only the rest of the bytes is missing.
            return self.keep(id, frame, bytes, NO_MORE_FILTERS, Stage::Collecting);
        }
        let copy_to = request.copy_to.take();
        if keeps {
            self.keep(id, frame, bytes, NO_MORE_FILTERS, Stage::Queued);
        }
        if let Some(cluster) = copy_to {
            self.copy(id, view, frame, bytes, &cluster);
        }
        self.route(id, view, frame, bytes);
    }

    /// Asks the filters from `from` on; the one that did not let the request go on, with its verdict.
    fn ask_filters(
        &mut self,
        id: Id,
        view: &View,
        frame: &Frame,
        bytes: &[u8],
        from: usize,
    ) -> (usize, Verdict) {
        let now = self.clock.now();
        let mut filters = view.filters.borrow_mut();
        let Some(protocol) = view.protocol() else {
            return (from, Verdict::Continue);
        };
        for (at, filter) in filters.iter_mut().enumerate().skip(from) {
            let mut seen = RequestView {
                protocol: &**protocol,
                frame,
                head: bytes,
                keep: false,
                copy_to: None,
                now,
                id,
                inbox: &self.inbox,
            };
            let verdict = filter.request(&mut seen);
            let (keep, copy_to) = (seen.keep, seen.copy_to);
            if let Some(request) = self.requests.get_mut(id) {
                if keep {
                    request.keeper = Some(at as u8);
                }
                request.copy_to = copy_to.or(request.copy_to.take());
            }
            if verdict != Verdict::Continue {
                return (at, verdict);
            }
        }
        (from, Verdict::Continue)
    }

    /// Lets a request own its bytes.
    pub(super) fn keep(
        &mut self,
        id: Id,
        frame: &Frame,
        bytes: &[u8],
        filter: usize,
        stage: Stage,
    ) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        request.stage = stage;
        self.buffered += bytes.len();
        let kept = Kept {
            frame: frame.clone(),
            bytes: bytes.to_vec(),
            filter,
        };
        if let Some(old) = request.kept.replace(Box::new(kept)) {
            self.buffered = self.buffered.saturating_sub(old.bytes.len());
        }
    }

    /// Takes back the bytes that a request owns.
    pub(super) fn take_kept(&mut self, id: Id) -> Option<Box<Kept>> {
        let kept = self.requests.get_mut(id)?.kept.take()?;
        self.buffered = self.buffered.saturating_sub(kept.bytes.len());
        Some(kept)
    }

    fn park(&mut self, id: Id, timeout: std::time::Duration) {
        self.counters.filter_parked += 1;
        let until = self.clock.now().after(timeout);
        self.requests.stop_timer(id);
        if let Some(request) = self.requests.get_mut(id) {
            request.deadline = until;
            self.parked.push(until, id);
        }
    }

    /// A parked request was completed.
    pub(super) fn resume_parked(&mut self, id: Id, verdict: Verdict) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let Some(view) = request.view.clone() else {
            return;
        };
        if request.stage != Stage::Parked {
            return;
        }
        match verdict {
            Verdict::Answer { kind, message } => self.fail(id, kind, &message),
            Verdict::Park { timeout } => self.park(id, timeout),
            Verdict::Continue => {
                let Some(kept) = self.take_kept(id) else {
                    return;
                };
                self.requests.start_timer(id, self.clock.now());
                // From here on a second completion is one too many.
                if let Some(request) = self.requests.get_mut(id) {
                    request.stage = Stage::Queued;
                }
                self.advance(id, &view, &kept.frame, &kept.bytes, kept.filter);
            }
        }
    }

    /// Further bytes of a request whose head was served.
    pub(super) fn upload(&mut self, id: Id, bytes: &[u8], last: bool) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        request.uploading = !last;
        let (downstream, upstream) = (request.downstream, request.upstream);
        match request.stage {
            Stage::Sent | Stage::Replying => {
                request.sent_len += bytes.len();
                if self.append(upstream, bytes) && !last {
                    self.pause(downstream, pause::PEER);
                }
                if last {
                    self.uploaded(id);
                }
            }
            Stage::Parked | Stage::Collecting | Stage::Queued => {
                let Some(kept) = &mut request.kept else {
                    return;
                };
                kept.bytes.extend_from_slice(bytes);
                let stage = request.stage;
                let much = kept.bytes.len() > HIGH && stage == Stage::Queued;
                self.buffered += bytes.len();
                if last && stage == Stage::Collecting {
                    return self.collected(id);
                }
                if much && !last {
                    self.pause(downstream, pause::PEER);
                }
            }
            Stage::Replied => {}
        }
    }

    /// A request that had to be whole is.
    fn collected(&mut self, id: Id) {
        let Some(view) = self
            .requests
            .get(id)
            .and_then(|request| request.view.clone())
        else {
            return;
        };
        let Some(kept) = self.take_kept(id) else {
            return;
        };
        if let Some(request) = self.requests.get_mut(id) {
            request.stage = Stage::Queued;
        }
        self.advance(id, &view, &kept.frame, &kept.bytes, kept.filter);
    }

    /// Chooses the cluster.
    pub(super) fn route(&mut self, id: Id, view: &Rc<View>, frame: &Frame, bytes: &[u8]) {
        let Some(protocol) = view.protocol() else {
            return;
        };
        let Some(table) = view.table() else {
            let listener = Arc::clone(&view.listener.name);
            let message = format!("no routes have come yet for listener '{listener}'");
            return self.fail(id, ErrorKind::RouteNotFound, &message);
        };
        let head = Head {
            protocol: &**protocol,
            frame,
            bytes,
        };
        let Some(route) = table.table.select(&head) else {
            let message = format!("no route matches in '{}'", table.table.name());
            return self.fail(id, ErrorKind::RouteNotFound, &message);
        };
        let cluster = view.choose(table, route);
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        request.route = route as u32;
        request.cluster = cluster;
        let rule = &table.table.routes()[route];
        if !rule.hash_policy.is_empty() {
            let downstream = self.connections.get_mut(request.downstream);
            let caller = downstream.and_then(|one| Some(one.downstream()?.remote.ip()));
            request.hash = HashPolicy::hash(&rule.hash_policy, &head, caller);
        }
        request.mutates = !rule.request_mutation.is_empty();
        request.mutates_reply = !rule.response_mutation.is_empty();
        if request.mutates && frame.rewritable && bytes.len() < protocol.edit_needs(frame) {
            return self.keep(id, frame, bytes, NO_MORE_FILTERS, Stage::Collecting);
        }
        self.attempt(id, frame, bytes);
    }

    /// Sends a copy of a request to another cluster; nobody waits for its reply.
    fn copy(&mut self, of: Id, view: &Rc<View>, frame: &Frame, bytes: &[u8], cluster: &Arc<str>) {
        let number = self
            .clusters
            .iter()
            .position(|entry| entry.name == *cluster);
        let Some(number) = number else { return };
        let now = self.clock.now();
        let id = self.requests.open(Rc::clone(view), now);
        let reply_to = self
            .requests
            .get(of)
            .map(|request| request.reply_to.clone());
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        request.reply_to = reply_to.unwrap_or_default();
        request.copy = true;
        request.oneway = frame.kind == Kind::Oneway;
        request.received = frame.len as u64;
        request.cluster = number as u32;
        self.clusters[number].counters.upstream_rq_mirrored += 1;
        self.attempt(id, frame, bytes);
    }
}

/// Keeps the attributes of a message that the access log wants.
pub(super) fn capture(names: &[String], into: &mut Vec<Vec<u8>>, head: &Head<'_>) {
    use meltemi_routing::Attributes;
    into.resize_with(names.len(), Vec::new);
    for (name, value) in names.iter().zip(into) {
        value.clear();
        value.extend_from_slice(head.get(name).unwrap_or_default());
    }
}

fn count_request(counters: &mut ProtocolCounters, kind: Kind) {
    counters.request += 1;
    match kind {
        Kind::Oneway => counters.request_oneway += 1,
        Kind::StreamOpen => counters.request_stream += 1,
        _ => counters.request_twoway += 1,
    }
}
