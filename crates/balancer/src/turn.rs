//! Endpoints in turn, by weight: each as often as its weight says, and evenly spread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{Endpoint, Rng};

/// The usable endpoints of a cluster (healthy, with a weight) and whose turn it is.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Indices of the usable endpoints, in order.
    usable: Vec<usize>,
    /// Their weights.
    weights: Vec<u32>,
    /// Whether the weights are all equal.
    even: bool,
    /// Sums of the weights up to and with the endpoint at the same place.
    cumulative: Vec<u64>,
    /// Where all weights are equal: the place in `usable` whose turn it is.
    next: usize,
    /// Otherwise: when each place of `usable` is due. Time is virtual; an endpoint is due again after
    /// `pace / weight`.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    pace: u64,
    /// Among few endpoints with different weights: what each place was given less than its share
    /// (smooth weighted round robin, as in nginx).
    credit: Vec<i64>,
    /// Whether it has its starting place: workers that all started with the first endpoint would send
    /// it their first requests together.
    started: bool,
}

/// Steps of virtual time that the heaviest endpoint's interval has: the error of a share.
const RESOLUTION: u64 = 1 << 20;

/// Virtual time starts anew here, far below the overflow.
const REBASE: u64 = 1 << 62;

impl Turn {
    /// The turn of nobody.
    pub(crate) const fn nobody() -> Self {
        Self {
            usable: Vec::new(),
            weights: Vec::new(),
            even: true,
            cumulative: Vec::new(),
            next: 0,
            due: BinaryHeap::new(),
            pace: 0,
            credit: Vec::new(),
            started: false,
        }
    }

    /// The turn of `usable`, indices of `endpoints`, in order, each with a weight above 0.
    pub(crate) fn new(endpoints: &[Endpoint], usable: Vec<usize>) -> Self {
        let weights: Vec<u32> = usable
            .iter()
            .map(|index| endpoints[*index].weight)
            .collect();
        let cumulative = weights
            .iter()
            .scan(0, |sum, weight| {
                *sum += u64::from(*weight);
                Some(*sum)
            })
            .collect();
        let heaviest = weights.iter().copied().max().unwrap_or_default();
        let mut turn = Self {
            credit: vec![0; usable.len()],
            usable,
            cumulative,
            pace: u64::from(heaviest) * RESOLUTION,
            even: weights.windows(2).all(|pair| pair[0] == pair[1]),
            weights,
            ..Self::nobody()
        };
        if !turn.even {
            turn.due = (0..turn.len())
                .map(|place| Reverse((turn.interval(place), place)))
                .collect();
        }
        turn
    }

    /// This new turn, where `before` left off. `was` is the index that an endpoint had there.
    pub(crate) fn moved_from(
        mut self,
        before: &Self,
        was: impl Fn(usize) -> Option<usize>,
    ) -> Self {
        // Old index to the place in the new turn.
        let mut to_new = vec![None; before.usable.last().map_or(0, |last| last + 1)];
        for (place, index) in self.usable.iter().enumerate() {
            if let Some(old) = was(*index).and_then(|old| to_new.get_mut(old)) {
                *old = Some(place);
            }
        }
        let order =
            (0..before.len()).map(|step| before.usable[(before.next + step) % before.len()]);
        self.next = order.flat_map(|old| to_new[old]).next().unwrap_or_default();
        self.started = before.started;
        self.keep_due(before, &to_new);
        self
    }

