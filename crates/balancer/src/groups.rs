//! The groups of endpoints that requests are spread over: priorities, and the localities in them.

use std::sync::Arc;

use crate::spread::{Level, Load, loads};
use crate::turn::Turn;
use crate::{Endpoint, Health, Locality, Rng, Spread};

/// Which endpoints of a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Healthy,
    Degraded,
    /// All that do not drain: in panic.
    All,
}

/// Endpoints among which the policy of the cluster chooses.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) priority: u32,
    pub(crate) kind: Kind,
    /// None: of any.
    locality: Option<Arc<Locality>>,
    pub(crate) turn: Turn,
    /// Its share, and those of the groups before it.
    until: u64,
}

impl Group {
    const fn nobody() -> Self {
        Self {
            priority: 0,
            kind: Kind::Healthy,
            locality: None,
            turn: Turn::nobody(),
            until: 0,
        }
    }
}

/// Every group that has somebody, in the order in which they are asked for another endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    /// The first one, or the only one with a share. Most clusters have no other.
    main: Group,
    rest: Vec<Group>,
    /// Whether several have a share.
    several: bool,
    /// Where the next request falls (a Weyl sequence: shares are exact after few requests).
    phase: u64,
}

/// One percent of the requests.
const PERCENT: u64 = 1 << 24;

/// The step of the Weyl sequence: 2^64 over the golden ratio.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// What the groups are made from.
pub(crate) struct Members<'a> {
    pub(crate) spread: Spread,
    pub(crate) endpoints: &'a [Endpoint],
    /// By endpoint: left out for now; empty when none is.
    pub(crate) ejected: &'a [bool],
    /// Localities share by their weights; else they are one.
    pub(crate) by_locality: bool,
}

impl Members<'_> {
    fn health(&self, index: usize) -> Health {
        let health = self.endpoints[index].health;
        let ejected = self.ejected.get(index).copied().unwrap_or_default();
        match health {
            Health::Healthy | Health::Degraded if ejected => Health::Unhealthy,
            health => health,
        }
    }

    fn is_in(&self, index: usize, kind: Kind) -> bool {
        match kind {
            Kind::Healthy => self.health(index) == Health::Healthy,
            Kind::Degraded => self.health(index) == Health::Degraded,
            Kind::All => self.health(index) != Health::Draining,
        }
    }

    /// The priorities that there are, each with its endpoints.
    fn priorities(&self) -> Vec<(u32, Vec<usize>)> {
        if self.endpoints.iter().all(|endpoint| endpoint.priority == 0) {
            return vec![(0, (0..self.endpoints.len()).collect())];
        }
        let mut all: Vec<u32> = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.priority)
            .collect();
        all.sort_unstable();
        all.dedup();
        let members = |priority: u32| {
            let of = |index: &usize| self.endpoints[*index].priority == priority;
            (0..self.endpoints.len()).filter(of).collect()
        };
        all.into_iter()
            .map(|priority| (priority, members(priority)))
            .collect()
    }

    fn level(&self, members: &[usize]) -> Level {
        let mut level = Level::default();
        for index in members {
            let weight = self.endpoints[*index].weight;
            level.hosts.add(weight);
            match self.health(*index) {
                Health::Healthy => level.healthy.add(weight),
                Health::Degraded => level.degraded.add(weight),
                Health::Unhealthy | Health::Draining => {}
            }
        }
        level
    }

    /// The groups of one kind of one priority, with their shares of `percent`.
    fn split(&self, priority: u32, members: &[usize], kind: Kind, percent: u32) -> Vec<Share> {
        let usable: Vec<usize> = members
            .iter()
            .copied()
            .filter(|index| self.is_in(*index, kind) && self.endpoints[*index].weight > 0)
            .collect();
        let whole = |usable| Share {
            priority,
            kind,
            locality: None,
            usable,
            share: u64::from(percent) * PERCENT,
        };
        // In panic, health decides nothing, and so localities do not either, as in Envoy.
        if !self.by_locality || kind == Kind::All {
            return vec![whole(usable)];
        }
        let weighed = self.localities(members, &usable);
        let total: f64 = weighed.iter().map(|(_, weight, _)| weight).sum();
        if total <= 0.0 {
            return vec![whole(usable)];
        }
        let part = |weight: f64| (f64::from(percent) * PERCENT as f64 * weight / total) as u64;
        let shares = weighed.into_iter().map(|(locality, weight, usable)| Share {
            locality: Some(locality),
            share: part(weight),
            ..whole(usable)
        });
        shares.collect()
    }

    /// The localities of a priority that have a weight and somebody in `usable`: with what they weigh for
    /// those of them that can be used, and who that is.
    fn localities(
        &self,
        members: &[usize],
        usable: &[usize],
    ) -> Vec<(Arc<Locality>, f64, Vec<usize>)> {
        let mut all: Vec<(&Arc<Locality>, u64, Vec<usize>)> = Vec::new();
        for index in members {
            let Some(locality) = &self.endpoints[*index].locality else {
                continue;
            };
            let known = all.iter().position(|(known, ..)| *known == locality);
            let at = known.unwrap_or_else(|| {
                all.push((locality, 0, Vec::new()));
                all.len() - 1
            });
            all[at].1 += 1;
        }
        for index in usable {
            let locality = self.endpoints[*index].locality.as_ref();
            if let Some(one) = all.iter_mut().find(|(known, ..)| Some(*known) == locality) {
                one.2.push(*index);
            }
        }
        let factor = f64::from(self.spread.overprovisioning) / 100.0;
        let weighed = all.into_iter().map(|(locality, hosts, usable)| {
            let available = (factor * usable.len() as f64 / hosts as f64).min(1.0);
            (
                Arc::clone(locality),
                f64::from(locality.weight) * available,
                usable,
            )
        });
        weighed.filter(|(_, weight, _)| *weight > 0.0).collect()
    }
}

