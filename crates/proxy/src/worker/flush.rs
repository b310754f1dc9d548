//! Bytes to sockets: gathered during the turn, written once at its end.

use std::io;

use super::Worker;
use crate::clock::Moment;
use crate::connection::{HIGH, LARGE, LOW, Role, pause};
use crate::poller::Interest;
use crate::slots::Id;

/// What one connection may write in a turn; the rest follows in the next one.
const BUDGET: usize = 256 << 10;

impl Worker {
    /// Marks a connection that has output.
    #[inline]
    pub(super) fn mark(&mut self, id: Id) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.dirty
        {
            connection.dirty = true;
            match connection.role {
                Role::Upstream(_) => self.dirty_upstream.push(id),
                _ => self.dirty.push(id),
            }
        }
    }

    /// Appends to a connection's output; true when its writers have to stop for a while.
    pub(super) fn append(&mut self, id: Id, bytes: &[u8]) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        let mut bytes = bytes;
        if bytes.len() > LARGE && connection.connected && connection.waiting() == 0 {
            // Large enough that a copy costs more than a system call. An error comes up again, and
            // is handled, when the rest is written.
            if let Ok(count) = connection.stream.send(bytes, false) {
                connection.sent_total += count as u64;
                bytes = &bytes[count..];
            }
        }
        if !bytes.is_empty() {
            self.buffers.ready(&mut connection.out);
            connection.out.extend_from_slice(bytes);
        }
        let full = connection.is_full();
        self.mark(id);
        full
    }

    /// Writes to upstreams first: they work while the replies are written, and their next replies
    /// are there in one piece when the turn is over.
    pub(super) fn flush_dirty(&mut self) {
        self.flush_list(|worker| &mut worker.dirty_upstream);
        self.flush_list(|worker| &mut worker.dirty);
    }

    fn flush_list(&mut self, list: fn(&mut Self) -> &mut Vec<Id>) {
        let mut dirty = std::mem::take(list(self));
        for &id in &dirty {
            self.flush(id);
        }
        dirty.clear();
        // What became dirty meanwhile waits for the next round.
        dirty.append(list(self));
        *list(self) = dirty;
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self, id: Id) {
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.dirty = false;
        if !connection.connected {
            return;
        }
        if self.draining {
            self.leave(id);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.transport_pending {
            match connection.stream.flush() {
                Ok(done) => connection.transport_pending = !done,
                Err(error) => return self.lost(id, &error.to_string()),
            }
        }
        if connection.waiting() > 0 {
            let end = connection.out.len().min(connection.out_at + BUDGET);
            // The end of a connection travels with its last bytes: a caller that sees the reply
            // sees the end too, and sends nothing that would be lost.
            let last = connection.ending && end == connection.out.len();
            match connection
                .stream
                .send(&connection.out[connection.out_at..end], last)
            {
                Ok(count) => {
                    connection.out_at += count;
                    connection.sent_total += count as u64;
                    connection.touched = now;
                    connection.stalled = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.lost(id, &error.to_string()),
            }
            if !connection.stream.is_plain() {
                connection.transport_pending = !connection.stream.flush().unwrap_or(true);
            }
        }
        if connection.waiting() == 0 {
            connection.out.clear();
            connection.out_at = 0;
            self.buffers.give(&mut connection.out);
        } else if connection.out_at > HIGH {
            connection.out.drain(..connection.out_at);
            connection.out_at = 0;
        }
        self.after_flush(id);
    }

    fn after_flush(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let waiting = connection.waiting();
        if waiting == 0 && connection.is_settled() {
            // Nearly always: all is written, and nobody waits for that.
            let holds = connection.holds();
            self.buffered = self.buffered + holds - connection.accounted;
            connection.accounted = holds;
            connection.stalled = Moment::NEVER;
            return;
        }
        if waiting <= LOW && connection.full {
            connection.full = false;
            self.drained(id);
        }
        self.rearm(id);
        self.account(id);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if waiting > 0 {
            let now = self.clock.now();
            let timeout = self.shared.config.limits.write_timeout;
            if connection.stalled == Moment::NEVER {
                connection.stalled = now;
            }
            return self.arm(id, now.after(timeout));
        }
        connection.stalled = Moment::NEVER;
        if connection.ending && !connection.ended && !connection.transport_pending {
            connection.ended = true;
            connection.stream.end();
            self.after_end(id);
        } else if connection.read_closed {
            self.close_if_done(id);
        }
    }

    /// There is room again: whoever was stopped goes on.
    fn drained(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match &connection.role {
            Role::Downstream(down) => {
                let replying = down.replying;
                if connection.pause & pause::OUTPUT != 0 {
                    self.unpause(id, pause::OUTPUT);
                }
                if !replying.is_none()
                    && let Some(request) = self.requests.get(replying)
                {
                    let upstream = request.upstream;
                    self.unpause(upstream, pause::PEER);
                }
            }
            Role::Upstream(up) => {
                if !up.request.is_none()
                    && let Some(request) = self.requests.get(up.request)
                    && request.uploading
                {
                    let downstream = request.downstream;
                    self.unpause(downstream, pause::PEER);
                }
            }
            Role::Tunnel(tunnel) => {
                let other = tunnel.other;
                self.unpause(other, pause::PEER);
            }
        }
    }

    pub(super) fn pause(&mut self, id: Id, why: u8) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.pause & why != 0 {
            return;
        }
        connection.pause |= why;
        match &connection.role {
            Role::Downstream(down) => {
                let port = self
                    .ports
                    .get_mut(down.listener as usize)
                    .and_then(Option::as_mut);
                if let Some(port) = port {
                    port.counters.downstream_flow_control_paused_reading_total += 1;
                }
            }
            Role::Upstream(up) => {
                let counters = &mut self.clusters[up.cluster as usize].counters;
                counters.upstream_flow_control_paused_reading_total += 1;
            }
            Role::Tunnel(_) => {}
        }
        self.rearm(id);
    }

    pub(super) fn unpause(&mut self, id: Id, why: u8) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.pause & why == 0 {
            return;
        }
        connection.pause &= !why;
        if connection.pause == 0 && !connection.queued {
            connection.queued = true;
            self.resumed.push(id);
        }
        self.rearm(id);
    }

    /// Serves what connections had read before they were paused, and what their transport holds.
    pub(super) fn run_resumed(&mut self) {
        for id in std::mem::take(&mut self.resumed) {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            connection.queued = false;
            if connection.pause != 0 {
                continue;
            }
            if !connection.stash.is_empty() {
                self.decode_stash(id);
            }
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            if connection.stream.has_more() && connection.wants().read {
                self.readable(id);
            }
            self.rearm(id);
        }
    }

    /// Tells epoll what the connection wants, when that changed.
    #[inline]
    pub(super) fn rearm(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let wants = connection.wants();
        match connection.armed {
            Some(armed) if armed == wants => {}
            Some(_) => {
                let mark = self.token_mark(id);
                let Some(connection) = self.connections.get_mut(id) else {
                    return;
                };
                let socket = connection.stream.socket();
                if self.poller.modify(socket, id.token() | mark, wants).is_ok() {
                    connection.armed = Some(wants);
                }
            }
            None if wants
                == (Interest {
                    read: false,
                    write: false,
                }) => {}
            None => {
                // It was taken out because it hung up; the new interest will see that.
                self.watch(id, wants);
            }
        }
    }

    fn token_mark(&self, id: Id) -> u64 {
        match self.connections.get(id).map(|connection| &connection.role) {
            Some(Role::Upstream(_)) => super::UPSTREAM,
            Some(Role::Tunnel(tunnel)) if tunnel.upstream => super::UPSTREAM,
            _ => 0,
        }
    }

    /// Counts the memory that a connection holds; closes a downstream that lets too much pile up.
    pub(super) fn account(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let holds = connection.holds();
        self.buffered = self.buffered + holds - connection.accounted;
        connection.accounted = holds;
        let limit = self.shared.config.limits.max_connection_buffer_bytes;
        // A frame as large as frames may be has to fit.
        let limit = limit.max(self.shared.config.limits.max_frame_bytes + super::SCRATCH);
        if holds > limit
            && let Role::Downstream(down) = &connection.role
        {
            let listener = down.listener;
            if let Some(port) = self.port(listener) {
                port.counters.downstream_cx_buffer_overflow += 1;
            }
            self.close_downstream(id);
        }
    }

    /// Our FIN was sent.
    fn after_end(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match &connection.role {
            Role::Tunnel(_) => self.tunnel_sent_end(id),
            Role::Downstream(_) if connection.peer_ended => self.close_downstream(id),
            Role::Downstream(_) => self.linger(id),
            Role::Upstream(_) => self.close_upstream(id),
        }
    }

    /// Waits for the peer's FIN: closing with unread bytes would reset the connection, and the peer
    /// might lose the replies that it has not read yet.
    fn linger(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.lingering = true;
        connection.stalled = self.clock.now();
        let until = self.clock.now().after(super::expire::LINGER);
        self.arm(id, until);
        self.rearm(id);
    }

    /// Closes a downstream that reads no more requests once all of them are answered.
    pub(super) fn close_if_done(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !connection.read_closed || connection.ending {
            self.rearm(id);
            return;
        }
        let Some(down) = connection.downstream() else {
            return;
        };
        if down.requests > 0 {
            self.rearm(id);
            return;
        }
        connection.ending = true;
        self.mark(id);
    }
}
