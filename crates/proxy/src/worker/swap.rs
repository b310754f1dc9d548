//! New tables, taken over between two turns. Connections, counters, pools and balancer state stay.

use std::rc::Rc;
use std::sync::Arc;

use super::{Port, Worker};
use crate::cluster::ClusterEntry;
use crate::slots::Id;
use crate::stats::counters::{ListenerCounters, ProtocolCounters};
use crate::tables::{CompiledListener, Tables};
use crate::view::{Filters, View};

impl Worker {
    pub(super) fn swap(&mut self) {
        let tables = self.shared.tables.load_full();
        if tables.version == self.tables.version {
            return;
        }
        let before = std::mem::replace(&mut self.tables, Arc::clone(&tables));
        self.counters.snapshots_total += 1;
        self.swap_clusters(&tables);
        let mut new_tables = Vec::new();
        for listener in &tables.listeners {
            self.swap_listener(listener, &mut new_tables);
        }
        let mut views = self.ports.iter().flatten().map(|port| &port.view);
        self.judges_marks = views.any(|view| view.marks.is_some());
        self.counters.tables_in_force_total += new_tables.len() as u64;
        self.drop_left_filters();
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

    /// Notes an endpoint that may be of no more use. It stays until the end of the turn: a request
    /// that just ended there still names it in its metrics and its log line.
    #[inline]
    pub(super) fn forget_endpoint(&mut self, endpoint: Id) {
        if self
            .endpoints
            .get(endpoint)
            .is_some_and(|entry| entry.index.is_none())
        {
            self.leaving.push(endpoint);
        }
    }

    /// Drops endpoints that are no longer part of a cluster and that nothing uses.
    pub(super) fn drop_leaving(&mut self) {
        let unused = |entry: &crate::cluster::EndpointEntry| {
            entry.index.is_none() && entry.connections == 0 && entry.active == 0
        };
        for endpoint in std::mem::take(&mut self.leaving) {
            if self.endpoints.get(endpoint).is_some_and(unused) {
                self.endpoints.remove(endpoint);
            }
        }
    }

    /// Takes over a listener; a route table that was not in force before goes to `new_tables`, once.
    fn swap_listener(&mut self, new: &CompiledListener, new_tables: &mut Vec<usize>) {
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
        let filters = self.filters(new, before.as_deref());
        let seed = (self.number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let view = View::new(
            new.number,
            &new.listener,
            &new.service,
            filters,
            seed,
            before.as_deref(),
        );
        let key = |view: &View| view.table().map(|table| Arc::as_ptr(table) as usize);
        if let Some(table) = key(&view)
            && before.as_deref().and_then(key) != Some(table)
            && !new_tables.contains(&table)
        {
            new_tables.push(table);
        }
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

    /// The filters of a listener: those that it has while their configuration stays the same, since
    /// what they count must not start anew with every change of a route.
    fn filters(&mut self, new: &CompiledListener, before: Option<&View>) -> Filters {
        if let Some(before) = before {
            if Arc::ptr_eq(&before.filters.compiled, &new.filters) {
                return before.filters.clone();
            }
            self.left_filters.push(before.filters.clone());
        }
        Filters::new(&new.filters)
    }
}
