//! What a peer did wrong, and what Meltemi answers when it answers itself.

use std::fmt;

/// The peer's bytes are not what the protocol allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not this protocol, or broken.
    Invalid {
        /// Byte of the frame where it was seen.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A frame larger than the limit; said on the declared length, before the body was read.
    TooLarge {
        /// Bytes declared, or read so far.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Deeper, or with more elements, than the limits.
    TooComplex {
        /// Byte of the frame where it was seen.
        at: usize,
        /// Which limit.
        reason: &'static str,
    },
}

impl DecodeError {
    /// The same, so many bytes further behind.
    pub(crate) const fn shifted(self, by: usize) -> Self {
        match self {
            Self::Invalid { at, reason } => Self::Invalid {
                at: at + by,
                reason,
            },
            Self::TooComplex { at, reason } => Self::TooComplex {
                at: at + by,
                reason,
            },
            Self::TooLarge { .. } => self,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { at, reason } | Self::TooComplex { at, reason } => {
                write!(f, "byte {at}: {reason}")
            }
            Self::TooLarge { bytes, limit } => {
                write!(
                    f,
                    "a frame of {bytes} bytes is larger than the limit of {limit}"
                )
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why Meltemi answers a request itself. The name stands in logs (`%RESPONSE_CODE_DETAILS%`) and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No route matches.
    RouteNotFound,
    /// The route names a cluster that does not exist (a host or a subset).
    ClusterNotFound,
    /// The cluster has no healthy endpoint.
    NoHealthyUpstream,
    /// No connection to an endpoint could be made.
    UpstreamConnectFailure,
    /// The upstream closed or broke the connection with the request in flight.
    UpstreamReset,
    /// The upstream's answer is no message of the protocol, or answers something else.
    BadResponse,
    /// No answer in time.
    Timeout,
    /// A limit on connections, requests or bytes is reached.
    Overflow,
    /// A rate limit.
    RateLimited,
    /// Authorization refuses.
    Denied,
    /// The rule asks for what is not supported, and going on without it would be unsafe.
    Unsupported,
}

impl ErrorKind {
    /// The name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RouteNotFound => "route_not_found",
            Self::ClusterNotFound => "cluster_not_found",
            Self::NoHealthyUpstream => "no_healthy_upstream",
            Self::UpstreamConnectFailure => "upstream_connect_failure",
            Self::UpstreamReset => "upstream_reset",
            Self::BadResponse => "bad_response",
            Self::Timeout => "timeout",
            Self::Overflow => "overflow",
            Self::RateLimited => "rate_limited",
            Self::Denied => "denied",
            Self::Unsupported => "unsupported",
        }
    }

    /// Envoy's response flag (`%RESPONSE_FLAGS%`, Istio's `response_flags` label).
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::RouteNotFound => "NR",
            Self::ClusterNotFound => "NC",
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamConnectFailure => "UF",
            Self::UpstreamReset => "UC",
            Self::BadResponse => "UPE",
            Self::Timeout => "UT",
            Self::Overflow => "UO",
            Self::RateLimited => "RL",
            Self::Denied => "UAEX",
            Self::Unsupported => "DPE",
        }
    }
}

/// An answer that Meltemi itself gives: its kind, and what happened where.
#[derive(Clone, Copy, Debug)]
pub struct LocalError<'a> {
    /// Why.
    pub kind: ErrorKind,
    /// A sentence for the caller: what happened, and where (cluster, endpoint, listener).
    pub message: &'a str,
}
