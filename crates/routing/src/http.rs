//! What a route says of a call beyond where it goes: how long, how often, how it is answered.

use std::sync::Arc;
use std::time::Duration;

use crate::{Mutation, RetryPolicy};

/// What a client without a sidecar does with the calls of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAction {
    /// How long a call may take, with all its attempts. None: the route does not say; zero: no limit.
    pub timeout: Option<Duration>,
    /// When a call is tried again; None: what the virtual host says.
    pub retry: Option<Arc<RetryPolicy>>,
    /// The call is not sent anywhere: this is what the caller is told.
    pub answer: Option<Answer>,
    /// What a call that goes to the cluster at the same place changes; empty where none does.
    pub of_cluster: Box<[Mutations]>,
    /// Fields of the route that are valid and have no effect here (mirrors, rewrites, …), and why.
    pub notes: Box<[Arc<str>]>,
}

/// How a call is answered that goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Envoy's `direct_response`.
    Response {
        /// The HTTP status.
        status: u32,
        /// What the response says; may be empty.
        body: Arc<str>,
    },
    /// It asks for what a call cannot do (follow a redirect, say): an error with this reason.
    Refused(Arc<str>),
}

/// Changes of a request and of its reply, each to be made one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mutations {
    /// Done to the request before it is sent.
    pub request: Vec<Mutation>,
    /// Done to the reply before the caller sees it.
    pub response: Vec<Mutation>,
}

impl Mutations {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}