/// A group to be.
struct Share {
    priority: u32,
    kind: Kind,
    locality: Option<Arc<Locality>>,
    usable: Vec<usize>,
    share: u64,
}

fn shares(members: &Members<'_>) -> Vec<Share> {
    let priorities = members.priorities();
    let levels: Vec<Level> = priorities.iter().map(|(_, of)| members.level(of)).collect();
    let loads: Vec<Load> = loads(&members.spread, &levels);
    let mut shares = Vec::new();
    for ((priority, of), load) in priorities.iter().zip(&loads) {
        let kind = if load.panic { Kind::All } else { Kind::Healthy };
        shares.extend(members.split(*priority, of, kind, load.healthy));
    }
    for ((priority, of), load) in priorities.iter().zip(&loads) {
        let kind = if load.panic {
            Kind::All
        } else {
            Kind::Degraded
        };
        if kind == Kind::Degraded || load.degraded > 0 {
            shares.extend(members.split(*priority, of, kind, load.degraded));
        }
    }
    shares.retain(|share| !share.usable.is_empty());
    shares
}

impl Groups {
    /// Nobody.
    pub(crate) const fn nobody() -> Self {
        Self {
            main: Group::nobody(),
            rest: Vec::new(),
            several: false,
            phase: 0,
        }
    }

    /// The groups of `members`, going on where `before` left off; `was` is the index that an endpoint had
    /// there.
    pub(crate) fn new(
        members: &Members<'_>,
        before: &Self,
        was: impl Fn(usize) -> Option<usize> + Copy,
    ) -> Self {
        let mut shares = shares(members);
        let with_share = shares.iter().filter(|share| share.share > 0).count();
        if with_share == 1
            && let Some(only) = shares.iter().position(|share| share.share > 0)
        {
            shares[..=only].rotate_right(1);
        }
        let mut until = 0;
        let mut groups = shares.into_iter().map(|share| {
            until += share.share;
            let like = before.like(&share);
            let turn = Turn::new(members.endpoints, share.usable);
            Group {
                priority: share.priority,
                kind: share.kind,
                locality: share.locality,
                turn: match like {
                    Some(group) => turn.moved_from(&group.turn, was),
                    None => turn,
                },
                until,
            }
        });
        Self {
            main: groups.next().unwrap_or_else(Group::nobody),
            rest: groups.collect(),
            several: with_share > 1,
            phase: before.phase,
        }
    }

    /// The group here that comes nearest to one.
    fn like(&self, share: &Share) -> Option<&Group> {
        let same =
            |group: &&Group| group.priority == share.priority && group.locality == share.locality;
        let exact = self
            .each()
            .filter(same)
            .find(|group| group.kind == share.kind);
        exact.or_else(|| self.each().find(same))
    }

    fn each(&self) -> impl Iterator<Item = &Group> {
        std::iter::once(&self.main).chain(&self.rest)
    }

    /// The group of the next request: by the request's hash, where there is one.
    #[inline]
    pub(crate) fn choose(&mut self, rng: &mut Rng, hash: Option<u64>) -> &mut Group {
        if self.several {
            self.choose_one(rng, hash)
        } else {
            &mut self.main
        }
    }

    #[inline(never)]
    fn choose_one(&mut self, rng: &mut Rng, hash: Option<u64>) -> &mut Group {
        let total = self.each().last().map_or(0, |group| group.until);
        let point = if let Some(hash) = hash {
            // Envoy's: the hash decides the priority by its whole percent.
            (hash % 100) * (total / 100)
        } else {
            if self.phase == 0 {
                self.phase = rng.next_u64();
            }
            self.phase = self.phase.wrapping_add(STEP);
            ((u128::from(self.phase) * u128::from(total)) >> 64) as u64
        };
        if point < self.main.until {
            return &mut self.main;
        }
        let at = self.rest.partition_point(|group| group.until <= point);
        self.rest.get_mut(at).unwrap_or(&mut self.main)
    }

    /// Another endpoint, none of `tried`, the first groups first.
    #[cold]
    pub(crate) fn other(&mut self, tried: &[usize]) -> Option<usize> {
        let main = self.main.turn.next_but(tried);
        main.or_else(|| {
            self.rest
                .iter_mut()
                .find_map(|group| group.turn.next_but(tried))
        })
    }

    /// What each group has: priority, endpoints, share of all requests.
    pub(crate) fn shares(&self) -> impl Iterator<Item = (u32, &[usize], f64)> {
        let total = self.each().last().map_or(0, |group| group.until).max(1) as f64;
        let mut before = 0;
        self.each().map(move |group| {
            let share = (group.until - before) as f64 / total;
            before = group.until;
            (group.priority, group.turn.usable(), share)
        })
    }
}
