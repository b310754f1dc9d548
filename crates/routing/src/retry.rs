//! When and how a call is tried again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{AttributeMatch, Attributes, FirstMatch, MatchError};

/// Envoy's `retry_policy`, with its defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// What has to have happened.
    pub on: RetryOn,
    /// Attempts after the first one.
    pub num_retries: u32,
    /// How long one attempt may take; None: as long as the call.
    pub per_try_timeout: Option<Duration>,
    /// HTTP statuses that [`RetryOn::RETRIABLE_STATUS_CODES`] is about.
    pub statuses: Box<[u32]>,
    /// Replies that [`RetryOn::RETRIABLE_HEADERS`] is about.
    pub reply_headers: AnyMatch,
    /// Requests that may be tried again; of no condition at all: every request.
    pub request_headers: AnyMatch,
    /// What the wait before the first retry is drawn from: up to this long; doubled with each retry.
    pub base_interval: Duration,
    /// The longest that a wait is drawn from.
    pub max_interval: Duration,
    /// Endpoints that were tried are left out where there are others.
    pub previous_hosts: bool,
    /// How often an endpoint is picked anew because it was tried already.
    pub host_selection_max_attempts: u32,
}

impl RetryPolicy {
    /// Envoy's default for `num_retries`.
    pub const NUM_RETRIES: u32 = 1;
    /// Envoy's default for `retry_back_off.base_interval`.
    pub const BASE_INTERVAL: Duration = Duration::from_millis(25);
    /// The longest interval is this many base intervals, where nothing is said.
    pub const MAX_OVER_BASE: u32 = 10;
    /// Envoy's default for `host_selection_retry_max_attempts`.
    pub const HOST_SELECTION_MAX_ATTEMPTS: u32 = 1;
}

/// A set of Envoy's retry conditions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RetryOn(u32);

/// Names as in `retry_on`, for HTTP and for gRPC.
const NAMES: [(&str, RetryOn); 16] = [
    ("5xx", RetryOn::FIVE_XX),
    ("gateway-error", RetryOn::GATEWAY_ERROR),
    ("reset", RetryOn::RESET),
    ("reset-before-request", RetryOn::RESET_BEFORE_REQUEST),
    ("connect-failure", RetryOn::CONNECT_FAILURE),
    ("envoy-ratelimited", RetryOn::ENVOY_RATELIMITED),
    ("retriable-4xx", RetryOn::RETRIABLE_4XX),
    ("refused-stream", RetryOn::REFUSED_STREAM),
    ("retriable-status-codes", RetryOn::RETRIABLE_STATUS_CODES),
    ("retriable-headers", RetryOn::RETRIABLE_HEADERS),
    (
        "http3-post-connect-failure",
        RetryOn::HTTP3_POST_CONNECT_FAILURE,
    ),
    ("cancelled", RetryOn::CANCELLED),
    ("deadline-exceeded", RetryOn::DEADLINE_EXCEEDED),
    ("internal", RetryOn::INTERNAL),
    ("resource-exhausted", RetryOn::RESOURCE_EXHAUSTED),
    ("unavailable", RetryOn::UNAVAILABLE),
];

impl RetryOn {
    /// Any status of 500 and above, no reply at all, and everything that this implies.
    pub const FIVE_XX: Self = Self(1);
    /// 502, 503 and 504.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// No reply: the connection ended, or time did.
    pub const RESET: Self = Self(1 << 2);
    /// The connection ended before the request was sent.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    /// No connection came about.
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    /// A reply with `x-envoy-ratelimited`.
    pub const ENVOY_RATELIMITED: Self = Self(1 << 5);
    /// 409.
    pub const RETRIABLE_4XX: Self = Self(1 << 6);
    /// The other side refused the stream without having looked at it.
    pub const REFUSED_STREAM: Self = Self(1 << 7);
    /// One of [`RetryPolicy::statuses`].
    pub const RETRIABLE_STATUS_CODES: Self = Self(1 << 8);
    /// A reply with one of [`RetryPolicy::reply_headers`].
    pub const RETRIABLE_HEADERS: Self = Self(1 << 9);
    /// HTTP/3 only.
    pub const HTTP3_POST_CONNECT_FAILURE: Self = Self(1 << 10);
    /// gRPC status 1.
    pub const CANCELLED: Self = Self(1 << 11);
    /// gRPC status 4.
    pub const DEADLINE_EXCEEDED: Self = Self(1 << 12);
    /// gRPC status 13.
    pub const INTERNAL: Self = Self(1 << 13);
    /// gRPC status 8.
    pub const RESOURCE_EXHAUSTED: Self = Self(1 << 14);
    /// gRPC status 14.
    pub const UNAVAILABLE: Self = Self(1 << 15);

    /// The conditions of a `retry_on`, separated by commas. As in Envoy, other words say nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split(',')
            .map(str::trim)
            .fold(Self::default(), |all, word| {
                let named = NAMES.iter().find(|(name, _)| *name == word);
                named.map_or(all, |(_, one)| Self(all.0 | one.0))
            })
    }

    /// Whether there is any of `other` in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of the conditions in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = NAMES.into_iter().filter(move |(_, one)| self.has(*one));
        named.map(|(name, _)| name)
    }
}

impl fmt::Debug for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Conditions of which one is enough.
#[derive(Clone, Debug, Default)]
pub struct AnyMatch {
    wanted: Vec<AttributeMatch>,
    compiled: Option<Arc<FirstMatch>>,
}

impl AnyMatch {
    /// Compiles `wanted`.
    ///
    /// # Errors
    /// Every condition that cannot be compiled.
    pub fn new(wanted: Vec<AttributeMatch>) -> Result<Self, Vec<MatchError>> {
        let compiled = if wanted.is_empty() {
            None
        } else {
            Some(Arc::new(FirstMatch::new(
                wanted.iter().map(std::slice::from_ref),
            )?))
        };
        Ok(Self { wanted, compiled })
    }

    /// The conditions.
    #[must_use]
    pub fn wanted(&self) -> &[AttributeMatch] {
        &self.wanted
    }

    /// Whether one of them holds; false where there is none.
    #[must_use]
    pub fn holds(&self, attributes: &impl Attributes) -> bool {
        let compiled = self.compiled.as_ref();
        compiled.is_some_and(|compiled| compiled.select(attributes).is_some())
    }
}

impl PartialEq for AnyMatch {
    fn eq(&self, other: &Self) -> bool {
        self.wanted == other.wanted
    }
}

impl Eq for AnyMatch {}
