//! The order of replies: that of the requests, unless ids can be trusted to tell them apart.

use meltemi_codec::Frame;

use super::Worker;
use crate::connection::{Body, pause};
use crate::request::{NONE, Stage};
use crate::slots::Id;

impl Worker {
    /// Puts a request at the end of its connection's list, which is the order of the replies.
    pub(super) fn line_up(&mut self, id: Id, request_id: Id, frame: &Frame) {
        let max = self.shared.config.limits.max_connection_requests;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(down) = connection.downstream() else {
            return;
        };
        down.in_order += u32::from(!frame.any_order);
        // Ids mostly rise, and then nothing has to be looked through.
        if (down.any_order || frame.any_order)
            && down.requests > 0
            && frame.ids.message <= down.highest
        {
            let mut next = down.first;
            while next != NONE && !down.twins {
                let other = self.requests.at(next);
                down.twins = other.reply_to.ids.message == frame.ids.message;
                next = other.behind;
            }
        }
        down.highest = down.highest.max(frame.ids.message);
        let last = down.last;
        if last == NONE {
            down.first = request_id.index;
        }
        down.last = request_id.index;
        down.requests += 1;
        let too_many = down.requests as usize >= max;
        if last != NONE {
            self.requests.at(last).behind = request_id.index;
        }
        let request = self.requests.at(request_id.index);
        request.before = last;
        request.any_order = frame.any_order;
        if too_many {
            self.pause(id, pause::REQUESTS);
        }
    }

    /// Whether bytes of this request's reply may be written now.
    pub(super) fn turn_of(&mut self, id: Id) -> bool {
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

    /// Lets replies go whose turn it is now.
    pub(super) fn next_in_line(&mut self, down_id: Id) {
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
            let mut held = std::mem::take(&mut request.held);
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
            self.buffers.give(&mut held);
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
    pub(super) fn held_and_next(&mut self, down_id: Id) -> Option<Id> {
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
        let (before, behind, any_order) = (request.before, request.behind, request.any_order);
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
        down.in_order -= u32::from(!any_order);
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
}
