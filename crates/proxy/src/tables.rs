//! A snapshot, compiled for the workers: names become numbers, once, off the path of requests.
//!
//! The numbers of a name stay the same from snapshot to snapshot, so what a worker keeps by number
//! (counters, balancer state, pools) lives through swaps that do not concern it.

use std::collections::HashMap;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_codec::Protocol;
use meltemi_resources::{Cluster, Listener, NetworkFilter, RouteSource, Snapshot, TypedConfig};
use meltemi_routing::{CompiledRoute, RouteTable};

use crate::config::EngineConfig;
use crate::filter::{Configuration, FilterConfig, FilterFactory};

/// Numbers for names, never given twice.
#[derive(Default)]
pub(crate) struct Names {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    pub(crate) fn number(&mut self, name: &Arc<str>) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.names.push(Arc::clone(name));
        self.numbers.insert(Arc::clone(name), number);
        number
    }
}

/// A route table with its clusters as numbers.
pub(crate) struct CompiledTable {
    pub(crate) table: Arc<RouteTable>,
    /// The clusters of all routes, route by route, in the order of their weights.
    clusters: Vec<u32>,
    /// By route: where its clusters begin.
    starts: Vec<u32>,
    /// By route: its place in `split`; `u32::MAX` where there is one cluster and nothing to choose.
    pub(crate) choice: Vec<u32>,
    /// The routes that have several clusters.
    pub(crate) split: Vec<u32>,
}

impl CompiledTable {
    /// `before`: the last version; what stands where it stood there is copied, and not looked at.
    fn new(table: &Arc<RouteTable>, before: Option<&Self>, names: &mut Names) -> Self {
        let routes = table.routes();
        let mut new = Self {
            table: Arc::clone(table),
            clusters: Vec::with_capacity(routes.len()),
            starts: Vec::with_capacity(routes.len()),
            choice: Vec::with_capacity(routes.len()),
            split: Vec::new(),
        };
        let mut place = 0;
        while let Some(route) = routes.get(place) {
            let same = before.map_or(0, |before| before.same(&routes[place..], place));
            if let Some(before) = before.filter(|_| same > 0) {
                new.copy(before, place..place + same);
                place += same;
                continue;
            }
            let start = new.clusters.len() as u32;
            let last = place.checked_sub(1).map(|last| &routes[last].clusters);
            if last.is_some_and(|last| ptr::eq(last.names(), route.clusters.names())) {
                let last = new.starts[place - 1] as usize;
                new.clusters.extend_from_within(last..);
            } else {
                let numbers = route.clusters.names().iter();
                new.clusters.extend(numbers.map(|name| names.number(name)));
            }
            new.push(start);
            place += 1;
        }
        new
    }

    /// How many of `routes`, which stand at `place` and behind it, are those that stand there here.
    fn same(&self, routes: &[Arc<CompiledRoute>], place: usize) -> usize {
        let own = self.table.routes().get(place..).unwrap_or_default();
        let pairs = own.iter().zip(routes);
        pairs.take_while(|(a, b)| Arc::ptr_eq(a, b)).count()
    }

    /// Takes over routes that stand at the same places in `from`.
    fn copy(&mut self, from: &Self, places: Range<usize>) {
        for place in places {
            let start = self.clusters.len() as u32;
            self.clusters.extend_from_slice(from.clusters(place));
            self.push(start);
        }
    }

    /// Adds a route whose clusters, the last ones, begin at `start`.
    fn push(&mut self, start: u32) {
        let several = self.clusters.len() as u32 - start > 1;
        let choice = if several {
            self.split.len() as u32
        } else {
            u32::MAX
        };
        if several {
            self.split.push(self.starts.len() as u32);
        }
        self.choice.push(choice);
        self.starts.push(start);
    }

    /// The clusters of a route, in the order of their weights.
    #[inline]
    pub(crate) fn clusters(&self, route: usize) -> &[u32] {
        let end = self.starts.get(route + 1).copied();
        let end = end.map_or(self.clusters.len(), |end| end as usize);
        &self.clusters[self.starts[route] as usize..end]
    }
}

