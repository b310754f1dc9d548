//! What this worker counted, for whoever asks.

use super::Worker;
use crate::stats::counters::WorkerCounters;
use crate::stats::report::{EndpointState, Report};

impl Worker {
    pub(super) fn report(&mut self) -> Report {
        let mut report = Report {
            worker: WorkerCounters { ..self.counters },
            requests: self.series.all().to_vec(),
            tcp: self.tcp_series.all().to_vec(),
            ..Report::default()
        };
        for port in self.ports.iter().flatten() {
            let view = &port.view;
            report
                .listeners
                .push((view.listener.address, port.counters));
            if let Some(filter) = view.filter() {
                let names = (filter.protocol.clone(), filter.stat_prefix.clone());
                report.protocols.push((names.0, names.1, port.requests));
            }
        }
        for entry in &self.clusters {
            let Some(cluster) = &entry.cluster else {
                continue;
            };
            let endpoint = |(endpoint, id): (&meltemi_balancer::Endpoint, _)| {
                let own = self.endpoints.get(id);
                EndpointState {
                    address: endpoint.address,
                    healthy: endpoint.healthy,
                    weight: endpoint.weight,
                    active: own.map_or(0, |own| own.active),
                    total: own.map_or(0, |own| own.total),
                    errors: own.map_or(0, |own| own.errors),
                }
            };
            let ids = entry.endpoints.iter().copied();
            let endpoints = cluster.endpoints.iter().zip(ids).map(endpoint).collect();
            report
                .clusters
                .push((entry.name.clone(), entry.counters, endpoints));
        }
        report
    }
}
