//! What this worker counted, for whoever asks.

use std::collections::BTreeMap;

use meltemi_balancer::LaneCount;
use meltemi_resources::{Endpoint, Health};

use super::Worker;
use crate::connection::Role;
use crate::stats::counters::{OutlierCounters, WorkerCounters};
use crate::stats::report::{EndpointState, Report};

impl Worker {
    pub(super) fn report(&mut self) -> Report {
        let mut report = Report {
            worker: WorkerCounters { ..self.counters },
            requests: self.series.all().to_vec(),
            tcp: self.tcp_series.all().to_vec(),
            ..Report::default()
        };
        self.report_listeners(&mut report);
        report.filters = self.report_filters();
        let mut sent = vec![0; self.clusters.len()];
        for connection in self.connections.iter() {
            match &connection.role {
                Role::Upstream(up) => sent[up.cluster as usize] += connection.sent_total,
                Role::Tunnel(half) if half.upstream => {
                    sent[half.cluster as usize] += connection.sent_total;
                }
                _ => {}
            }
        }
        for (entry, sent) in self.clusters.iter().zip(sent) {
            if let Some(lane) = &entry.lane
                && lane.count != LaneCount::default()
            {
                report.lanes.push((lane.of.clone(), lane.count));
            }
            let Some(cluster) = &entry.cluster else {
                continue;
            };
            let endpoint = |(index, (endpoint, id)): (_, (&Endpoint, _))| {
                let own = self.endpoints.get(id);
                EndpointState {
                    address: endpoint.address,
                    healthy: matches!(endpoint.health, Health::Healthy | Health::Degraded)
                        && !entry.balancer.is_ejected(index),
                    ejected: entry.balancer.is_ejected(index),
                    priority: endpoint.priority,
                    locality: endpoint.locality.as_ref().map_or_else(String::new, |one| {
                        format!("{}/{}/{}", one.region, one.zone, one.sub_zone)
                    }),
                    weight: endpoint.weight,
                    active: own.map_or(0, |own| own.active),
                    total: own.map_or(0, |own| own.total),
                    errors: own.map_or(0, |own| own.errors),
                }
            };
            let ids = entry.endpoints.iter().copied();
            let endpoints = (0..).zip(cluster.endpoints.iter().zip(ids));
            let endpoints = endpoints.map(endpoint).collect();
            if let Some(detector) = entry.balancer.detector() {
                let counters = OutlierCounters::of(detector);
                report.outliers.push((entry.name.clone(), counters));
            }
            let mut counters = entry.counters;
            counters.upstream_cx_tx_bytes_total += sent;
            report
                .clusters
                .push((entry.name.clone(), counters, endpoints));
        }
        report
    }

    /// Listeners, with what is counted per connection only when it closes.
    fn report_listeners(&self, report: &mut Report) {
        let mut sent = vec![0; self.ports.len()];
        let mut active = vec![0; self.ports.len()];
        for connection in self.connections.iter() {
            match &connection.role {
                Role::Downstream(down) => sent[down.listener as usize] += connection.sent_total,
                Role::Tunnel(half) if !half.upstream => {
                    sent[half.listener as usize] += connection.sent_total;
                }
                _ => {}
            }
        }
        for view in self
            .requests
            .iter()
            .filter_map(|request| request.view.as_ref())
        {
            active[view.number as usize] += 1;
        }
        for (number, port) in self.ports.iter().enumerate() {
            let Some(port) = port else { continue };
            let mut counters = port.counters;
            counters.downstream_cx_tx_bytes_total += sent[number];
            report
                .listeners
                .push((port.view.listener.address, counters));
            if let Some(filter) = port.view.filter() {
                let mut requests = port.requests;
                requests.request_active = active[number];
                let (protocol, prefix) = (filter.protocol.clone(), filter.stat_prefix.clone());
                report.protocols.push((protocol, prefix, requests));
            }
        }
    }

    /// What the filters of this worker counted, those that are gone included.
    fn report_filters(&mut self) -> BTreeMap<String, u64> {
        self.drop_left_filters();
        let mut all = self.filter_stats.clone();
        let listening = self.ports.iter().flatten().map(|port| &port.view.filters);
        for filters in listening.chain(&self.left_filters) {
            filters.stats(&mut |name, value| add(&mut all, name, value));
        }
        all
    }

    /// Drops filters that no listener and no request uses any more; what they counted stays.
    pub(super) fn drop_left_filters(&mut self) {
        let gone = &mut self.filter_stats;
        self.left_filters.retain(|filters| {
            if filters.are_left() {
                filters.stats(&mut |name, value| add(gone, name, value));
            }
            !filters.are_left()
        });
    }
}

fn add(to: &mut BTreeMap<String, u64>, name: &str, value: u64) {
    match to.get_mut(name) {
        Some(sum) => *sum += value,
        None => drop(to.insert(name.to_owned(), value)),
    }
}
