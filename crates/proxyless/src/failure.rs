//! How an attempt can fail, in Envoy's and gRPC's words, and whether a policy then tries again.

use meltemi_balancer::Seen;
use meltemi_routing::{RetryOn, RetryPolicy};

/// What went wrong with one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection came about: nothing was sent.
    ConnectFailure,
    /// The connection ended before anything was sent on it.
    ResetBeforeRequest,
    /// The connection ended before the reply.
    Reset,
    /// The reply did not come in time.
    Timeout,
    /// A reply came, and its HTTP status says that the endpoint failed.
    Status,
    /// The endpoint refused the stream without having looked at it.
    RefusedStream,
    /// A reply came with this gRPC status.
    Grpc(Grpc),
}

/// A gRPC status: its place in [`GRPC`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grpc(u8);

/// What each word stands for; the words of gRPC's statuses are in [`GRPC`].
const WORDS: [(&str, Failure); 6] = [
    ("connect-failure", Failure::ConnectFailure),
    ("reset-before-request", Failure::ResetBeforeRequest),
    ("reset", Failure::Reset),
    ("timeout", Failure::Timeout),
    ("status", Failure::Status),
    ("refused-stream", Failure::RefusedStream),
];

/// The word of each gRPC status, the HTTP status that stands for it in outlier detection (as in
/// Envoy), and the condition of a retry policy that is about it.
const GRPC: [(&str, u32, Option<RetryOn>); 16] = [
    ("cancelled", 499, Some(RetryOn::CANCELLED)),
    ("unknown", 500, None),
    ("invalid-argument", 400, None),
    ("deadline-exceeded", 504, Some(RetryOn::DEADLINE_EXCEEDED)),
    ("not-found", 404, None),
    ("already-exists", 409, None),
    ("permission-denied", 403, None),
    ("resource-exhausted", 429, Some(RetryOn::RESOURCE_EXHAUSTED)),
    ("failed-precondition", 400, None),
    ("aborted", 409, None),
    ("out-of-range", 400, None),
    ("unimplemented", 501, None),
    ("internal", 500, Some(RetryOn::INTERNAL)),
    ("unavailable", 503, Some(RetryOn::UNAVAILABLE)),
    ("data-loss", 500, None),
    ("unauthenticated", 401, None),
];

/// Conditions that hold whenever there was no reply, whatever was the reason.
const NO_REPLY: [RetryOn; 3] = [RetryOn::RESET, RetryOn::FIVE_XX, RetryOn::GATEWAY_ERROR];

impl Failure {
    /// The failure that `word` stands for: `connect-failure`, `unavailable`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let named = WORDS.iter().find(|(name, _)| *name == word);
        named.map(|(_, failure)| *failure).or_else(|| {
            let place = GRPC.iter().position(|(name, ..)| *name == word)?;
            Some(Self::Grpc(Grpc(place as u8)))
        })
    }

    /// Every word that [`Failure::parse`] knows.
    pub fn words() -> impl Iterator<Item = &'static str> {
        let own = WORDS.iter().map(|(name, _)| *name);
        own.chain(GRPC.iter().map(|(name, ..)| *name))
    }

    /// Whether the endpoint cannot have seen the request: it may go to another one, whatever it does.
    #[must_use]
    pub const fn is_unsent(self) -> bool {
        matches!(self, Self::ConnectFailure | Self::ResetBeforeRequest)
    }

    /// Whether a reply came.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Status | Self::Grpc(_))
    }

    /// What outlier detection makes of it.
    pub(crate) fn seen(self, status: Option<u32>) -> Seen {
        match self {
            Self::ConnectFailure | Self::ResetBeforeRequest | Self::Reset | Self::RefusedStream => {
                Seen::ConnectFailed
            }
            Self::Timeout => Seen::Timeout,
            Self::Status => Seen::status(status.unwrap_or(500)),
            Self::Grpc(Grpc(place)) => Seen::status(GRPC[usize::from(place)].1),
        }
    }

    /// Whether `policy` tries again after it; `status` is what [`Failure::Status`] is about.
    #[must_use]
    pub fn is_retriable(self, policy: &RetryPolicy, status: Option<u32>) -> bool {
        let on = policy.on;
        let any = |all: &[RetryOn]| all.iter().any(|one| on.has(*one));
        match self {
            Self::ConnectFailure => {
                any(&NO_REPLY) || any(&[RetryOn::CONNECT_FAILURE, RetryOn::RESET_BEFORE_REQUEST])
            }
            Self::ResetBeforeRequest => any(&NO_REPLY) || on.has(RetryOn::RESET_BEFORE_REQUEST),
            Self::RefusedStream => any(&NO_REPLY) || on.has(RetryOn::REFUSED_STREAM),
            Self::Reset | Self::Timeout => any(&NO_REPLY),
            Self::Status => status.is_some_and(|status| is_retriable_status(policy, status)),
            // The reply of a call by gRPC has HTTP status 200, whatever happened.
            Self::Grpc(Grpc(place)) => {
                let condition = GRPC[usize::from(place)].2;
                condition.is_some_and(|condition| on.has(condition))
            }
        }
    }
}

fn is_retriable_status(policy: &RetryPolicy, status: u32) -> bool {
    let on = policy.on;
    (on.has(RetryOn::FIVE_XX) && (500..600).contains(&status))
        || (on.has(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status))
        || (on.has(RetryOn::RETRIABLE_4XX) && status == 409)
        || (on.has(RetryOn::RETRIABLE_STATUS_CODES) && policy.statuses.contains(&status))
}
