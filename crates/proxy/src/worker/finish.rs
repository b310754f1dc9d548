//! The end of a request: metrics, access log, and the slot for the next one.

use std::net::SocketAddr;
use std::time::Duration;

use meltemi_resources::NetworkFilter;

use super::{LAST_LINE, LOG_BATCH, Worker};
use crate::access_log::Entry;
use crate::connection::Role;

use crate::slots::Id;
use crate::stats::histogram::Histogram;
use crate::stats::labels::{Labels, Outcome, Sides};
use crate::stats::series::{RequestSeries, SeriesKey};
use crate::view::View;

impl Worker {
    /// Counts a request that is over, logs it, and gives its slot back. `caller` is who asked, where
    /// the connection is gone already.
    pub(super) fn finish(&mut self, id: Id, outcome: Outcome, caller: Option<(SocketAddr, u32)>) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        let Some(view) = request.view.take() else {
            return;
        };
        let (endpoint, downstream) = (request.endpoint, request.downstream);
        if request.uploading {
            // The rest of its bytes is passed over.
            self.unpause(downstream, crate::connection::pause::PEER);
        }
        self.take_kept(id);
        self.no_more_of(id);
        let Some(request) = self.requests.get(id) else {
            return;
        };
        if !request.copy {
            let cluster = request.cluster;
            if !self.shared.config.without_request_metrics {
                let peer = match (view.direction(), caller) {
                    (meltemi_resources::Direction::Inbound, Some((_, peer))) => peer,
                    (direction, _) => self.other_side(direction, downstream, endpoint),
                };
                self.count(id, &view, cluster, peer, outcome);
            }
            if self.shared.access_log.is_some() {
                self.log(id, &view, outcome, caller.map(|(remote, _)| remote));
            }
        }
        if let Some(request) = self.requests.get_mut(id) {
            self.buffers.give(&mut request.held);
        }
        self.requests.close(id);
    }

    fn count(&mut self, id: Id, view: &View, cluster: u32, peer: u32, outcome: Outcome) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let duration = self.clock.now().since(request.started);
        let (received, sent) = (request.received, request.sent);
        if let Some(Some(port)) = self.ports.get_mut(view.number as usize) {
            let counters = &mut port.requests;
            // A oneway request was counted as one when it came, and has no answer to count.
            match outcome {
                _ if request.oneway => {}
                Outcome::Ok => {
                    counters.response += 1;
                    counters.response_success += 1;
                }
                Outcome::Failed => {
                    counters.response += 1;
                    counters.response_error += 1;
                }
                Outcome::Local(_) => counters.local_response_error += 1,
                Outcome::Canceled => counters.request_canceled += 1,
            }
        }
        if let Some(entry) = self.clusters.get_mut(cluster as usize) {
            let completed = matches!(outcome, Outcome::Ok | Outcome::Failed);
            entry.counters.upstream_rq_completed += u64::from(completed);
            if entry.lane.is_some() {
                self.count_lane(id, cluster, outcome);
            }
        }
        let key = SeriesKey {
            listener: view.number,
            cluster,
            peer,
            outcome: outcome.number(),
        };
        let (peers, clusters) = (&self.peers, &self.clusters);
        let node = &self.shared.config.node;
        let series = self.series.entry(key, || {
            let sides = Sides {
                direction: view.direction(),
                node,
                other: peers.get(peer),
                target: target(
                    view,
                    clusters.get(cluster as usize).map(|entry| &*entry.name),
                ),
                protocol: view.filter().map_or("", |filter| &filter.protocol),
            };
            RequestSeries {
                labels: Labels::request(&sides, outcome),
                duration: Histogram::default(),
                request_bytes: Histogram::default(),
                response_bytes: Histogram::default(),
            }
        });
        series.duration.record(duration.as_micros() as u64);
        series.request_bytes.record(received * 1000);
        series.response_bytes.record(sent * 1000);
    }

    fn log(&mut self, id: Id, view: &View, outcome: Outcome, remote: Option<SocketAddr>) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let started = request.started;
        let start_us = self.clock.wall_us(started);
        let now = self.clock.now();
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let Some((_, format)) = &self.shared.access_log else {
            return;
        };
        let remote = remote.or_else(|| match &self.connections.get(request.downstream)?.role {
            Role::Downstream(down) => Some(down.remote),
            _ => None,
        });
        let route = view
            .table()
            .and_then(|table| table.table.routes().get(request.route as usize));
        let cluster = self
            .clusters
            .get(request.cluster as usize)
            .map_or("", |entry| &*entry.name);
        let entry = Entry {
            start_us,
            duration_ms: now.since(started).as_millis() as u64,
            protocol: view.filter().map_or("", |filter| &filter.protocol),
            outcome,
            received: request.received,
            sent: request.sent,
            downstream_remote: remote,
            downstream_local: view.listener.address,
            upstream: self
                .endpoints
                .get(request.endpoint)
                .map(|entry| entry.address),
            cluster,
            route: route.map_or("", |route| &*route.name),
            attributes: &request.captured,
            reply_attributes: &request.captured_reply,
        };
        if self.log.is_empty() {
            self.log_since = now;
        }
        format.line(&entry, &mut self.log);
        if self.log.len() >= LOG_BATCH {
            self.flush_log();
        }
    }

    /// Hands the lines so far to the thread that writes them.
    pub(super) fn flush_log(&mut self) {
        let Some((writer, _)) = &self.shared.access_log else {
            return;
        };
        if self.log.is_empty() {
            return;
        }
        let next = Vec::with_capacity(LOG_BATCH + LAST_LINE);
        let batch = std::mem::replace(&mut self.log, next);
        if let Err(lost) = writer.push(batch) {
            let lines = lost.iter().filter(|byte| **byte == b'\n').count();
            self.counters.access_log_lost += lines as u64;
        }
    }

    /// When an idle connection of this listener is closed.
    pub(super) fn downstream_idle(&self, listener: u32) -> Duration {
        let port = self.ports.get(listener as usize).and_then(Option::as_ref);
        let own = port.and_then(|port| match &port.view.listener.filter {
            NetworkFilter::MetaProtocol(filter) => filter.idle_timeout,
            NetworkFilter::TcpProxy { .. } => None,
        });
        own.unwrap_or(self.shared.config.limits.downstream_idle_timeout)
    }
}

/// What a request was for: its cluster, or its route table where none was chosen.
fn target<'a>(view: &'a View, cluster: Option<&'a str>) -> &'a str {
    cluster
        .or_else(|| view.table().map(|table| &**table.table.name()))
        .unwrap_or("")
}
