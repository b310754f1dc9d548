//! Bytes from a socket to frames.

use std::io;

use meltemi_codec::{DecodeError, Decoder, ErrorKind, Frame};

use super::{UPSTREAM, Worker};
use crate::connection::{Body, LARGE, Role};
use crate::logging;
use crate::poller::Event;
use crate::slots::Id;

impl Worker {
    /// epoll says that something happened.
    pub(super) fn happened(&mut self, event: &Event) {
        let id = Id::from_token(event.token & !UPSTREAM);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !connection.connected {
            return self.connecting(id, event);
        }
        if event.writable {
            self.flush(id);
        }
        if !(event.readable || event.hung_up || event.error) {
            return;
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.wants().read {
            self.readable(id);
        } else if event.error {
            self.lost(id, "the connection was reset");
        } else if event.hung_up {
            // Reported again and again whatever we ask for, so epoll must not know the connection
            // until it is read again.
            connection.armed = None;
            let _ = self.poller.delete(connection.stream.socket());
        }
    }

    /// Reads once and serves what came.
    pub(super) fn readable(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let received = connection.stream.receive(&mut scratch);
        if !connection.stream.is_plain() {
            connection.transport_pending = !connection.stream.flush().unwrap_or(true);
            if connection.stream.has_more() && !connection.queued {
                connection.queued = true;
                self.resumed.push(id);
            }
            self.rearm(id);
        }
        match received {
            Ok(0) => self.peer_ended(id),
            Ok(count) => self.received(id, &scratch[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.lost(id, &error.to_string()),
        }
        self.scratch = scratch;
    }

    pub(super) fn received(&mut self, id: Id, bytes: &[u8]) {
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.touched = now;
        if connection.lingering {
            return;
        }
        match &connection.role {
            Role::Tunnel(_) => return self.tunnel_bytes(id, bytes),
            Role::Downstream(down) => {
                let port = self
                    .ports
                    .get_mut(down.listener as usize)
                    .and_then(Option::as_mut);
                if let Some(port) = port {
                    port.counters.downstream_cx_rx_bytes_total += bytes.len() as u64;
                }
            }
            Role::Upstream(up) => {
                let counters = &mut self.clusters[up.cluster as usize].counters;
                counters.upstream_cx_rx_bytes_total += bytes.len() as u64;
                if up.key.exclusive && up.live() == 0 {
                    counters.upstream_cx_idle_unexpected += 1;
                    let reason = "sent what nobody asked for";
                    return self.upstream_broken(id, ErrorKind::BadResponse, reason);
                }
            }
        }
        if connection.stash.is_empty() {
            let used = self.decode(id, bytes);
            if used < bytes.len() {
                self.stash(id, &bytes[used..]);
            }
            return;
        }
        connection.stash.extend_from_slice(bytes);
        self.decode_stash(id);
    }

    /// Keeps bytes of a frame that is not complete.
    fn stash(&mut self, id: Id, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(id) {
            self.buffers.ready(&mut connection.stash);
            connection.stash.extend_from_slice(bytes);
            self.account(id);
        }
    }

    /// Decodes what is kept, as far as it goes.
    pub(super) fn decode_stash(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let mut stash = std::mem::take(&mut connection.stash);
        let used = self.decode(id, &stash);
        stash.drain(..used.min(stash.len()));
        if stash.is_empty() {
            self.buffers.give(&mut stash);
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.stash = stash;
            self.account(id);
        }
    }

    /// Serves all frames of `bytes`; returns how many bytes of them are done with.
    fn decode(&mut self, id: Id, bytes: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(id) else {
            return bytes.len();
        };
        let Some(mut decoder) = connection.decoder.take() else {
            return bytes.len();
        };
        let mut at = 0;
        let mut broken = None;
        while at < bytes.len() {
            match self.decode_one(id, &mut *decoder, &bytes[at..]) {
                Ok(0) => break,
                Ok(count) => at += count,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return bytes.len();
        };
        connection.decoder = Some(decoder);
        if let Some(error) = broken {
            self.undecodable(id, &error);
            return bytes.len();
        }
        at
    }

    /// Serves the frame at the front of `bytes`, or what is there of its body; returns how many bytes
    /// that were, 0 when more have to come first.
    fn decode_one(
        &mut self,
        id: Id,
        decoder: &mut dyn Decoder,
        bytes: &[u8],
    ) -> Result<usize, DecodeError> {
        let Some(connection) = self.connections.get_mut(id) else {
            return Ok(0);
        };
        if let Body::Of { left, .. } | Body::Skip { left } = connection.body {
            let piece = &bytes[..bytes.len().min(left)];
            decoder.body(piece, left - piece.len())?;
            return Ok(self.body_bytes(id, piece));
        }
        if connection.pause != 0 || connection.read_closed {
            return Ok(0);
        }
        let frame = if let Some(frame) = connection.pending.take() {
            let there = frame.len.min(bytes.len());
            decoder.body(&bytes[..there], frame.len - there)?;
            *frame
        } else {
            match decoder.decode(bytes)? {
                Some(frame) => frame,
                None => return Ok(0),
            }
        };
        let there = frame.len.min(bytes.len());
        if there < frame.len {
            if frame.len <= LARGE || !self.cuts_through(id, &frame, there) {
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.pending = Some(Box::new(frame));
                }
                return Ok(0);
            }
            if let Some(connection) = self.connections.get_mut(id) {
                let left = frame.len - there;
                connection.body = Body::Skip { left };
            }
        }
        match self.connections.get(id).map(|connection| &connection.role) {
            Some(Role::Downstream(_)) => self.request_frame(id, &frame, &bytes[..there]),
            Some(Role::Upstream(_)) => self.reply_frame(id, &frame, &bytes[..there]),
            _ => {}
        }
        Ok(there)
    }

    /// Whether a large frame of this connection, of which so many bytes are there, is passed on as it
    /// comes: not where something has to be written into it that is not there yet.
    fn cuts_through(&self, id: Id, frame: &Frame, there: usize) -> bool {
        match self.connections.get(id).map(|connection| &connection.role) {
            Some(Role::Upstream(up)) if up.key.exclusive => {
                let request = self.requests.get(up.request);
                let mutates = request.is_some_and(|request| request.mutates_reply);
                !(mutates && frame.rewritable && there < up.protocol.edit_needs(frame))
            }
            Some(Role::Upstream(_)) => false,
            _ => true,
        }
    }

    /// Passes on bytes of a frame whose head was seen; returns how many.
    fn body_bytes(&mut self, id: Id, bytes: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(id) else {
            return bytes.len();
        };
        let downstream = matches!(connection.role, Role::Downstream(_));
        match &mut connection.body {
            Body::None => 0,
            Body::Skip { left } => {
                let count = bytes.len().min(*left);
                *left -= count;
                if *left == 0 {
                    connection.body = Body::None;
                }
                count
            }
            Body::Of { left, request } => {
                let count = bytes.len().min(*left);
                *left -= count;
                let (last, request) = (*left == 0, *request);
                if last {
                    connection.body = Body::None;
                }
                if downstream {
                    self.upload(request, &bytes[..count], last);
                } else {
                    self.download(id, request, &bytes[..count], last);
                }
                count
            }
        }
    }

    /// The peer sent bytes that are not the protocol.
    pub(super) fn undecodable(&mut self, id: Id, error: &DecodeError) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match &connection.role {
            Role::Downstream(down) => {
                let (remote, listener) = (down.remote, down.listener);
                let body = std::mem::replace(&mut connection.body, Body::None);
                if let Some(port) = self.port(listener) {
                    port.requests.request_decoding_error += 1;
                }
                // What was sent of a request that turns out to be none can only be cut off.
                if let Body::Of { request, .. } = body {
                    self.upload_cut(request);
                }
                if self.may_log() {
                    logging::info!("{remote} sent no request: {error}; its connection is closed");
                }
                self.stop_reading(id);
            }
            Role::Upstream(up) => {
                let (address, number) = (up.address, up.cluster as usize);
                self.clusters[number].counters.upstream_cx_protocol_error += 1;
                if self.may_log() {
                    logging::info!("{address} sent no reply: {error}; its connection is closed");
                }
                let reason = format!("sent no reply: {error}");
                self.upstream_broken(id, ErrorKind::BadResponse, &reason);
            }
            Role::Tunnel(_) => {}
        }
    }

    /// No more frames are read from a downstream; what came before is answered, then it is closed.
    pub(super) fn stop_reading(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.read_closed = true;
        connection.pending = None;
        self.buffers.give(&mut connection.stash);
        self.account(id);
        self.close_if_done(id);
    }

    /// The peer's FIN.
    fn peer_ended(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.peer_ended = true;
        let body = connection.body;
        match &connection.role {
            Role::Tunnel(_) => self.tunnel_ended(id),
            Role::Upstream(_) => self.upstream_ended(id),
            Role::Downstream(_) if connection.lingering => self.close_downstream(id),
            Role::Downstream(_) => {
                // A request that will never be complete cannot be served.
                if let Body::Of { request, .. } = body {
                    connection.body = Body::None;
                    self.upload_cut(request);
                }
                self.stop_reading(id);
            }
        }
    }

    /// The connection broke.
    pub(super) fn lost(&mut self, id: Id, reason: &str) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match &connection.role {
            Role::Downstream(down) => {
                logging::debug!("{} is gone: {reason}", down.remote);
                self.close_downstream(id);
            }
            Role::Upstream(_) => self.upstream_lost(id, reason),
            Role::Tunnel(_) => self.close_tunnel(id),
        }
    }
}
