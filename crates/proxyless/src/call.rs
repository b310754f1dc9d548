//! One call: attempts at endpoints of one cluster until a reply comes or nothing is left to try.

use std::sync::Arc;
use std::time::Duration;

use meltemi_balancer::{Peer, Seen};
use meltemi_resources::Marks;
use meltemi_routing::{CompiledRoute, Mutation, RetryPolicy, VirtualHost};

use crate::Failure;
use crate::lanes::Standing;
use crate::upstream::{Live, Picked, Place, Upstream};

/// What was decided for a call: the same for all of its attempts.
#[derive(Debug)]
pub(crate) struct Decision {
    /// None for the routes of a Thrift or TCP proxy.
    pub(crate) host: Option<Arc<VirtualHost>>,
    pub(crate) route: Arc<CompiledRoute>,
    /// The place of the cluster among the route's.
    pub(crate) cluster: usize,
    /// When the call is tried again; None also for a request that its policy is not about.
    pub(crate) retry: Option<Arc<RetryPolicy>>,
    pub(crate) hash: Option<u64>,
}

/// One call, its endpoint picked. Each attempt ends with [`Call::succeeded`], [`Call::failed`] or
/// [`Call::abandoned`], which a dropped call does by itself.
#[derive(Debug)]
pub struct Call<F> {
    decision: Decision,
    upstream: Arc<Upstream<F>>,
    place: Arc<Place<F>>,
    peer: Option<Arc<Peer>>,
    standing: Standing,
    /// The first leak of its lane and service, to be told.
    leak: Option<String>,
    /// Marks of lanes that its request must not have, because it leaves the mesh, and what takes them out.
    unmarked: Option<Arc<Marks>>,
    unmarking: Vec<Mutation>,
    /// Endpoints of earlier attempts.
    tried: Vec<Arc<Place<F>>>,
    attempt: u32,
    /// Attempts that the retry policy gave.
    retries: u32,
    /// Whether this attempt counts among the cluster's retries.
    is_retry: bool,
    over: bool,
    deadline: Option<Duration>,
}

impl<F> Call<F> {
    pub(crate) fn new(
        decision: Decision,
        upstream: Arc<Upstream<F>>,
        picked: Picked<F>,
        now: Duration,
    ) -> Self {
        let timeout = timeout(&decision.route).filter(|timeout| !timeout.is_zero());
        Self {
            upstream,
            place: picked.place,
            peer: picked.peer,
            standing: picked.standing,
            leak: None,
            unmarked: picked.unmarked,
            unmarking: Vec::new(),
            tried: Vec::new(),
            attempt: 0,
            retries: 0,
            is_retry: false,
            over: false,
            deadline: timeout.map(|timeout| now.saturating_add(timeout)),
            decision,
        }
    }

    /// The endpoint of the attempt that is made now; of the last one when the call is over.
    #[must_use]
    pub const fn place(&self) -> &Arc<Place<F>> {
        &self.place
    }

