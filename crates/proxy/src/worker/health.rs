//! What requests show of their endpoints, and what follows: ejections, and how much may be under way.
//!
//! Every worker judges by what it saw itself, as it balances: nothing is shared. Where a cluster asks for
//! no outlier detection, a request pays for one look at it.

use std::time::Duration;

use meltemi_balancer::Seen;

use super::Worker;
use crate::clock::Moment;
use crate::slots::Id;

impl Worker {
    /// Notes what was seen of an endpoint.
    #[inline]
    pub(super) fn saw(&mut self, number: u32, endpoint: Id, seen: Seen) {
        let watched = |entry: &crate::cluster::ClusterEntry| entry.balancer.detector().is_some();
        if self.cluster_of(number).is_some_and(watched) {
            self.judge(number, endpoint, seen);
        }
    }

    #[inline(never)]
    fn judge(&mut self, number: u32, endpoint: Id, seen: Seen) {
        let Some(entry) = self.endpoints.get(endpoint) else {
            return;
        };
        let Some(index) = entry.index else {
            return;
        };
        let now = since_start(self.clock.now());
        let cluster = &mut self.clusters[number as usize];
        if cluster.balancer.saw(index, seen, now, &mut self.rng) {
            crate::logging::info!("{} of '{}' is ejected", entry.address, cluster.name);
        }
        if let Some(check) = cluster.balancer.next_check() {
            self.check_at = self.check_at.min(Moment::default().after(check));
        }
    }

    /// Ends the intervals of outlier detection that are over.
    pub(super) fn check_endpoints(&mut self) {
        let now = self.clock.now();
        if now < self.check_at {
            return;
        }
        self.check_at = Moment::NEVER;
        for cluster in &mut self.clusters {
            if cluster.balancer.check(since_start(now), &mut self.rng) {
                let ejected = cluster.balancer.detector().map_or(0, |one| one.ejected());
                crate::logging::info!("{ejected} endpoints of '{}' are ejected now", cluster.name);
            }
            if let Some(check) = cluster.balancer.next_check() {
                self.check_at = self.check_at.min(Moment::default().after(check));
            }
        }
    }

    /// Counts a request among those that wait for a connection of its cluster; false: too many do, and
    /// it is answered.
    pub(super) fn may_wait(&mut self, id: Id) -> bool {
        let Some(request) = self.requests.get_mut(id) else {
            return false;
        };
        if request.pending {
            return true;
        }
        let cluster = &mut self.clusters[request.cluster as usize];
        let limits = cluster.cluster.as_ref().map(|cluster| &cluster.limits);
        if limits.is_none_or(|limits| limits.may_wait(cluster.pending)) {
            cluster.pending += 1;
            request.pending = true;
            return true;
        }
        let limit = limits.and_then(|limits| limits.max_pending_requests);
        self.too_many(id, "requests wait for a connection of", limit);
        false
    }

    /// Whether a request may go to its cluster beside those that are there; else it is answered.
    #[inline]
    pub(super) fn may_begin(&mut self, id: Id, number: u32) -> bool {
        let cluster = &self.clusters[number as usize];
        let limits = cluster.cluster.as_ref().map(|cluster| &cluster.limits);
        let Some(limit) = limits.and_then(|limits| limits.max_requests) else {
            return true;
        };
        let active = cluster.counters.upstream_rq_active + u64::from(cluster.pending);
        let admitted = |request: &crate::request::Request| request.pending;
        if active < u64::from(limit) || self.requests.get(id).is_some_and(admitted) {
            return true;
        }
        self.too_many(id, "requests are in flight to", Some(limit));
        false
    }

    fn too_many(&mut self, id: Id, what: &str, limit: Option<u32>) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let cluster = &mut self.clusters[request.cluster as usize];
        cluster.counters.upstream_rq_pending_overflow += 1;
        let limit = limit.unwrap_or_default();
        let message = format!("too many {what} '{}', at most {limit}", cluster.name);
        self.fail(id, meltemi_codec::ErrorKind::Overflow, &message);
    }

    /// Counts a request among those that are tried again after they were sent; false: too many are.
    pub(super) fn may_retry(&mut self, id: Id) -> bool {
        let Some(request) = self.requests.get_mut(id) else {
            return false;
        };
        if request.retrying {
            return true;
        }
        let cluster = &mut self.clusters[request.cluster as usize];
        let active = cluster.counters.upstream_rq_active as u32 + cluster.pending;
        let limits = cluster.cluster.as_ref().map(|cluster| &cluster.limits);
        if limits.is_none_or(|limits| limits.may_retry(cluster.retries, active)) {
            cluster.retries += 1;
            request.retrying = true;
            return true;
        }
        cluster.counters.upstream_rq_retry_overflow += 1;
        false
    }

    /// A request waits no more: it has its connection, or is over.
    #[inline]
    pub(super) fn waits_no_more(&mut self, id: Id) {
        if let Some(request) = self.requests.get_mut(id)
            && request.pending
        {
            request.pending = false;
            self.clusters[request.cluster as usize].pending -= 1;
        }
    }

    /// A request is over, and so is what was counted of it.
    #[inline]
    pub(super) fn no_more_of(&mut self, id: Id) {
        self.waits_no_more(id);
        if let Some(request) = self.requests.get_mut(id)
            && request.retrying
        {
            request.retrying = false;
            self.clusters[request.cluster as usize].retries -= 1;
        }
    }
}

const fn since_start(moment: Moment) -> Duration {
    Duration::from_micros(moment.0)
}
