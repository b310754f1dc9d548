//! Requests that got no good answer: sent again where a filter wants it, else answered with an error
//! in the protocol's own way.

use std::rc::Rc;

use meltemi_codec::{ErrorKind, LocalError, Status};

use super::Worker;
use crate::filter::Again;
use crate::request::Stage;
use crate::slots::Id;
use crate::stats::labels::Outcome;
use crate::view::View;

impl Worker {
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
            if again == Again::Yes && self.may_retry(id) {
                return self.send_kept_again(id);
            }
        }
        self.fail(id, kind, message);
    }

    /// Asks the filter that kept a request about its reply; true when it is sent again.
    pub(super) fn replied_again(&mut self, id: Id, view: &Rc<View>, status: Status) -> bool {
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
        if again == Again::No || request.kept.is_none() || !self.may_retry(id) {
            return false;
        }
        self.leave_upstream(id, true);
        self.send_kept_again(id);
        true
    }

    pub(super) fn send_kept_again(&mut self, id: Id) {
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
            let picked = cluster.balancer.pick(&mut self.rng, tried.all(), None);
            picked.is_none()
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
}
