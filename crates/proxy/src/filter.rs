//! The seam of filters: what a request passes before it is routed.
//!
//! A filter sees the head of a request and lets it go on, answers it, or parks it: a parked request
//! owns its bytes and costs its worker nothing until somebody completes it through its [`Resume`].
//! A filter never blocks. Its configuration is compiled off the workers; each worker has an instance of
//! its own, so a filter needs no lock.

use std::sync::Arc;
use std::time::Duration;

use meltemi_codec::{ErrorKind, Frame, Protocol, Status};
use meltemi_routing::Attributes;

use crate::clock::Moment;
use crate::inbox::Inbox;
use crate::slots::Id;

/// Compiles what listeners say of one kind of filter.
pub trait FilterFactory: Send + Sync {
    /// The filter for the configuration as it came with a listener. Called off the workers, when a
    /// listener is new or says something else than before.
    ///
    /// # Errors
    /// What is wrong with it; the listener is then not opened.
    fn compile(&self, from: &Configuration<'_>) -> Result<Arc<dyn FilterConfig>, String>;
}

/// What a listener says of a filter.
#[derive(Clone, Copy, Debug)]
pub struct Configuration<'a> {
    /// The listener's `stat_prefix`: what is kept under it lives through changes of the listener.
    pub stat_prefix: &'a str,
    /// The type of the configuration; empty when there is none.
    pub type_url: &'a str,
    /// The serialized configuration.
    pub value: &'a [u8],
    /// Now, as time since the engine was started ([`RequestView::now`]).
    pub now: Duration,
}

/// A filter's configuration, compiled: what the workers share of it.
pub trait FilterConfig: Send + Sync {
    /// The filter of one worker.
    fn filter(&self) -> Box<dyn Filter>;

    /// Asked once; what it gives is dropped when no listener says this any more, though workers may
    /// still use the filter for a moment.
    fn in_force(&self) -> Option<Box<dyn Send>> {
        None
    }
}

impl<F: Fn() -> Box<dyn Filter> + Send + Sync> FilterConfig for F {
    fn filter(&self) -> Box<dyn Filter> {
        self()
    }
}

/// What a request passes before it is routed, on one worker.
pub trait Filter {
    /// A request came in.
    fn request(&mut self, request: &mut RequestView<'_>) -> Verdict;

    /// A request that was kept ([`RequestView::keep`]) was answered by its upstream: let the reply
    /// through, or send the request again. `attempts` counts the times it was sent.
    fn replied(&mut self, _status: Status, _attempts: u32) -> Again {
        Again::No
    }

    /// A request that was kept failed: let the error through, or send the request again.
    fn failed(&mut self, _error: ErrorKind, _attempts: u32) -> Again {
        Again::No
    }

    /// What it counted so far, by Envoy's dotted names. Never less than before.
    fn stats(&self, _visit: &mut dyn FnMut(&str, u64)) {}
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It is answered with this error.
    Answer {
        /// Why.
        kind: ErrorKind,
        /// A sentence for the caller.
        message: Arc<str>,
    },
    /// It waits until its [`Resume`] is completed; after `timeout` it is answered with an error.
    Park {
        /// How long.
        timeout: Duration,
    },
}

/// Whether a request is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No: the caller gets what there is.
    No,
    /// Yes, to another endpoint of the same cluster where there is one.
    Yes,
}

/// A request as a filter sees it.
pub struct RequestView<'a> {
    pub(crate) protocol: &'a dyn Protocol,
    pub(crate) frame: &'a Frame,
    pub(crate) head: &'a [u8],
    pub(crate) keep: bool,
    pub(crate) copy_to: Option<Arc<str>>,
    pub(crate) now: Moment,
    pub(crate) id: Id,
    pub(crate) inbox: &'a Arc<Inbox>,
}

impl RequestView<'_> {
    /// When the turn that serves the request began, as time since the engine was started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now.since(Moment::default())
    }

    /// The value of an attribute (name in lower case), as routing sees it.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&[u8]> {
        self.protocol.attribute(self.frame, self.head, name)
    }

    /// Keeps the request's bytes after it was sent, so that it can be sent again.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Sends a copy of the request to this cluster too; its reply is dropped.
    pub fn copy_to(&mut self, cluster: Arc<str>) {
        self.copy_to = Some(cluster);
    }

    /// What completes the request once it is parked, from any thread.
    #[must_use]
    pub fn resume(&self) -> Resume {
        Resume {
            id: self.id,
            inbox: Arc::clone(self.inbox),
        }
    }
}

impl Attributes for RequestView<'_> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.attribute(name)
    }
}

/// Completes a parked request. Dropping it without a call leaves the request to its timeout.
#[derive(Clone)]
pub struct Resume {
    id: Id,
    inbox: Arc<Inbox>,
}

impl Resume {
    /// The request goes on, or is answered. Of several calls the first counts; a call for a request
    /// that is over does nothing.
    pub fn complete(&self, verdict: Verdict) {
        self.inbox.send(crate::inbox::Command::Resume {
            request: self.id,
            verdict,
        });
    }
}
