//! Streams (frames that follow a request on its id stay with the upstream that got the first one) and
//! heartbeats.

use meltemi_codec::{DecodeError, Frame, Kind};

use super::Worker;
use crate::connection::{Body, Role, pause};
use crate::request::{NONE, Stage};
use crate::slots::Id;

impl Worker {
    /// A further frame of a stream came from its caller.
    pub(super) fn stream_from_caller(&mut self, id: Id, frame: &Frame, bytes: &[u8]) {
        let Some(request_id) = self.stream_of(id, frame.ids.message) else {
            // Its end crossed with the end that the upstream sent.
            return;
        };
        let Some(request) = self.requests.get_mut(request_id) else {
            return;
        };
        request.received += frame.len as u64;
        request.stream_closed |= frame.kind == Kind::StreamClose;
        let (stage, upstream) = (request.stage, request.upstream);
        let left = frame.len - bytes.len();
        request.uploading = left > 0;
        match stage {
            Stage::Sent => {
                request.sent_len += bytes.len();
                if self.append(upstream, bytes) {
                    self.pause(id, pause::PEER);
                }
            }
            Stage::Queued | Stage::Parked | Stage::Collecting => {
                if let Some(kept) = &mut request.kept {
                    kept.bytes.extend_from_slice(bytes);
                    self.buffered += bytes.len();
                }
            }
            Stage::Replying | Stage::Replied => {}
        }
        if left > 0
            && let Some(connection) = self.connections.get_mut(id)
        {
            connection.body = Body::Of {
                left,
                request: request_id,
            };
        }
    }

    fn stream_of(&mut self, id: Id, stream: u64) -> Option<Id> {
        let down = self.connections.get_mut(id)?.downstream()?;
        let mut next = down.first;
        while next != NONE {
            let request = self.requests.at(next);
            if request.stream && request.reply_to.ids.message == stream {
                return Some(self.requests.id_at(next));
            }
            next = request.behind;
        }
        None
    }

    /// A downstream sent what only upstreams send.
    pub(super) fn not_a_request(&mut self, id: Id, error: &DecodeError) {
        self.undecodable(id, error);
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
}
