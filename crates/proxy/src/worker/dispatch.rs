//! From a cluster to bytes on an upstream connection: pick, connect, forward.

use std::sync::Arc;

use meltemi_balancer::Seen;
use meltemi_codec::{Correlation, ErrorKind, Frame, Ids, Protocol};

use super::Worker;
use super::mutate::{self, Side};
use crate::connection::{LARGE, PoolKey, pause};
use crate::request::{NONE, Stage};
use crate::slots::Id;
use crate::view::View;

/// What there is to send a request on.
pub(super) enum Way {
    /// This connection.
    Ready(Id),
    /// This one, once it is connected.
    Connecting(Id),
    /// As many connections as are allowed, all in use.
    Full,
    /// The system gave no connection.
    Failed(String),
}

impl Worker {
    /// Sends a request to an endpoint of its cluster that it was not tried at.
    pub(super) fn attempt(&mut self, id: Id, frame: &Frame, bytes: &[u8]) {
        self.attempt_as(id, frame, bytes, false);
    }

    /// `unmarked`: it has no marks that its cluster must not see.
    pub(super) fn attempt_as(&mut self, id: Id, frame: &Frame, bytes: &[u8], unmarked: bool) {
        let mut failure = String::new();
        loop {
            let Some(request) = self.requests.get(id) else {
                return;
            };
            let (number, tried, stream) = (request.cluster, request.tried, request.stream);
            let hash = request.hash;
            let Some(view) = request.view.clone() else {
                return;
            };
            let Some(protocol) = view.protocol() else {
                return;
            };
            let entry = &mut self.clusters[number as usize];
            let Some(cluster) = &entry.cluster else {
                let message = format!("unknown cluster '{}'", entry.name);
                return self.fail(id, ErrorKind::ClusterNotFound, &message);
            };
            if let Some(reason) = &cluster.refuse {
                let message = format!("cluster '{}' cannot be used: {reason}", entry.name);
                return self.fail(id, ErrorKind::Unsupported, &message);
            }
            if let (Some(marks), false) = (&cluster.unmarked, unmarked) {
                let marks = Arc::clone(marks);
                return self.attempt_unmarked(id, frame, bytes, &marks);
            }
            let wanted = cluster
                .max_in_flight
                .unwrap_or(protocol.default_max_in_flight());
            if cluster.limits.max_requests.is_some() && !self.may_begin(id, number) {
                return;
            }
            let entry = &mut self.clusters[number as usize];
            let Some((index, endpoint)) = entry.pick(&mut self.rng, tried.all(), hash) else {
                return self.nobody_left(id, &failure);
            };
            if entry.lane.is_some() {
                self.stands(id, number, endpoint);
            }
            let by_order = protocol.correlation() == Correlation::Order;
            let shares = wanted > 1
                && !stream
                && bytes.len() == frame.len
                && frame.len <= LARGE
                && (by_order || frame.rewritable);
            let key = PoolKey {
                protocol: Arc::as_ptr(protocol).cast::<()>() as usize,
                format: frame.format,
                exclusive: !shares,
            };
            let capacity = if shares { wanted } else { 1 };
            match self.way(id, number, endpoint, key, capacity, protocol) {
                Way::Ready(connection) => return self.forward(id, &view, connection, frame, bytes),
                Way::Connecting(connection) => return self.wait(id, connection, frame, bytes),
                Way::Full => return self.wait_for_any(id, frame, bytes),
                Way::Failed(reason) => {
                    failure = self.not_reached(id, endpoint, Some(index), &reason);
                }
            }
        }
    }

    /// Whether a request names a cluster at all.
    pub(super) fn cluster_of(&self, number: u32) -> Option<&crate::cluster::ClusterEntry> {
        if number == NONE {
            None
        } else {
            self.clusters.get(number as usize)
        }
    }

    /// Notes that an endpoint could not be reached; says it in a sentence.
    pub(super) fn not_reached(
        &mut self,
        id: Id,
        endpoint: Id,
        index: Option<usize>,
        reason: &str,
    ) -> String {
        let Some(entry) = self.endpoints.get_mut(endpoint) else {
            return reason.to_owned();
        };
        entry.errors += 1;
        entry.total += 1;
        let message = format!("{}: {reason}", entry.address);
        let index = index.or(entry.index);
        let number = self.requests.get(id).map(|request| request.cluster);
        self.saw(number.unwrap_or(NONE), endpoint, Seen::ConnectFailed);
        if let (Some(request), Some(index)) = (self.requests.get_mut(id), index) {
            request.tried.push(index);
            request.endpoint = endpoint;
        }
        message
    }

