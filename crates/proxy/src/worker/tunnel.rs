//! Connections forwarded as TCP: for ports whose protocol has no codec.

use std::net::SocketAddr;

use meltemi_balancer::Seen;
use meltemi_resources::Direction;
use meltemi_routing::hash_of_address;

use super::Worker;
use crate::connection::{Connection, Role, Tunnel, pause};
use crate::poller::Interest;
use crate::request::Tried;
use crate::slots::Id;
use crate::sockets;
use crate::stats::labels::{Labels, Sides};
use crate::stats::series::{SeriesKey, TcpSeries};
use crate::transport::Stream;

impl Worker {
    pub(super) fn open_tunnel(
        &mut self,
        stream: Stream,
        listener: u32,
        cluster: u32,
        remote: SocketAddr,
    ) {
        let now = self.clock.now();
        let half = Tunnel {
            other: Id::NONE,
            upstream: false,
            listener,
            cluster,
            endpoint: Id::NONE,
            remote,
            received: 0,
            tried: Tried::default(),
            connect_by: now,
        };
        let mut connection = Connection::new(stream, true, now, Role::Tunnel(half));
        // Nothing is read before there is somewhere to write it.
        connection.pause = pause::PEER;
        let id = self.connections.insert(connection);
        self.watch(
            id,
            Interest {
                read: false,
                write: false,
            },
        );
        self.connect_tunnel(id, "");
    }

    /// Connects to an endpoint that was not tried yet.
    fn connect_tunnel(&mut self, id: Id, failure: &str) {
        let mut failure = failure.to_owned();
        loop {
            let Some(half) = self.tunnel(id) else { return };
            let (number, tried, remote, listener) =
                (half.cluster, half.tried, half.remote, half.listener);
            let entry = &mut self.clusters[number as usize];
            let usable = entry
                .cluster
                .as_ref()
                .is_some_and(|cluster| cluster.refuse.is_none());
            let picked = if usable {
                // Of a connection nothing else is known that could be hashed.
                let hash = entry.goes_by_hash().then(|| hash_of_address(remote.ip()));
                entry.pick(&mut self.rng, tried.all(), hash)
            } else {
                None
            };
            let Some((index, endpoint)) = picked else {
                entry.counters.upstream_rq_none_healthy += 1;
                if self.may_log() {
                    let name = &self.clusters[number as usize].name;
                    crate::logging::info!("no endpoint of '{name}' for {remote} {failure}");
                }
                return self.close_tunnel(id);
            };
            if let Some(half) = self.tunnel(id) {
                half.tried.push(index);
            }
            match self.open_upstream_half(id, number, endpoint, listener, remote) {
                Ok(()) => return,
                Err(error) => {
                    failure = error.to_string();
                    self.clusters[number as usize]
                        .counters
                        .upstream_cx_connect_fail += 1;
                }
            }
        }
    }

    fn open_upstream_half(
        &mut self,
        id: Id,
        number: u32,
        endpoint: Id,
        listener: u32,
        remote: SocketAddr,
    ) -> std::io::Result<()> {
        let now = self.clock.now();
        let Some(entry) = self.endpoints.get_mut(endpoint) else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        let address = entry.address;
        let socket = sockets::connecting(address, self.shared.config.source_address)?;
        let cluster = &mut self.clusters[number as usize];
        let transports = self.shared.config.transports.as_ref();
        let transport = transports.and_then(|all| all.upstream(&cluster.name, address));
        let timeout = cluster
            .cluster
            .as_ref()
            .map(|cluster| cluster.connect_timeout);
        let connect_by = now.after(timeout.unwrap_or(std::time::Duration::from_secs(5)));
        cluster.connections += 1;
        cluster.counters.upstream_cx_total += 1;
        cluster.counters.upstream_cx_active += 1;
        entry.connections += 1;
        entry.active += 1;
        entry.total += 1;
        if let Some(index) = entry.index {
            cluster.balancer.started(index);
        }
        let half = Tunnel {
            other: id,
            upstream: true,
            listener,
            cluster: number,
            endpoint,
            remote,
            received: 0,
            tried: Tried::default(),
            connect_by,
        };
        let stream = Stream::new(socket, transport);
        let upstream =
            self.connections
                .insert(Connection::new(stream, false, now, Role::Tunnel(half)));
        if let Some(half) = self.tunnel(id) {
            half.other = upstream;
            half.endpoint = endpoint;
        }
        self.watch(upstream, Interest::WRITE);
        self.arm(upstream, connect_by);
        Ok(())
    }

    fn tunnel(&mut self, id: Id) -> Option<&mut Tunnel> {
        self.connections.get_mut(id)?.tunnel()
    }

    pub(super) fn tunnel_connected(&mut self, upstream: Id) {
        let Some(half) = self.tunnel(upstream) else {
            return;
        };
        let (downstream, number, endpoint) = (half.other, half.cluster, half.endpoint);
        // Nothing else will be known of it: to be connected is all that is asked.
        self.saw(number, endpoint, Seen::Connected);
        self.saw(number, endpoint, Seen::Success);
        self.count_tunnel(downstream, |series| series.opened += 1);
        self.rearm(upstream);
        self.unpause(downstream, pause::PEER);
        self.arm_idle(downstream);
        self.arm_idle(upstream);
    }

