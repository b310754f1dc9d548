//! The seam of filters: what a request passes before it is routed.
//!
//! A filter sees the head of a request and lets it go on, answers it, or parks it: a parked request
//! owns its bytes and costs its worker nothing until somebody completes it through its [`Resume`].
//! A filter never blocks. Each worker has an instance of its own, so a filter needs no lock.

use std::sync::Arc;
use std::time::Duration;

use meltemi_codec::{ErrorKind, Frame, Protocol, Status};

use crate::inbox::Inbox;
use crate::slots::Id;

/// Makes the filter of a listener for one worker.
pub trait FilterFactory: Send + Sync {
    /// A filter for the configuration as it came with the listener.
    ///
    /// # Errors
    /// What is wrong with it; the listener is then not opened.
    fn create(&self, type_url: &str, value: &[u8]) -> Result<Box<dyn Filter>, String>;
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
        message: String,
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
    pub(crate) id: Id,
    pub(crate) inbox: &'a Arc<Inbox>,
}

impl RequestView<'_> {
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
