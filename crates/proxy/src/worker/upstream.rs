//! Upstream connections: connect, take over what waited, become idle, break.

use std::io;
use std::sync::Arc;

use meltemi_balancer::Seen;
use meltemi_codec::{Correlation, Direction, ErrorKind, Frame, Limits, Protocol, ReplyTo};
use rustix::net::sockopt::socket_error;

use super::{Worker, mutate};
use crate::connection::{Connection, PoolKey, Role, Upstream};
use crate::flight::Flight;
use crate::poller::{Event, Interest};
use crate::request::Stage;
use crate::slots::Id;
use crate::sockets;
use crate::transport::Stream;

impl Worker {
    /// Begins to connect to an endpoint.
    pub(super) fn connect(
        &mut self,
        number: u32,
        endpoint: Id,
        key: PoolKey,
        capacity: u32,
        protocol: &Arc<dyn Protocol>,
    ) -> io::Result<Id> {
        let limits = self.codec_limits();
        let Some(entry) = self.endpoints.get_mut(endpoint) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let address = entry.address;
        let socket = sockets::connecting(address, self.shared.config.source_address)?;
        let cluster = &mut self.clusters[number as usize];
        let transports = self.shared.config.transports.as_ref();
        let transport = transports.and_then(|all| all.upstream(&cluster.name, address));
        let now = self.clock.now();
        let timeout = cluster
            .cluster
            .as_ref()
            .map(|cluster| cluster.connect_timeout);
        let connect_by = now.after(timeout.unwrap_or(std::time::Duration::from_secs(5)));
        let shares = !key.exclusive;
        let up = Upstream {
            cluster: number,
            endpoint,
            address,
            key,
            protocol: Arc::clone(protocol),
            capacity,
            ready: shares && capacity > 1,
            retiring: false,
            request: Id::NONE,
            flight: Flight::new(protocol.max_id()),
            order: std::collections::VecDeque::new(),
            waiting: Vec::new(),
            connect_by,
        };
        let stream = Stream::new(socket, transport);
        let mut connection = Connection::new(stream, false, now, Role::Upstream(up));
        connection.decoder = Some(protocol.decoder(Direction::Response, key.format, limits));
        let id = self.connections.insert(connection);
        if !self.watch(id, Interest::WRITE) {
            self.connections.remove(id);
            return Err(io::Error::other("the connection cannot be watched"));
        }
        cluster_opened(&mut self.clusters[number as usize]);
        if let Some(entry) = self.endpoints.get_mut(endpoint) {
            entry.connections += 1;
            if shares && capacity > 1 {
                entry.pool(key).ready.push(id);
            }
        }
        self.arm(id, connect_by);
        Ok(id)
    }

    /// Something happened on a connection that is not connected yet.
    pub(super) fn connecting(&mut self, id: Id, event: &Event) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match socket_error(connection.stream.socket()) {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => {
                return self.connect_failed(id, &io::Error::from(error).to_string());
            }
        }
        if !connection.stream.handshaking() {
            if event.writable {
                self.connected(id);
            }
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = connection.stream.receive(&mut scratch);
        let flushed = connection.stream.flush();
        let done = !connection.stream.handshaking();
        match (result, flushed) {
            (Ok(0), _) => self.connect_failed(id, "closed during the handshake"),
            (_, Err(error)) => self.connect_failed(id, &error.to_string()),
            (Err(error), _) if error.kind() != io::ErrorKind::WouldBlock => {
                self.connect_failed(id, &error.to_string());
            }
            (result, Ok(flushed)) => {
                connection.transport_pending = !flushed;
                if done {
                    self.connected(id);
                }
                if let Ok(count) = result {
                    self.received(id, &scratch[..count]);
                }
                self.rearm(id);
            }
        }
        self.scratch = scratch;
    }