    pub(super) fn tunnel_not_connected(&mut self, upstream: Id, reason: &str) {
        let Some(half) = self.tunnel(upstream) else {
            return;
        };
        let (downstream, number, endpoint) = (half.other, half.cluster as usize, half.endpoint);
        self.clusters[number].counters.upstream_cx_connect_fail += 1;
        if let Some(entry) = self.endpoints.get_mut(endpoint) {
            entry.errors += 1;
        }
        self.saw(number as u32, endpoint, Seen::ConnectFailed);
        self.drop_upstream_half(upstream);
        if let Some(half) = self.tunnel(downstream) {
            half.other = Id::NONE;
        }
        self.connect_tunnel(downstream, reason);
    }

    pub(super) fn tunnel_bytes(&mut self, id: Id, bytes: &[u8]) {
        let Some(half) = self.tunnel(id) else { return };
        half.received += bytes.len() as u64;
        let (other, upstream) = (half.other, half.upstream);
        let downstream = if upstream { other } else { id };
        let count = bytes.len() as u64;
        self.count_tunnel(downstream, |series| {
            if upstream {
                series.sent_bytes += count;
            } else {
                series.received_bytes += count;
            }
        });
        if self.append(other, bytes) {
            self.pause(id, pause::PEER);
        }
    }

    /// One side's FIN: passed on behind its last byte; the other direction goes on.
    pub(super) fn tunnel_ended(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.read_closed = true;
        let Some(half) = connection.tunnel() else {
            return;
        };
        let other = half.other;
        self.rearm(id);
        match self.connections.get_mut(other) {
            Some(connection) => {
                connection.ending = true;
                self.mark(other);
            }
            None => self.close_tunnel(id),
        }
    }

    /// The FIN was passed on: done when both directions are.
    pub(super) fn tunnel_sent_end(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let here = connection.ended && connection.peer_ended;
        let Some(half) = connection.tunnel() else {
            return;
        };
        let other = half.other;
        let there = self
            .connections
            .get(other)
            .is_none_or(|connection| connection.ended && connection.peer_ended);
        if here && there {
            self.close_tunnel(id);
        }
    }

    /// Closes both sides.
    pub(super) fn close_tunnel(&mut self, id: Id) {
        let Some(half) = self.tunnel(id) else { return };
        let (downstream, upstream) = if half.upstream {
            (half.other, id)
        } else {
            (id, half.other)
        };
        let connected = self
            .connections
            .get(upstream)
            .is_some_and(|half| half.connected);
        if connected {
            self.count_tunnel(downstream, |series| series.closed += 1);
        }
        self.drop_upstream_half(upstream);
        let Some(connection) = self.connections.remove(downstream) else {
            return;
        };
        self.buffered = self.buffered.saturating_sub(connection.accounted);
        self.inbox
            .connections
            .fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
        let Role::Tunnel(half) = &connection.role else {
            return;
        };
        let (listener, received) = (half.listener, half.received);
        if let Some(port) = self.port(listener) {
            port.counters.downstream_cx_active -= 1;
            port.counters.downstream_cx_destroy += 1;
            port.counters.downstream_cx_rx_bytes_total += received;
            port.counters.downstream_cx_tx_bytes_total += connection.sent_total;
        }
    }

    fn drop_upstream_half(&mut self, id: Id) {
        let Some(connection) = self.connections.remove(id) else {
            return;
        };
        self.buffered = self.buffered.saturating_sub(connection.accounted);
        let Role::Tunnel(half) = &connection.role else {
            return;
        };
        let cluster = &mut self.clusters[half.cluster as usize];
        cluster.connections -= 1;
        cluster.counters.upstream_cx_active -= 1;
        cluster.counters.upstream_cx_destroy += 1;
        cluster.counters.upstream_cx_rx_bytes_total += half.received;
        cluster.counters.upstream_cx_tx_bytes_total += connection.sent_total;
        if let Some(entry) = self.endpoints.get_mut(half.endpoint) {
            entry.connections -= 1;
            entry.active -= 1;
            if let Some(index) = entry.index {
                cluster.balancer.finished(index);
            }
        }
        self.forget_endpoint(half.endpoint);
    }

    /// Adds to the series of a connection.
    fn count_tunnel(&mut self, downstream: Id, add: impl FnOnce(&mut TcpSeries)) {
        let Some(half) = self.tunnel(downstream) else {
            return;
        };
        let (listener, cluster, endpoint) = (half.listener, half.cluster, half.endpoint);
        let remote = half.remote;
        let Some(port) = self.ports.get(listener as usize).and_then(Option::as_ref) else {
            return;
        };
        let direction = port.view.direction();
        let peer = match direction {
            Direction::Inbound => {
                let peers = &self.tables.snapshot.peers;
                self.peers.number(peers.get(&remote.ip().to_canonical()))
            }
            Direction::Outbound => self.endpoints.get(endpoint).map_or(0, |entry| entry.peer),
        };
        let key = SeriesKey {
            listener,
            cluster,
            peer,
            outcome: 0,
        };
        let (peers, clusters) = (&self.peers, &self.clusters);
        let node = &self.shared.config.node;
        add(self.tcp_series.entry(key, || TcpSeries {
            labels: Labels::connection(&Sides {
                direction,
                node,
                other: peers.get(peer),
                target: &clusters[cluster as usize].name,
                protocol: "tcp",
            }),
            opened: 0,
            closed: 0,
            received_bytes: 0,
            sent_bytes: 0,
        }));
    }
}