/// What a listener does with its connections.
#[derive(Clone)]
pub(crate) enum Service {
    /// Requests are decoded; no table while the route configuration has not come.
    Requests {
        protocol: Arc<dyn Protocol>,
        table: Option<Arc<CompiledTable>>,
    },
    /// Bytes are forwarded to this cluster.
    Tcp { cluster: u32 },
}

/// The filters of a listener, compiled; the same as long as the listener says the same of them.
pub(crate) struct CompiledFilters {
    stat_prefix: Arc<str>,
    from: Vec<TypedConfig>,
    /// Of those that the engine knows, in order.
    pub(crate) configs: Vec<Arc<dyn FilterConfig>>,
}

/// The filters that a listener has now, with what they keep for so long.
struct FiltersInForce {
    compiled: Arc<CompiledFilters>,
    _kept: Vec<Box<dyn Send>>,
}

#[derive(Clone)]
pub(crate) struct CompiledListener {
    pub(crate) number: u32,
    pub(crate) listener: Arc<Listener>,
    pub(crate) service: Service,
    pub(crate) filters: Arc<CompiledFilters>,
}

/// Everything in force, by number.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) version: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) listeners: Vec<CompiledListener>,
    /// By cluster number; None: a name that a route uses and nothing defines.
    pub(crate) clusters: Vec<Option<Arc<Cluster>>>,
    pub(crate) cluster_names: Vec<Arc<str>>,
}

/// Makes [`Tables`], remembering what it compiled before.
pub(crate) struct Compiler {
    protocols: HashMap<String, Arc<dyn Protocol>>,
    factories: HashMap<String, Arc<dyn FilterFactory>>,
    /// By listener.
    filters: HashMap<u32, FiltersInForce>,
    listeners: Names,
    clusters: Names,
    compiled: HashMap<usize, Arc<CompiledTable>>,
    /// Route tables that are no longer in force.
    gone: Vec<Arc<CompiledTable>>,
    version: u64,
}

/// A listener that cannot be served, and why.
pub(crate) type Refused = (Arc<str>, String);

