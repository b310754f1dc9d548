//! Where each route's walk over its weighted clusters is.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use meltemi_routing::{CompiledRoute, WeightedChoice};

/// States kept beyond the routes in use; where there are more, they are dropped at an update.
const MOST_KEPT: usize = 4096;

/// Where a route stands: the names of the route configuration (or listener) and of the virtual host.
pub(crate) type Origin<'o> = (&'o str, &'o str);

/// One [`WeightedChoice`] for each route with several clusters. A route keeps its own through updates
/// that leave its name and conditions: an update disturbs no shares but those that it changes.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    /// By the address of the compiled route, which is held so that no other has it.
    routes: HashMap<usize, (Arc<CompiledRoute>, u64), BuildHasherDefault<Spread>>,
    /// By what a route says.
    states: HashMap<u64, WeightedChoice, BuildHasherDefault<Spread>>,
    seed: u64,
}

impl Choices {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// The place of the cluster for the next call by `route`, which stands at `origin`; it has to be
    /// one for which `usable` holds, else the call is not counted and None is returned.
    pub(crate) fn pick(
        &mut self,
        origin: Origin<'_>,
        route: &Arc<CompiledRoute>,
        usable: impl FnOnce(usize) -> bool,
    ) -> Option<usize> {
        if route.clusters.names().len() == 1 {
            return usable(0).then_some(0);
        }
        let address = Arc::as_ptr(route) as usize;
        let (_, said) = self
            .routes
            .entry(address)
            .or_insert_with(|| (Arc::clone(route), what_is_said(origin, route)));
        let seed = self.seed ^ *said;
        let state = self
            .states
            .entry(*said)
            .or_insert_with(|| WeightedChoice::new(seed));
        let mut next = *state;
        let place = next.pick(&route.clusters);
        if !usable(place) {
            return None;
        }
        *state = next;
        Some(place)
    }

    /// The place of the cluster that [`Choices::pick`] would give next.
    pub(crate) fn next(&self, origin: Origin<'_>, route: &CompiledRoute) -> usize {
        let said = what_is_said(origin, route);
        let state = self.states.get(&said).copied();
        let mut state = state.unwrap_or_else(|| WeightedChoice::new(self.seed ^ said));
        state.pick(&route.clusters)
    }

    /// Tables were replaced: forgets the routes that no table has any more, and what they said once
    /// that is much.
    pub(crate) fn sweep(&mut self) {
        self.routes
            .retain(|_, (route, _)| Arc::strong_count(route) > 1);
        if self.states.len() > self.routes.len() + MOST_KEPT {
            let used: HashSet<u64> = self.routes.values().map(|(_, said)| *said).collect();
            self.states.retain(|said, _| used.contains(said));
        }
    }
}

/// Where it stands, and of the route what makes it the same one after an update; not the weights.
fn what_is_said(origin: Origin<'_>, route: &CompiledRoute) -> u64 {
    let mut hasher = DefaultHasher::new();
    origin.hash(&mut hasher);
    route.name.hash(&mut hasher);
    route.matches.hash(&mut hasher);
    route.clusters.names().hash(&mut hasher);
    hasher.finish()
}

/// A hasher of one number that nobody chooses, an address or a hash: one multiplication.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(32);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}