    /// Endpoints that were there keep how far they are through their interval; others wait a whole one.
    fn keep_due(&mut self, old: &Self, to_new: &[Option<usize>]) {
        let Some(Reverse((now, _))) = old.due.peek().copied() else {
            return;
        };
        let mut due: Vec<u64> = (0..self.len()).map(|place| self.interval(place)).collect();
        for Reverse((at, place)) in &old.due {
            if let Some(new) = to_new[old.usable[*place]] {
                let left = u128::from(at - now) * u128::from(self.interval(new))
                    / u128::from(old.interval(*place).max(1));
                due[new] = left as u64;
            }
        }
        if !self.even {
            self.due = due
                .into_iter()
                .enumerate()
                .map(|(place, at)| Reverse((at, place)))
                .collect();
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.usable.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.usable.is_empty()
    }

    /// Who is in it, by index.
    pub(crate) fn usable(&self) -> &[usize] {
        &self.usable
    }

    /// Sets whose turn is first, once. With different weights the intervals spread them already.
    pub(crate) const fn start(&mut self, rng: &mut Rng) {
        if !self.started {
            self.started = true;
            self.next = rng.below(self.usable.len() as u64) as usize;
        }
    }

    fn interval(&self, place: usize) -> u64 {
        self.pace / u64::from(self.weights[place].max(1))
    }

    /// The endpoint whose turn it is. There has to be one.
    pub(crate) fn next(&mut self) -> usize {
        let Some(Reverse((at, place))) = self.due.pop() else {
            let place = self.next;
            self.next = (place + 1) % self.len();
            return self.usable[place];
        };
        self.due.push(Reverse((at + self.interval(place), place)));
        if at > REBASE {
            self.rebase(at);
        }
        self.usable[place]
    }

    fn rebase(&mut self, now: u64) {
        let heap = std::mem::take(&mut self.due);
        let mut entries = heap.into_vec();
        for Reverse((at, _)) in &mut entries {
            *at -= now;
        }
        self.due = entries.into();
    }

    /// The next endpoint in order that is none of `tried`.
    pub(crate) fn next_but(&mut self, tried: &[usize]) -> Option<usize> {
        let count = self.len();
        let places = (0..count).map(|step| (self.next + step) % count);
        let place = places
            .into_iter()
            .find(|place| !tried.contains(&self.usable[*place]))?;
        self.next = (place + 1) % count;
        Some(self.usable[place])
    }

    /// One by chance, by weight. There has to be one.
    pub(crate) fn draw(&self, rng: &mut Rng) -> usize {
        let place = if self.even {
            rng.below(self.len() as u64) as usize
        } else {
            let point = rng.below(self.cumulative.last().copied().unwrap_or_default());
            self.cumulative.partition_point(|sum| *sum <= point)
        };
        self.usable[place]
    }

    /// The endpoint with the fewest of `active` for its weight, none of `tried`; among equals whose
    /// turn it is.
    pub(crate) fn next_of_least(&mut self, active: &[u32], tried: &[usize]) -> Option<usize> {
        let load = |turn: &Self, place: usize, other: usize| {
            u64::from(active[turn.usable[place]]) * u64::from(turn.weights[other])
        };
        let count = self.len();
        let mut best: Option<usize> = None;
        for place in (0..count).map(|step| (self.next + step) % count) {
            if tried.contains(&self.usable[place]) {
                continue;
            }
            let better = best.is_none_or(|best| {
                let (this, that) = (load(self, place, best), load(self, best, place));
                this < that || (this == that && self.owed(place) > self.owed(best))
            });
            if better {
                best = Some(place);
            }
        }
        let place = best?;
        self.next = (place + 1) % count;
        self.charge(place);
        Some(self.usable[place])
    }

    /// What the endpoint will have been given too little, if it is passed over once more.
    fn owed(&self, place: usize) -> i64 {
        self.credit[place] + i64::from(self.weights[place])
    }

    /// Books one request for `place`. With equal weights the order alone decides, and nothing is owed.
    fn charge(&mut self, place: usize) {
        if self.even {
            return;
        }
        let total = self.cumulative.last().copied().unwrap_or_default() as i64;
        for (credit, weight) in self.credit.iter_mut().zip(&self.weights) {
            // Bounded, so that an endpoint that was busy for long is not owed a burst.
            *credit = (*credit + i64::from(*weight)).clamp(-total, total);
        }
        self.credit[place] -= total;
    }
}
