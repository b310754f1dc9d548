//! What the workers counted, merged and named.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_balancer::LaneCount;
use meltemi_resources::LaneOf;

use super::counters::{
    ClusterCounters, ListenerCounters, OutlierCounters, ProtocolCounters, WorkerCounters,
};
use super::labels::Labels;
use super::series::{RequestSeries, TcpSeries};

/// A cluster as the engine uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterState {
    /// The resource's name.
    pub name: String,
    /// Its endpoints, in the order of the resource.
    pub endpoints: Vec<EndpointState>,
}

/// An endpoint of a cluster, over all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it may be picked: nobody says that it is sick, and no worker ejected it.
    pub healthy: bool,
    /// Whether a worker leaves it out for what it saw of it.
    pub ejected: bool,
    /// 0 is asked first.
    pub priority: u32,
    /// Region, zone and sub-zone, as `north/a/`; empty where nobody says it.
    pub locality: String,
    /// Its share relative to the others.
    pub weight: u32,
    /// Requests (TCP: connections) in flight.
    pub active: u64,
    /// Requests (TCP: connections) it was picked for.
    pub total: u64,
    /// Of these, the ones without a reply.
    pub errors: u64,
}

/// What one worker counted.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) listeners: Vec<(SocketAddr, ListenerCounters)>,
    pub(crate) protocols: Vec<(Arc<str>, Arc<str>, ProtocolCounters)>,
    pub(crate) clusters: Vec<(Arc<str>, ClusterCounters, Vec<EndpointState>)>,
    pub(crate) outliers: Vec<(Arc<str>, OutlierCounters)>,
    pub(crate) worker: WorkerCounters,
    pub(crate) lanes: Vec<(LaneOf, LaneCount)>,
    /// Of filters, by dotted name.
    pub(crate) filters: BTreeMap<String, u64>,
    pub(crate) requests: Vec<RequestSeries>,
    pub(crate) tcp: Vec<TcpSeries>,
}

/// What all workers counted together.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) listeners: BTreeMap<String, ListenerCounters>,
    pub(crate) protocols: BTreeMap<(String, String), ProtocolCounters>,
    pub(crate) clusters: BTreeMap<String, (ClusterCounters, Vec<EndpointState>)>,
    pub(crate) outliers: BTreeMap<String, OutlierCounters>,
    pub(crate) worker: WorkerCounters,
    pub(crate) lanes: BTreeMap<LaneOf, LaneCount>,
    pub(crate) filters: BTreeMap<String, u64>,
    pub(crate) requests: BTreeMap<Labels, RequestSeries>,
    pub(crate) tcp: BTreeMap<Labels, TcpSeries>,
}

impl Merged {
    pub(crate) fn new(reports: Vec<Report>) -> Self {
        let mut merged = Self::default();
        for (number, report) in reports.into_iter().enumerate() {
            merged.add(report, number == 0);
        }
        merged
    }

    fn add(&mut self, report: Report, first: bool) {
        for (address, counters) in report.listeners {
            self.listeners
                .entry(address.to_string())
                .or_default()
                .add(&counters);
        }
        for (protocol, prefix, counters) in report.protocols {
            let key = (protocol.to_string(), prefix.to_string());
            self.protocols.entry(key).or_default().add(&counters);
        }
        for (name, counters, endpoints) in report.clusters {
            let (sum, all) = self.clusters.entry(name.to_string()).or_default();
            sum.add(&counters);
            merge_endpoints(all, endpoints);
        }
        for (name, counters) in report.outliers {
            self.outliers
                .entry(name.to_string())
                .or_default()
                .add(&counters);
        }
        for (of, count) in report.lanes {
            self.lanes.entry(of).or_default().add(&count);
        }
        for (name, value) in report.filters {
            *self.filters.entry(name).or_default() += value;
        }
        self.merge_series(report.requests, report.tcp);
        // A table is in force once the last worker uses it.
        let in_force = report.worker.tables_in_force_total;
        let least = if first {
            in_force
        } else {
            in_force.min(self.worker.tables_in_force_total)
        };
        self.worker.add(&report.worker);
        self.worker.tables_in_force_total = least;
    }

    fn merge_series(&mut self, requests: Vec<RequestSeries>, tcp: Vec<TcpSeries>) {
        for series in requests {
            match self.requests.get_mut(&series.labels) {
                None => drop(self.requests.insert(series.labels.clone(), series)),
                Some(sum) => {
                    sum.duration.add(&series.duration);
                    sum.request_bytes.add(&series.request_bytes);
                    sum.response_bytes.add(&series.response_bytes);
                }
            }
        }
        for series in tcp {
            match self.tcp.get_mut(&series.labels) {
                None => drop(self.tcp.insert(series.labels.clone(), series)),
                Some(sum) => {
                    sum.opened += series.opened;
                    sum.closed += series.closed;
                    sum.received_bytes += series.received_bytes;
                    sum.sent_bytes += series.sent_bytes;
                }
            }
        }
    }

    /// Every counter by its dotted name.
    pub(crate) fn flat(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for (address, counters) in &self.listeners {
            let address = flat_address(address);
            counters.each(|name, value| all.push((format!("listener.{address}.{name}"), value)));
        }
        for ((protocol, prefix), counters) in &self.protocols {
            let scope = format!("meta_protocol.{protocol}.{prefix}");
            counters.each(|name, value| all.push((format!("{scope}.{name}"), value)));
        }
        all.extend(self.filters.clone());
        for (cluster, (counters, endpoints)) in &self.clusters {
            counters.each(|name, value| all.push((format!("cluster.{cluster}.{name}"), value)));
            let healthy = endpoints.iter().filter(|endpoint| endpoint.healthy).count() as u64;
            all.push((format!("cluster.{cluster}.membership_healthy"), healthy));
            all.push((
                format!("cluster.{cluster}.membership_total"),
                endpoints.len() as u64,
            ));
        }
        for (cluster, counters) in &self.outliers {
            let scope = format!("cluster.{cluster}.outlier_detection");
            counters.each(|name, value| all.push((format!("{scope}.{name}"), value)));
        }
        for (LaneOf { lane, service }, count) in &self.lanes {
            let scope = format!("lane.{service}.{lane}");
            for (who, requests) in count.by_answer() {
                all.push((format!("{scope}.answered_by_{who}"), requests));
            }
            all.push((format!("{scope}.leaks"), count.leaks));
        }
        self.worker
            .each(|name, value| all.push((format!("meltemi.{name}"), value)));
        all
    }

    pub(crate) fn cluster_states(self) -> Vec<ClusterState> {
        let state = |(name, (_, endpoints))| ClusterState { name, endpoints };
        self.clusters.into_iter().map(state).collect()
    }
}

/// `0.0.0.0:9090` as a part of a dotted name: `0.0.0.0_9090`.
pub(crate) fn flat_address(address: &str) -> String {
    address.replace(':', "_")
}

fn merge_endpoints(all: &mut Vec<EndpointState>, endpoints: Vec<EndpointState>) {
    for endpoint in endpoints {
        match all
            .iter_mut()
            .find(|other| other.address == endpoint.address)
        {
            None => all.push(endpoint),
            Some(sum) => {
                sum.healthy &= endpoint.healthy;
                sum.ejected |= endpoint.ejected;
                sum.active += endpoint.active;
                sum.total += endpoint.total;
                sum.errors += endpoint.errors;
            }
        }
    }
}