    pub(super) fn connected(&mut self, id: Id) {
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.connected = true;
        connection.touched = now;
        if matches!(connection.role, Role::Tunnel(_)) {
            return self.tunnel_connected(id);
        }
        let Some(up) = connection.upstream() else {
            return;
        };
        let (number, endpoint) = (up.cluster, up.endpoint);
        let waiting = std::mem::take(&mut up.waiting);
        self.saw(number, endpoint, Seen::Connected);
        for request in waiting {
            self.forward_kept(request, id);
        }
        self.rearm(id);
        self.arm_idle(id);
        self.released(id);
    }

    /// Sends what a request kept on a connection.
    fn forward_kept(&mut self, request_id: Id, id: Id) {
        let Some(view) = self
            .requests
            .get(request_id)
            .and_then(|entry| entry.view.clone())
        else {
            return;
        };
        let Some(kept) = self.take_kept(request_id) else {
            return;
        };
        self.forward(request_id, &view, id, &kept.frame, &kept.bytes);
        let Some(request) = self.requests.get_mut(request_id) else {
            return;
        };
        if request.keeper.is_some() {
            self.buffered += kept.bytes.len();
            request.kept = Some(kept);
        }
    }

    /// No connection: nothing was sent, so the requests go elsewhere.
    pub(super) fn connect_failed(&mut self, id: Id, reason: &str) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Role::Upstream(up) = &mut connection.role else {
            return self.tunnel_not_connected(id, reason);
        };
        let (waiting, endpoint) = (std::mem::take(&mut up.waiting), up.endpoint);
        self.clusters[up.cluster as usize]
            .counters
            .upstream_cx_connect_fail += 1;
        crate::logging::debug!("{} cannot be reached: {reason}", up.address);
        self.close_upstream(id);
        for request in waiting {
            let message = self.not_reached(request, endpoint, None, reason);
            self.try_elsewhere(request, &message);
        }
    }

    /// Sends a request that kept its bytes to an endpoint it was not tried at.
    pub(super) fn try_elsewhere(&mut self, id: Id, failure: &str) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        request.upstream = Id::NONE;
        let (number, tried) = (request.cluster as usize, request.tried);
        if self.clusters[number]
            .balancer
            .pick(&mut self.rng, tried.all(), None)
            .is_none()
        {
            let message = format!(
                "no endpoint of '{}' could be reached, {} tried, the last one {failure}",
                self.clusters[number].name,
                tried.count()
            );
            return self.fail(id, ErrorKind::UpstreamConnectFailure, &message);
        }
        self.clusters[number].counters.upstream_rq_retry += 1;
        if let Some(kept) = self.take_kept(id) {
            self.attempt(id, &kept.frame, &kept.bytes);
        }
    }

    /// A connection has room again: for a request that waits, or to be idle.
    pub(super) fn released(&mut self, id: Id) {
        let now = self.clock.now();
        let draining = self.draining;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !connection.connected {
            return;
        }
        connection.touched = now;
        let Some(up) = connection.upstream() else {
            return;
        };
        let live = up.live();
        if live >= up.capacity {
            return;
        }
        let (number, endpoint, key) = (up.cluster, up.endpoint, up.key);
        let gone = self
            .endpoints
            .get(endpoint)
            .is_none_or(|entry| entry.index.is_none());
        if up.retiring || gone || (draining && live == 0) {
            up.retiring = true;
            if live == 0 {
                connection.ending = true;
                self.mark(id);
            }
            return;
        }
        if !up.ready {
            up.ready = true;
            if let Some(entry) = self.endpoints.get_mut(endpoint) {
                entry.pool(key).ready.push(id);
            }
        }
        if !self.clusters[number as usize].waiting.is_empty() {
            self.serve_waiting(number);
        }
    }

    /// Lets the first request that waits for a connection of a cluster try again.
    pub(super) fn serve_waiting(&mut self, number: u32) {
        while let Some(request) = self.clusters[number as usize].waiting.pop_front() {
            let Some(kept) = self.take_kept(request) else {
                continue;
            };
            return self.attempt(request, &kept.frame, &kept.bytes);
        }
    }

    /// Takes no more requests; closes when the last one is over.
    pub(super) fn retire(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(up) = connection.upstream() else {
            return;
        };
        up.retiring = true;
        up.ready = false;
        if up.live() == 0 {
            self.close_upstream(id);
        }
    }

    /// An upstream's FIN.
    pub(super) fn upstream_ended(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(up) = connection.upstream() else {
            return;
        };
        let number = up.cluster as usize;
        self.clusters[number].counters.upstream_cx_destroy_remote += 1;
        self.upstream_broken(id, ErrorKind::UpstreamReset, "closed the connection");
    }

    /// The connection broke or is of no more use.
    pub(super) fn upstream_lost(&mut self, id: Id, reason: &str) {
        self.upstream_broken(id, ErrorKind::UpstreamReset, reason);
    }

    /// Fails what is in flight on an upstream connection (`kind`: reset, or an answer that is none), and closes it. Requests of which no byte
    /// was sent go elsewhere: nobody can have processed them.
    pub(super) fn upstream_broken(&mut self, id: Id, kind: ErrorKind, reason: &str) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(up) = connection.upstream() else {
            return;
        };
        let mut requests = up.flight.requests();
        requests.extend(up.order.drain(..).filter(|id| !id.is_none()));
        if !up.request.is_none() {
            requests.push(up.request);
        }
        let waiting = std::mem::take(&mut up.waiting);
        let (address, number, endpoint) = (up.address, up.cluster as usize, up.endpoint);
        if !requests.is_empty() {
            self.clusters[number]
                .counters
                .upstream_cx_destroy_with_active_rq += 1;
        }
        let unsent = self.unsent(id, &requests);
        self.close_upstream(id);
        for (request, bytes) in unsent {
            self.leave_upstream(request, false);
            self.send_again(request, &bytes);
        }
        let message = format!(
            "upstream {address} of '{}' {reason}",
            self.clusters[number].name
        );
        for request in requests {
            let sent = |entry: &crate::request::Request| {
                matches!(entry.stage, Stage::Sent | Stage::Replying) && entry.upstream == id
            };
            if !self.requests.get(request).is_some_and(sent) {
                continue;
            }
            self.clusters[number].counters.upstream_rq_rx_reset += 1;
            if let Some(entry) = self.endpoints.get_mut(endpoint) {
                entry.errors += 1;
            }
            let seen = match kind {
                ErrorKind::BadResponse => Seen::Failed,
                _ => Seen::ConnectFailed,
            };
            self.saw(number as u32, endpoint, seen);
            self.leave_upstream(request, false);
            self.failed_upstream(request, kind, &message);
        }
        for request in waiting {
            self.try_elsewhere(request, &message);
        }
    }

    /// Requests of which no byte left this machine, with their bytes as they were to be sent.
    fn unsent(&self, id: Id, requests: &[Id]) -> Vec<(Id, Vec<u8>)> {
        let Some(connection) = self.connections.get(id) else {
            return Vec::new();
        };
        let whole = |id: &Id| {
            let request = self.requests.get(*id)?;
            if request.uploading || request.sent_at < connection.sent_total {
                return None;
            }
            let start = connection.out_at + (request.sent_at - connection.sent_total) as usize;
            let bytes = connection.out.get(start..start + request.sent_len)?;
            Some((*id, bytes.to_vec()))
        };
        requests.iter().filter_map(whole).collect()
    }

    /// Sends bytes again that are a request as it was encoded for another connection. What its route
    /// changes in it is changed already; doing it again changes nothing.
    fn send_again(&mut self, id: Id, bytes: &[u8]) {
        let limits = self.codec_limits();
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        let Some(view) = request.view.clone() else {
            return;
        };
        let Some(protocol) = view.protocol() else {
            return;
        };
        request.upstream = Id::NONE;
        request.stage = Stage::Queued;
        request.wire = 0;
        match as_asked(&**protocol, &request.reply_to, bytes, limits) {
            Some((frame, bytes)) => {
                self.clusters[request.cluster as usize]
                    .counters
                    .upstream_rq_retry += 1;
                self.attempt(id, &frame, &bytes);
            }
            None => self.fail(
                id,
                ErrorKind::UpstreamReset,
                &"the upstream closed the connection",
            ),
        }
    }

    /// Takes a request off its upstream connection; `answered` when its reply is complete. A pooled
    /// connection whose reply may still come is closed, a multiplexed one forgets the id.
    pub(super) fn leave_upstream(&mut self, id: Id, answered: bool) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        if !matches!(request.stage, Stage::Sent | Stage::Replying) {
            return;
        }
        let (upstream, wire, uploading) = (request.upstream, request.wire, request.uploading);
        let (number, endpoint) = (request.cluster as usize, request.endpoint);
        request.upstream = Id::NONE;
        let cluster = &mut self.clusters[number];
        cluster.counters.upstream_rq_active -= 1;
        if let Some(entry) = self.endpoints.get_mut(endpoint) {
            entry.active -= 1;
            if let Some(index) = entry.index {
                cluster.balancer.finished(index);
            }
        }
        let Some(connection) = self.connections.get_mut(upstream) else {
            return;
        };
        let Some(up) = connection.upstream() else {
            return;
        };
        if up.key.exclusive {
            up.request = Id::NONE;
            if answered && !uploading && connection.body == crate::connection::Body::None {
                self.released(upstream);
            } else {
                self.close_upstream(upstream);
            }
            return;
        }
        if up.protocol.correlation() == Correlation::Order {
            // Its reply still comes and has to be passed over.
            if let Some(place) = up.order.iter_mut().find(|place| **place == id) {
                *place = Id::NONE;
            }
        } else {
            up.flight.remove(wire);
        }
        self.released(upstream);
    }

    /// Closes an upstream connection that carries nothing.
    pub(super) fn close_upstream(&mut self, id: Id) {
        let Some(mut connection) = self.connections.remove(id) else {
            return;
        };
        self.buffered = self.buffered.saturating_sub(connection.accounted);
        self.buffers.give(&mut connection.out);
        self.buffers.give(&mut connection.stash);
        let Role::Upstream(up) = &connection.role else {
            return;
        };
        let cluster = &mut self.clusters[up.cluster as usize];
        cluster.connections -= 1;
        cluster.counters.upstream_cx_active -= 1;
        cluster.counters.upstream_cx_destroy += 1;
        cluster.counters.upstream_cx_tx_bytes_total += connection.sent_total;
        if let Some(entry) = self.endpoints.get_mut(up.endpoint) {
            entry.connections -= 1;
            if up.ready {
                entry.pool(up.key).ready.retain(|other| *other != id);
            }
        }
        self.forget_endpoint(up.endpoint);
        if !self.clusters[up.cluster as usize].waiting.is_empty() {
            self.serve_waiting(up.cluster);
        }
    }
}

/// The request that was encoded as `bytes`, under the ids of its caller: the next connection may be its own.
fn as_asked(
    protocol: &dyn Protocol,
    to: &ReplyTo,
    bytes: &[u8],
    limits: Limits,
) -> Option<(Frame, Vec<u8>)> {
    let decode = |bytes: &[u8]| {
        let mut decoder = protocol.decoder(Direction::Request, to.format, limits);
        let frame = decoder.decode(bytes).ok()??;
        (frame.len <= bytes.len()).then_some(frame)
    };
    let frame = decode(bytes)?;
    let mut own = Vec::new();
    let ids = (frame.ids != to.ids).then_some(to.ids);
    mutate::encode(protocol, &frame, &bytes[..frame.len], ids, &[], &mut own);
    Some((decode(&own)?, own))
}

fn cluster_opened(cluster: &mut crate::cluster::ClusterEntry) {
    cluster.connections += 1;
    cluster.counters.upstream_cx_total += 1;
    cluster.counters.upstream_cx_active += 1;
}