    /// The workload behind it, where it is known.
    #[must_use]
    pub const fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// The name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &Arc<str> {
        &self.decision.route.clusters.names()[self.decision.cluster]
    }

    /// The lane that the call asks for, by its mark or by a route that says so.
    #[must_use]
    pub fn mark(&self) -> Option<&Arc<str>> {
        self.upstream.lane.as_ref()?.of.mark()
    }

    /// Whose instance the endpoint is: a lane's name, or `baseline`. None where its host has no lanes.
    #[must_use]
    pub fn lane(&self) -> Option<&Arc<str>> {
        let own = self.upstream.lane.as_ref().map(|lane| &lane.of.lane);
        self.standing.lane.as_ref().or(own)
    }

    /// The first leak of a lane and service: a sentence for a log, given once.
    pub const fn take_leak(&mut self) -> Option<String> {
        self.leak.take()
    }

    /// The name of the route; may be empty.
    #[must_use]
    pub fn route(&self) -> &Arc<str> {
        &self.decision.route.name
    }

    /// How many attempts were made before this one.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long the whole call may take. None: its route does not say; zero: as long as it likes.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        timeout(&self.decision.route)
    }

    /// How long one attempt may take, where the retry policy says it.
    #[must_use]
    pub fn per_try_timeout(&self) -> Option<Duration> {
        self.decision.retry.as_ref()?.per_try_timeout
    }

    /// Whether its request goes out of the mesh, where nobody is to see the marks of lanes: then it has to be
    /// told its headers ([`Call::unmark`]).
    #[must_use]
    pub const fn leaves_mesh(&self) -> bool {
        self.unmarked.is_some()
    }

    /// Says the headers of its request; [`Call::request_changes`] take the marks out of them that must not
    /// leave the mesh.
    pub fn unmark<'h>(&mut self, headers: impl Iterator<Item = (&'h str, &'h str)> + Clone) {
        if let Some(marks) = &self.unmarked {
            self.unmarking = marks.changes(headers);
        }
    }

    /// What is changed in the request, one after the other.
    pub fn request_changes(&self) -> impl Iterator<Item = &Mutation> {
        let Decision {
            host,
            route,
            cluster,
            ..
        } = &self.decision;
        let of_host = host
            .iter()
            .flat_map(|host| host.request_changes(route, *cluster));
        let alone = host.is_none().then_some(&route.request_mutation);
        let of_route = of_host.chain(alone.into_iter().flatten());
        self.unmarking.iter().chain(of_route)
    }

    /// What is changed in the reply.
    pub fn response_changes(&self) -> impl Iterator<Item = &Mutation> {
        let Decision {
            host,
            route,
            cluster,
            ..
        } = &self.decision;
        let of_host = host
            .iter()
            .flat_map(|host| host.response_changes(route, *cluster));
        let alone = host.is_none().then_some(&route.response_mutation);
        of_host.chain(alone.into_iter().flatten())
    }

    /// Whether it ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// A reply came, with this HTTP status where the protocol has one; the call is over. A status of
    /// 5xx counts against the endpoint.
    pub fn succeeded(&mut self, status: Option<u32>, now: Duration) {
        if !self.over {
            self.count(true);
        }
        self.finish(Some(status.map_or(Seen::Success, Seen::status)), now);
    }

    /// The caller left; the call is over, and nothing is held against the endpoint.
    pub fn abandoned(&mut self) {
        self.finish(None, Duration::ZERO);
    }

    /// Ends the call without a trace: in a forked process, where whoever held a lock is not.
    pub const fn forget(&mut self) {
        self.over = true;
    }

    fn finish(&mut self, seen: Option<Seen>, now: Duration) {
        if !std::mem::replace(&mut self.over, true) {
            let mut live = self.upstream.live();
            live.end(&self.place, seen, self.is_retry, now);
        }
    }

    /// The attempt failed. How long to wait before the next one, whose endpoint is picked then; None:
    /// there is none, and the call is over. `status` is that of the reply, where there was one.
    ///
    /// A request that no endpoint can have seen goes to each of the others at once, whatever the route
    /// says, as in the sidecar. Otherwise its retry policy decides, and the cluster's limit of retries.
    pub fn failed(
        &mut self,
        failure: Failure,
        status: Option<u32>,
        now: Duration,
    ) -> Option<Duration> {
        if self.over {
            return None;
        }
        let wait = self.again(failure, status, now);
        if wait.is_none() {
            self.count(failure.is_answer());
        }
        wait
    }

    /// Ends the attempt; how long to wait before the next one, where there is one.
    fn again(&mut self, failure: Failure, status: Option<u32>, now: Duration) -> Option<Duration> {
        let upstream = Arc::clone(&self.upstream);
        let mut live = upstream.live();
        live.end(&self.place, Some(failure.seen(status)), self.is_retry, now);
        self.is_retry = false;
        self.over = true;
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return None;
        }
        live.look(now);
        self.tried.push(Arc::clone(&self.place));
        if failure.is_unsent()
            && let Some(picked) = live.pick(&self.tried, self.decision.hash)
        {
            self.next(picked);
            return Some(Duration::ZERO);
        }
        let (wait, picked) = self.by_policy(&mut live, failure, status, now)?;
        self.retries += 1;
        live.retried();
        self.is_retry = true;
        self.next(picked);
        Some(wait)
    }

    /// The call is over: its lane counts it.
    fn count(&mut self, answered: bool) {
        let Some(counts) = &self.upstream.lane else {
            return;
        };
        if !answered {
            return counts.failed();
        }
        let Standing { stands, leaks, .. } = self.standing;
        counts.answered(stands, leaks);
        if leaks && counts.is_news() {
            let answered_by = self.lane().map_or("", |lane| lane);
            self.leak = Some(counts.of.leak(answered_by));
        }
    }

    fn next(&mut self, picked: Picked<F>) {
        self.place = picked.place;
        self.peer = picked.peer;
        self.standing = picked.standing;
        self.attempt += 1;
        self.over = false;
    }

    fn by_policy(
        &self,
        live: &mut Live<F>,
        failure: Failure,
        status: Option<u32>,
        now: Duration,
    ) -> Option<(Duration, Picked<F>)> {
        let policy = self.decision.retry.as_ref()?;
        if self.retries >= policy.num_retries
            || !failure.is_retriable(policy, status)
            || !live.may_retry()
        {
            return None;
        }
        let wait = wait(policy, self.retries + 1, live.rng.next_u64());
        if self
            .deadline
            .is_some_and(|deadline| deadline <= now.saturating_add(wait))
        {
            return None;
        }
        // A key stays with its endpoint, unless the policy wants another one.
        let may_stay = self.decision.hash.is_some() && !policy.previous_hosts;
        let tried = if may_stay { &[][..] } else { &self.tried };
        let picked = live.pick(tried, self.decision.hash);
        let picked = picked.or_else(|| live.pick(&[], self.decision.hash))?;
        Some((wait, picked))
    }
}

impl<F> Drop for Call<F> {
    fn drop(&mut self) {
        self.abandoned();
    }
}

fn timeout(route: &CompiledRoute) -> Option<Duration> {
    route.http.as_ref()?.timeout
}

/// How long to wait before the retry `number`, from 1: up to 2^number - 1 base intervals, evenly by
/// `chance`, and no longer than the policy's longest (Envoy's fully jittered backoff).
fn wait(policy: &RetryPolicy, number: u32, chance: u64) -> Duration {
    let intervals = 1_u32
        .checked_shl(number)
        .map_or(u32::MAX, |power| power - 1);
    let longest = policy
        .base_interval
        .saturating_mul(intervals)
        .min(policy.max_interval);
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(chance) * u128::from(nanos)) >> 64) as u64)
}
