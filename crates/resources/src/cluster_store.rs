//! Clusters with their endpoints: what the stores of a sidecar and of a client share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use meltemi_balancer::HashTable;

use crate::clusters::{Definition, Source};
use crate::endpoints::{self, Assignment};
use crate::held::{Held, anew};
use crate::invalid::Invalid;
use crate::{Cluster, Rejected};

/// Clusters and load assignments, each at its last good state.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    definitions: Held<Definition>,
    assignments: Held<Assignment>,
    /// Clusters whose endpoints are known.
    ready: HashMap<Arc<str>, Arc<Cluster>>,
}

impl Clusters {
    /// Clusters whose endpoints are known, by name.
    pub(crate) fn ready(&self) -> HashMap<Arc<str>, Arc<Cluster>> {
        self.ready.clone()
    }

    /// Clusters whose endpoints have not come yet, so that nothing can use them; in order of name.
    pub(crate) fn warming(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.waiting().into_keys().collect();
        names.sort_unstable();
        names
    }

    /// The same, with the load assignment that each of them waits for.
    pub(crate) fn waiting(&self) -> HashMap<Arc<str>, Arc<str>> {
        let definitions = self.definitions.iter();
        let waits = definitions.filter_map(|(name, definition)| match &definition.source {
            Source::Eds(service) if !self.ready.contains_key(name) => {
                Some((Arc::clone(name), Arc::clone(service)))
            }
            _ => None,
        });
        waits.collect()
    }

    /// Takes in clusters as `read` reads them, and drops those that were taken away; says whether anything changed.
    pub(crate) fn update(
        &mut self,
        resources: &[(&str, &[u8])],
        removed: &[&str],
        rejected: &mut Vec<Rejected>,
        read: impl Fn(&str, &[u8]) -> Result<Definition, Invalid>,
    ) -> bool {
        let mut changed = false;
        for name in removed {
            self.definitions.remove(name);
            changed |= self.ready.remove(*name).is_some();
        }
        let same = |a: &Definition, b: &Definition| a == b;
        let updated = self
            .definitions
            .apply(resources, rejected, anew(read), same);
        for name in updated {
            changed |= self.refresh(&name);
        }
        changed
    }

    /// Takes in load assignments; says whether a cluster changed.
    pub(crate) fn update_endpoints(
        &mut self,
        resources: &[(&str, &[u8])],
        removed: &[&str],
        rejected: &mut Vec<Rejected>,
    ) -> bool {
        for name in removed {
            self.assignments.remove(name);
        }
        let same = |a: &Assignment, b: &Assignment| a == b;
        let updated: HashSet<_> = self
            .assignments
            .apply(resources, rejected, anew(endpoints::assignment), same)
            .into_iter()
            .collect();
        let concerned =
            self.definitions
                .iter()
                .filter(|(_, definition)| match &definition.source {
                    Source::Eds(service) => updated.contains(service),
                    Source::Inline => false,
                });
        let concerned: Vec<_> = concerned.map(|(name, _)| Arc::clone(name)).collect();
        concerned
            .iter()
            .fold(false, |changed, name| self.refresh(name) | changed)
    }

    /// Makes the cluster that holds from its definition and its endpoints. Without endpoints, what held
    /// before goes on: nothing is broken before its successor is made. Says whether anything changed.
    fn refresh(&mut self, name: &Arc<str>) -> bool {
        let Some(definition) = self.definitions.get(name) else {
            return false;
        };
        let cluster = &definition.cluster;
        let known = match &definition.source {
            Source::Inline => Some((Arc::clone(&cluster.endpoints), None, cluster.spread)),
            Source::Eds(service) => self.assignments.get(service).map(|one| {
                let (endpoints, refuse) = definition.sockets.usable(&one.endpoints, &one.marks);
                (endpoints, refuse, one.spread(cluster.spread))
            }),
        };
        let Some((endpoints, refuse, spread)) = known else {
            return false;
        };
        let held = self.ready.get(name);
        let table = held.and_then(|held| held.table.clone());
        let mut cluster = Cluster {
            table: table.filter(|table| table.is_of(cluster.policy, &spread, &endpoints)),
            endpoints,
            spread,
            refuse: cluster.refuse.clone().or(refuse),
            ..cluster.clone()
        };
        if held.is_some_and(|held| **held == cluster) {
            return false;
        }
        if cluster.table.is_none() {
            cluster.table =
                HashTable::new(cluster.policy, &spread, &cluster.endpoints).map(Arc::new);
        }
        self.ready.insert(Arc::clone(name), Arc::new(cluster));
        true
    }
}
