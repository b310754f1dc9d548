//! Downstream connections: how they begin and end.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use meltemi_codec::{ErrorKind, Limits};
use meltemi_resources::Direction;

use super::Worker;
use crate::connection::{Connection, Downstream, Role};
use crate::logging;
use crate::poller::Interest;
use crate::request::NONE;
use crate::slots::Id;
use crate::stats::labels::Outcome;
use crate::tables::Service;
use crate::transport::Stream;

impl Worker {
    pub(super) fn accepted(&mut self, socket: OwnedFd, listener: u32, remote: SocketAddr) {
        // A listener can be open before this worker took over the tables that define it.
        if self.port(listener).is_none() {
            self.swap();
        }
        let Some(port) = self
            .ports
            .get_mut(listener as usize)
            .and_then(Option::as_mut)
        else {
            self.inbox.connections.fetch_sub(1, Ordering::AcqRel);
            return;
        };
        port.counters.downstream_cx_total += 1;
        port.counters.downstream_cx_active += 1;
        let view = std::rc::Rc::clone(&port.view);
        let transports = self.shared.config.transports.as_ref();
        let transport = transports.and_then(|all| all.downstream(&view.listener.name));
        let stream = Stream::new(socket, transport);
        match &view.service {
            Service::Tcp { cluster } => self.open_tunnel(stream, listener, *cluster, remote),
            Service::Requests { protocol, .. } => {
                let down = Downstream::new(listener, protocol, remote, view.any_order);
                let role = Role::Downstream(down);
                let mut connection = Connection::new(stream, true, self.clock.now(), role);
                connection.decoder = view.decoder(self.codec_limits());
                let id = self.connections.insert(connection);
                if self.watch(id, Interest::READ) {
                    self.arm_idle(id);
                } else {
                    self.close_downstream(id);
                }
            }
        }
    }

    pub(super) fn codec_limits(&self) -> Limits {
        Limits {
            max_frame_bytes: self.shared.config.limits.max_frame_bytes,
            ..Limits::default()
        }
    }

    /// Tells epoll of a connection; false when the system refuses.
    pub(super) fn watch(&mut self, id: Id, interest: Interest) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        let mark = match &connection.role {
            Role::Downstream(_) => 0,
            Role::Upstream(_) => super::UPSTREAM,
            Role::Tunnel(tunnel) if tunnel.upstream => super::UPSTREAM,
            Role::Tunnel(_) => 0,
        };
        let socket = connection.stream.socket();
        match self.poller.add(socket, id.token() | mark, interest) {
            Ok(()) => {
                connection.armed = Some(interest);
                true
            }
            Err(error) => {
                logging::error!("a connection cannot be watched: {error}");
                false
            }
        }
    }

    /// The peer's number of a downstream connection: who calls. Looked up when the connection first
    /// asks, and again after the tables changed.
    pub(super) fn caller(&mut self, id: Id) -> u32 {
        let Some(connection) = self.connections.get_mut(id) else {
            return 0;
        };
        let Some(down) = connection.downstream() else {
            return 0;
        };
        if down.peer_version != self.tables.version {
            down.peer_version = self.tables.version;
            let peer = self
                .tables
                .snapshot
                .peers
                .get(&down.remote.ip().to_canonical());
            down.peer = self.peers.number(peer);
        }
        down.peer
    }

    /// The other side of a request: who calls (inbound), or who is called (outbound).
    pub(super) fn other_side(&mut self, direction: Direction, down: Id, endpoint: Id) -> u32 {
        match direction {
            Direction::Inbound => self.caller(down),
            Direction::Outbound => self.endpoints.get(endpoint).map_or(0, |entry| entry.peer),
        }
    }

    /// Closes a downstream connection; what it has in flight is given up.
    pub(super) fn close_downstream(&mut self, id: Id) {
        let peer = self.caller(id);
        let Some(mut connection) = self.connections.remove(id) else {
            return;
        };
        self.inbox.connections.fetch_sub(1, Ordering::AcqRel);
        self.buffered = self.buffered.saturating_sub(connection.accounted);
        self.buffers.give(&mut connection.out);
        self.buffers.give(&mut connection.stash);
        let Role::Downstream(down) = &connection.role else {
            return;
        };
        if let Some(port) = self.port(down.listener) {
            port.counters.downstream_cx_active -= 1;
            port.counters.downstream_cx_destroy += 1;
            port.counters.downstream_cx_tx_bytes_total += connection.sent_total;
            if down.first != NONE {
                port.counters.downstream_cx_destroy_remote_active_rq += 1;
            }
        }
        // A oneway request is in no list, but its bytes may still have been on their way.
        if let crate::connection::Body::Of { request, .. } = connection.body
            && self
                .requests
                .get(request)
                .is_some_and(|request| request.oneway)
        {
            self.upload_cut(request);
        }
        let mut next = down.first;
        while next != NONE {
            let request = self.requests.id_at(next);
            next = self.requests.at(next).behind;
            self.give_up(request);
            self.finish(request, Outcome::Canceled, Some((down.remote, peer)));
        }
    }

    /// Finishes what is in flight and closes what is quiet.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        for id in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            if connection.downstream().is_none() {
                continue;
            }
            // What the caller has sent before it could know is served as well.
            if connection.wants().read && connection.connected {
                self.readable(id);
            }
            self.arm_idle(id);
        }
    }

    /// While draining, a connection ends right behind its last reply: its caller has not sent the
    /// next request yet, or it is here already and is served first.
    pub(super) fn leave(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.downstream().is_none() {
            return;
        }
        if connection.wants().read && connection.connected {
            self.readable(id);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let partial = connection.pending.is_some() || !connection.stash.is_empty();
        let Some(down) = connection.downstream() else {
            return;
        };
        if down.requests == 0 && !partial {
            connection.read_closed = true;
            self.close_if_done(id);
        }
    }

    /// Answers what is still in flight when the proxy ends: nobody is left without a word.
    pub(super) fn answer_the_rest(&mut self) {
        for id in self.requests.ids() {
            let message = "the proxy ends, and no reply came before its drain deadline";
            self.fail(id, ErrorKind::Timeout, message);
        }
        self.drive();
    }
}
