//! Circuit breakers: how much may be under way to a cluster at once.

/// What may be under way to a cluster, in one worker of the sidecar or one client. None: no limit; so
/// also where the control plane says nothing (Envoy then has limits of its own).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CircuitBreakers {
    /// Connections.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// Requests, those that wait included.
    pub max_requests: Option<u32>,
    /// Requests that are being tried again.
    pub max_retries: Option<u32>,
    /// Takes the place of `max_retries`.
    pub retry_budget: Option<RetryBudget>,
}

/// How many requests may be tried again at once, by how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RetryBudget {
    /// Hundredths of a percent of the requests that are under way or wait: 2,000 is 20 %.
    pub budget_basis_points: u32,
    /// So many always.
    pub min_retry_concurrency: u32,
}

impl Default for RetryBudget {
    /// Envoy's: 20 %, and always 3.
    fn default() -> Self {
        Self {
            budget_basis_points: 2_000,
            min_retry_concurrency: 3,
        }
    }
}

impl RetryBudget {
    /// How many may be tried again at once while `requests` are under way or wait.
    #[must_use]
    pub const fn retries(&self, requests: u32) -> u32 {
        let share = requests as u64 * self.budget_basis_points as u64 / 10_000;
        // More than all of them cannot be tried again.
        let share = if share > u32::MAX as u64 {
            u32::MAX
        } else {
            share as u32
        };
        if share > self.min_retry_concurrency {
            share
        } else {
            self.min_retry_concurrency
        }
    }
}

impl CircuitBreakers {
    /// Whether one more connection may be opened beside `connections`.
    #[must_use]
    pub const fn may_connect(&self, connections: u32) -> bool {
        is_below(connections, self.max_connections)
    }

    /// Whether one more request may wait for a connection beside `pending`.
    #[must_use]
    pub const fn may_wait(&self, pending: u32) -> bool {
        is_below(pending, self.max_pending_requests)
    }

    /// Whether one more request may begin beside `requests`.
    #[must_use]
    pub const fn may_begin(&self, requests: u32) -> bool {
        is_below(requests, self.max_requests)
    }

    /// Whether one more request may be tried again beside `retries`, of `requests` altogether.
    #[must_use]
    pub const fn may_retry(&self, retries: u32, requests: u32) -> bool {
        match &self.retry_budget {
            Some(budget) => retries < budget.retries(requests),
            None => is_below(retries, self.max_retries),
        }
    }
}

const fn is_below(number: u32, limit: Option<u32>) -> bool {
    match limit {
        Some(limit) => number < limit,
        None => true,
    }
}
