//! Destinations with weights, and a choice among them that never strays far from the weights.

use std::sync::Arc;

/// Clusters and their weights. There is always one with a weight above 0, but in [`Self::none`]. A clone
/// shares its memory: most routes of a table go where others go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedClusters {
    names: Arc<[Arc<str>]>,
    /// Sum of the weights up to and with the cluster at the same place; the last one is the total.
    cumulative: Arc<[u32]>,
}

impl WeightedClusters {
    /// All requests to one cluster.
    #[must_use]
    pub fn single(name: impl Into<Arc<str>>) -> Self {
        Self {
            names: Arc::new([name.into()]),
            cumulative: Arc::new([1]),
        }
    }

    /// No cluster at all, for a route that is answered without one; nothing may be picked of it.
    #[must_use]
    pub fn none() -> Self {
        Self {
            names: Arc::default(),
            cumulative: Arc::default(),
        }
    }

    /// Clusters in the given order; a weight of 0 is allowed and never chosen.
    ///
    /// # Errors
    /// Says why when the weights add up to 0, or to more than `u32::MAX` (Envoy's own limit).
    pub fn new(clusters: impl IntoIterator<Item = (Arc<str>, u32)>) -> Result<Self, String> {
        let mut names = Vec::new();
        let mut cumulative = Vec::new();
        let mut total = 0_u64;
        for (name, weight) in clusters {
            total += u64::from(weight);
            let sum = u32::try_from(total)
                .map_err(|_| format!("the weights add up to more than {}", u32::MAX))?;
            names.push(name);
            cumulative.push(sum);
        }
        if total == 0 {
            return Err("the weights add up to 0, so no cluster could be chosen".to_owned());
        }
        Ok(Self {
            names: names.into(),
            cumulative: cumulative.into(),
        })
    }

    /// The clusters' names, by the index that [`WeightedChoice::pick`] returns.
    #[must_use]
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The weight of the cluster at `index`; 0 where there is none.
    #[must_use]
    pub fn weight(&self, index: usize) -> u32 {
        let Some(&sum) = self.cumulative.get(index) else {
            return 0;
        };
        sum - index
            .checked_sub(1)
            .map_or(0, |before| self.cumulative[before])
    }

    /// The sum of the weights, above 0.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.cumulative.last().copied().unwrap_or_default()
    }

    /// Names with their weights.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.names
            .iter()
            .enumerate()
            .map(|(index, name)| (name, self.weight(index)))
    }

    /// The cluster whose share of the circle holds `point`, a fraction of 2^64.
    fn at(&self, point: u64) -> usize {
        let scaled = (u128::from(point) * u128::from(self.total())) >> 64;
        self.cumulative
            .partition_point(|&sum| u128::from(sum) <= scaled)
    }
}

/// Chooses among [`WeightedClusters`] so that any 1,000 consecutive choices are within 1 % of the
/// weights: a walk around the circle in steps of the golden ratio, which no short run of steps
/// covers unevenly. Random draws would stray by 3 % and more.
///
/// One state serves one route of one worker. Routes that shared a state would each see only some of
/// its steps, and those may lie close together.
#[derive(Clone, Copy, Debug)]
pub struct WeightedChoice {
    point: u64,
}

/// 2^64 divided by the golden ratio, odd.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl WeightedChoice {
    /// Starts at a point of the circle; different seeds keep workers from choosing in step.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { point: seed }
    }

    /// The index of the next cluster, of [`WeightedClusters::names`].
    pub fn pick(&mut self, clusters: &WeightedClusters) -> usize {
        self.point = self.point.wrapping_add(STEP);
        if clusters.names.len() == 1 {
            0
        } else {
            clusters.at(self.point)
        }
    }
}
