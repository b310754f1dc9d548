//! New tables, taken over between two turns. Connections, counters, pools and balancer state stay.

use std::rc::Rc;
use std::sync::Arc;

use super::{Port, Worker};
use crate::cluster::ClusterEntry;
use crate::filter::Filter;
use crate::logging;
use crate::slots::Id;
use crate::stats::counters::{ListenerCounters, ProtocolCounters};
use crate::tables::{CompiledListener, Tables};
use crate::view::View;

impl Worker {
    pub(super) fn swap(&mut self) {
        let tables = self.shared.tables.load_full();
        if tables.version == self.tables.version {
            return;
        }
        let before = std::mem::replace(&mut self.tables, Arc::clone(&tables));
        self.counters.snapshots_total += 1;
        self.swap_clusters(&tables);
        for listener in &tables.listeners {
            self.swap_listener(listener);
        }
        // The engine still holds it: nothing large is freed here.
        drop(before);
    }

    fn swap_clusters(&mut self, tables: &Tables) {
        let known = self.clusters.len();
        self.clusters
            .extend(tables.cluster_names[known..].iter().map(ClusterEntry::new));
        for number in 0..self.clusters.len() {
            let new = tables.clusters.get(number).and_then(Option::as_ref);
            let entry = &mut self.clusters[number];
            let same = match (&entry.cluster, new) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (None, None) => true,
                _ => false,
            };
            if same {
                continue;
            }
            let peers = &mut self.peers;
            let mut peer =
                |endpoint: &meltemi_balancer::Endpoint| peers.number(endpoint.peer.as_ref());
            let gone = entry.update(new, &mut self.endpoints, &mut peer);
            for endpoint in gone {
                self.retire_endpoint(endpoint);
            }
        }
    }

    /// Closes what is idle at an endpoint that is no longer part of its cluster; the rest closes when
    /// it becomes idle.
    fn retire_endpoint(&mut self, endpoint: Id) {
        let Some(entry) = self.endpoints.get_mut(endpoint) else {
            return;
        };
        let ready: Vec<Id> = entry.pools.drain(..).flat_map(|pool| pool.ready).collect();
        for connection in ready {
            self.retire(connection);
        }
        self.forget_endpoint(endpoint);
    }

    /// Drops an endpoint that is no longer part of its cluster once nothing uses it.
    pub(super) fn forget_endpoint(&mut self, endpoint: Id) {
        let unused = |entry: &crate::cluster::EndpointEntry| {
            entry.index.is_none() && entry.connections == 0 && entry.active == 0
        };
        if self.endpoints.get(endpoint).is_some_and(unused) {
            self.endpoints.remove(endpoint);
        }
    }

    fn swap_listener(&mut self, new: &CompiledListener) {
        let number = new.number as usize;
        if self.ports.len() <= number {
            self.ports.resize_with(number + 1, || None);
        }
        let before = self.ports[number]
            .as_ref()
            .map(|port| Rc::clone(&port.view));
        if before
            .as_ref()
            .is_some_and(|view| view.same(&new.listener, &new.service))
        {
            return;
        }
        let filters = match self.make_filters(new) {
            Ok(filters) => filters,
            Err(reason) => {
                // The listener goes on as it was, or stays closed to requests.
                logging::warning!("listener {}: {reason}", new.listener.name);
                return;
            }
        };
        let seed = (self.number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let view = View::new(
            new.number,
            &new.listener,
            &new.service,
            filters,
            seed,
            before.as_deref(),
        );
        let changed = match (view.table(), before.as_ref().and_then(|view| view.table())) {
            (Some(new), Some(old)) => !Arc::ptr_eq(new, old),
            (new, _) => new.is_some(),
        };
        self.counters.tables_in_force_total += u64::from(changed);
        match &mut self.ports[number] {
            Some(port) => port.view = Rc::new(view),
            none => {
                *none = Some(Port {
                    view: Rc::new(view),
                    counters: ListenerCounters::default(),
                    requests: ProtocolCounters::default(),
                });
            }
        }
    }

    fn make_filters(&self, new: &CompiledListener) -> Result<Vec<Box<dyn Filter>>, String> {
        let meltemi_resources::NetworkFilter::MetaProtocol(filter) = &new.listener.filter else {
            return Ok(Vec::new());
        };
        let mut filters = Vec::new();
        for wanted in &filter.filters {
            if let Some(factory) = self.shared.config.filters.get(&*wanted.name) {
                let made = factory.create(&wanted.type_url, &wanted.value);
                filters.push(made.map_err(|reason| format!("filter {}: {reason}", wanted.name))?);
            }
        }
        Ok(filters)
    }
}