    fn nobody_left(&mut self, id: Id, failure: &str) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let tried = request.tried.count();
        let entry = &mut self.clusters[request.cluster as usize];
        if tried == 0 {
            entry.counters.upstream_rq_none_healthy += 1;
            let message = format!("no healthy upstream for '{}'", entry.name);
            return self.fail(id, ErrorKind::NoHealthyUpstream, &message);
        }
        let message = format!(
            "no endpoint of '{}' could be reached, {tried} tried, the last one {failure}",
            entry.name
        );
        self.fail(id, ErrorKind::UpstreamConnectFailure, &message);
    }

    /// A connection to `endpoint` that takes a request.
    fn way(
        &mut self,
        id: Id,
        number: u32,
        endpoint: Id,
        key: PoolKey,
        capacity: u32,
        protocol: &Arc<dyn Protocol>,
    ) -> Way {
        let Some(entry) = self.endpoints.get_mut(endpoint) else {
            return Way::Full;
        };
        let pool = entry.pool(key);
        while let Some(&last) = pool.ready.last() {
            let Some(connection) = self.connections.get_mut(last) else {
                pool.ready.pop();
                continue;
            };
            let connected = connection.connected;
            let Some(up) = connection.upstream() else {
                return Way::Full;
            };
            if up.live() + 1 >= up.capacity {
                up.ready = false;
                pool.ready.pop();
            }
            return if connected {
                Way::Ready(last)
            } else {
                Way::Connecting(last)
            };
        }
        let entry = &self.clusters[number as usize];
        let limits = entry.cluster.as_ref().map(|cluster| cluster.limits);
        let limits = limits.unwrap_or_default();
        if !limits.may_connect(entry.connections) && !self.make_room(number, key) {
            return Way::Full;
        }
        let waits = self.requests.get(id).is_some_and(|request| request.pending);
        if !waits && !limits.may_wait(self.clusters[number as usize].pending) {
            // No connection is opened for a request that may not wait for it.
            return Way::Full;
        }
        match self.connect(number, endpoint, key, capacity, protocol) {
            Ok(connection) => Way::Connecting(connection),
            Err(error) => Way::Failed(error.to_string()),
        }
    }

    /// Closes an idle connection of a cluster that may have no more of them; false when none is idle,
    /// or one is that the request could take at another endpoint.
    fn make_room(&mut self, number: u32, key: PoolKey) -> bool {
        let endpoints = self.clusters[number as usize].endpoints.clone();
        let mut other = None;
        for endpoint in endpoints {
            let Some(entry) = self.endpoints.get(endpoint) else {
                continue;
            };
            for pool in &entry.pools {
                let idle = |id: &&Id| {
                    let role = self
                        .connections
                        .get(**id)
                        .map(|connection| &connection.role);
                    matches!(role, Some(crate::connection::Role::Upstream(up)) if up.live() == 0)
                };
                if let Some(connection) = pool.ready.iter().find(idle) {
                    other = Some(*connection);
                    if pool.key != key {
                        break;
                    }
                }
            }
        }
        match other {
            Some(connection) => {
                self.close_upstream(connection);
                true
            }
            None => false,
        }
    }

    fn wait(&mut self, id: Id, connection: Id, frame: &Frame, bytes: &[u8]) {
        if !self.may_wait(id) {
            return;
        }
        self.keep(id, frame, bytes, usize::MAX, Stage::Queued);
        if let Some(request) = self.requests.get_mut(id) {
            request.upstream = connection;
        }
        let up = self
            .connections
            .get_mut(connection)
            .and_then(|entry| entry.upstream());
        if let Some(up) = up {
            up.waiting.push(id);
        }
    }

    fn wait_for_any(&mut self, id: Id, frame: &Frame, bytes: &[u8]) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let number = request.cluster as usize;
        if !self.may_wait(id) {
            return;
        }
        let entry = &mut self.clusters[number];
        entry.counters.upstream_cx_overflow += 1;
        if entry.waiting.len() >= self.shared.config.limits.max_waiting_requests {
            entry.counters.upstream_rq_pending_overflow += 1;
            let message = format!(
                "too many requests wait for a connection of '{}'",
                entry.name
            );
            return self.fail(id, ErrorKind::Overflow, &message);
        }
        entry.waiting.push_back(id);
        self.keep(id, frame, bytes, usize::MAX, Stage::Queued);
    }

    /// Writes a request to a connection that takes it.
    pub(super) fn forward(
        &mut self,
        id: Id,
        view: &View,
        connection_id: Id,
        frame: &Frame,
        bytes: &[u8],
    ) {
        let Some(protocol) = view.protocol() else {
            return;
        };
        let ids = match self.assign(id, connection_id, &**protocol) {
            Ok(ids) => ids,
            Err(reason) => return self.fail(id, ErrorKind::Overflow, reason),
        };
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(connection_id) else {
            return;
        };
        let (oneway, uploading, downstream) =
            (request.oneway, request.uploading, request.downstream);
        let mutation = if request.mutates {
            mutate::of(view, request.route, Side::Request)
        } else {
            &[]
        };
        let before = connection.waiting();
        let (mut full, mut mutated) = (false, mutation.is_empty());
        if ids.is_some() || (!mutated && frame.rewritable) {
            let out = &mut connection.out;
            self.buffers.ready(out);
            mutated = mutate::encode(&**protocol, frame, bytes, ids, mutation, out);
            request.sent_len = connection.waiting() - before;
            self.mark(connection_id);
        } else {
            request.sent_len = bytes.len();
            full = self.append(connection_id, bytes);
        }
        if !mutated {
            self.not_mutated(id, view, Side::Request);
        }
        self.count_started(id);
        if uploading && full {
            self.pause(downstream, pause::PEER);
        } else if uploading {
            self.unpause(downstream, pause::PEER);
        }
        if oneway && !uploading {
            self.oneway_sent(id);
        }
    }

    /// Makes a request one of a connection's; the ids that it is sent under where they are not its own.
    fn assign(
        &mut self,
        id: Id,
        connection_id: Id,
        protocol: &dyn Protocol,
    ) -> Result<Option<Ids>, &'static str> {
        const GONE: &str = "the connection is gone";
        let request = self.requests.get_mut(id).ok_or(GONE)?;
        let connection = self.connections.get_mut(connection_id).ok_or(GONE)?;
        let sent_at = connection.sent_total + connection.waiting() as u64;
        let up = connection.upstream().ok_or(GONE)?;
        let mut ids = None;
        if up.key.exclusive {
            up.request = id;
        } else if protocol.correlation() == Correlation::Order {
            if !request.oneway {
                up.order.push_back(id);
            }
        } else {
            let wire = up.flight.insert(id);
            let wire = wire.ok_or("the protocol has no more ids")?;
            request.wire = wire;
            ids = Some(Ids {
                message: wire,
                header: wire,
            });
            if request.oneway {
                // Nothing comes back; a reply that comes all the same names nothing.
                up.flight.remove(wire);
            }
        }
        if request.pending {
            request.pending = false;
            self.clusters[request.cluster as usize].pending -= 1;
        }
        request.stage = Stage::Sent;
        request.upstream = connection_id;
        request.endpoint = up.endpoint;
        request.attempts += 1;
        request.sent_at = sent_at;
        Ok(ids)
    }

    fn count_started(&mut self, id: Id) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let (number, endpoint) = (request.cluster, request.endpoint);
        if self.clusters[number as usize].lane.is_some() && request.standing.0 != endpoint {
            // It took whichever connection was free.
            self.stands(id, number, endpoint);
        }
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let cluster = &mut self.clusters[request.cluster as usize];
        cluster.counters.upstream_rq_total += 1;
        cluster.counters.upstream_rq_active += 1;
        if let Some(entry) = self.endpoints.get_mut(request.endpoint) {
            entry.active += 1;
            entry.total += 1;
            if let Some(index) = entry.index {
                cluster.balancer.started(index);
            }
        }
    }
}