impl Compiler {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        Self {
            protocols: config.protocols.clone(),
            factories: config.filters.clone(),
            filters: HashMap::new(),
            listeners: Names::default(),
            clusters: Names::default(),
            compiled: HashMap::new(),
            gone: Vec::new(),
            version: 0,
        }
    }

    /// Compiles `snapshot`; listeners without a codec, or with a filter that cannot be, are left out
    /// and named. `now` is the time since the engine was started.
    pub(crate) fn compile(
        &mut self,
        snapshot: Arc<Snapshot>,
        now: Duration,
    ) -> (Arc<Tables>, Vec<Refused>) {
        self.version += 1;
        let before = std::mem::take(&mut self.compiled);
        let mut filters_before = std::mem::take(&mut self.filters);
        let mut refused = Vec::new();
        let mut listeners = Vec::with_capacity(snapshot.listeners.len());
        for listener in snapshot.listeners.values() {
            let number = self.listeners.number(&listener.name);
            let filters = self.filters(listener, filters_before.get(&number), now);
            let made = filters.and_then(|changed| {
                let service = self.service(&snapshot, listener, &before)?;
                let unchanged = || filters_before.remove(&number);
                let in_force = changed.or_else(unchanged).ok_or("it has no filters")?;
                let filters = Arc::clone(&in_force.compiled);
                self.filters.insert(number, in_force);
                Ok((filters, service))
            });
            match made {
                Ok((filters, service)) => listeners.push(CompiledListener {
                    number,
                    listener: Arc::clone(listener),
                    service,
                    filters,
                }),
                Err(reason) => refused.push((Arc::clone(&listener.name), reason)),
            }
        }
        let gone = before
            .into_iter()
            .filter(|(key, _)| !self.compiled.contains_key(key));
        self.gone.extend(gone.map(|(_, table)| table));
        for name in snapshot.clusters.keys() {
            self.clusters.number(name);
        }
        let mut clusters = vec![None; self.clusters.names.len()];
        for (name, cluster) in &snapshot.clusters {
            clusters[self.clusters.number(name) as usize] = Some(Arc::clone(cluster));
        }
        let cluster_names = self.clusters.names.clone();
        let version = self.version;
        let tables = Tables {
            version,
            snapshot,
            listeners,
            clusters,
            cluster_names,
        };
        (Arc::new(tables), refused)
    }

    /// The route tables that are no longer in force since the last call.
    pub(crate) fn gone(&mut self) -> Vec<Arc<CompiledTable>> {
        std::mem::take(&mut self.gone)
    }

    /// The filters of a listener; None where they are those that it had before.
    fn filters(
        &self,
        listener: &Listener,
        before: Option<&FiltersInForce>,
        now: Duration,
    ) -> Result<Option<FiltersInForce>, String> {
        let (stat_prefix, from) = match &listener.filter {
            NetworkFilter::MetaProtocol(filter) => (&filter.stat_prefix, &*filter.filters),
            NetworkFilter::TcpProxy { stat_prefix, .. } => (stat_prefix, [].as_slice()),
        };
        if let Some(FiltersInForce { compiled, .. }) = before
            && compiled.stat_prefix == *stat_prefix
            && compiled.from == from
        {
            return Ok(None);
        }
        let mut configs: Vec<Arc<dyn FilterConfig>> = Vec::new();
        for wanted in from {
            if let Some(factory) = self.factories.get(&*wanted.name) {
                let compiled = factory.compile(&Configuration {
                    stat_prefix,
                    type_url: &wanted.type_url,
                    value: &wanted.value,
                    now,
                });
                let named = |reason| format!("filter {}: {reason}", wanted.name);
                configs.push(compiled.map_err(named)?);
            }
        }
        let kept = configs.iter().filter_map(|config| config.in_force());
        Ok(Some(FiltersInForce {
            _kept: kept.collect(),
            compiled: Arc::new(CompiledFilters {
                stat_prefix: Arc::clone(stat_prefix),
                from: from.to_vec(),
                configs,
            }),
        }))
    }

    fn service(
        &mut self,
        snapshot: &Snapshot,
        listener: &Listener,
        before: &HashMap<usize, Arc<CompiledTable>>,
    ) -> Result<Service, String> {
        match &listener.filter {
            NetworkFilter::TcpProxy { cluster, .. } => Ok(Service::Tcp {
                cluster: self.clusters.number(cluster),
            }),
            NetworkFilter::MetaProtocol(filter) => {
                let protocol = self
                    .protocols
                    .get(&*filter.codec)
                    .or_else(|| self.protocols.get(&*filter.protocol))
                    .map(Arc::clone)
                    .ok_or_else(|| {
                        format!(
                            "no codec {:?} for protocol {:?}",
                            filter.codec, filter.protocol
                        )
                    })?;
                let table = match &filter.routes {
                    RouteSource::Inline(table) => Some(table),
                    RouteSource::Rds(name) => snapshot.routes.get(name),
                };
                let table = table.map(|table| self.table(table, before));
                Ok(Service::Requests { protocol, table })
            }
        }
    }

    fn table(
        &mut self,
        table: &Arc<RouteTable>,
        before: &HashMap<usize, Arc<CompiledTable>>,
    ) -> Arc<CompiledTable> {
        // The compiled table holds the route table, so its address cannot come back meanwhile.
        let key = Arc::as_ptr(table) as usize;
        if let Some(known) = self.compiled.get(&key).or_else(|| before.get(&key)) {
            let known = Arc::clone(known);
            self.compiled.insert(key, Arc::clone(&known));
            return known;
        }
        let last = before.values().find(|old| old.table.name() == table.name());
        let last = last.map(|old| &**old);
        let compiled = Arc::new(CompiledTable::new(table, last, &mut self.clusters));
        self.compiled.insert(key, Arc::clone(&compiled));
        compiled
    }
}
