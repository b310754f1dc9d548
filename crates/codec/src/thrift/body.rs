//! Whether a message is all of its frame, found out as the bytes pass.
//!
//! The walk goes over one piece after the other. Only the head of a value can be cut in two: its bytes
//! are kept, and tried again with what comes behind them. Everything else is passed over, so the check
//! takes no more memory for a large frame than for a small one, and finds what it would find in the
//! whole frame.

use super::format::Encoding;
use super::message::TOO_LONG;
use super::skip::Skip;
use super::wire::invalid;
use crate::{DecodeError, Limits};

/// Bytes of the longest head of a value, less one: a field of the compact protocol has its type in one
/// byte and its id in ten, and a number there is ten more.
const KEPT: usize = 20;

/// A body on its way.
#[derive(Debug)]
pub(super) struct Body {
    encoding: Encoding,
    /// Bytes of the frame; 0: there is nothing to check.
    len: usize,
    /// Bytes of it that were seen.
    seen: usize,
    /// The last of them, from where the walk stands.
    kept: [u8; KEPT],
}

impl Default for Body {
    fn default() -> Self {
        Self {
            encoding: Encoding::Strict,
            len: 0,
            seen: 0,
            kept: [0; KEPT],
        }
    }
}

impl Body {
    /// Begins with a frame of `len` bytes, of which nothing was seen yet. The walk begins behind its head.
    pub(super) const fn begin(&mut self, len: usize, encoding: Encoding) {
        self.encoding = encoding;
        self.len = len;
        self.seen = 0;
    }

    /// Lets pass what comes.
    pub(super) const fn end(&mut self) {
        self.len = 0;
        self.seen = 0;
    }

    /// What is new in `bytes`, which `left` bytes of the frame come behind.
    pub(super) fn unseen<'b>(&self, bytes: &'b [u8], left: usize) -> Result<&'b [u8], DecodeError> {
        let start = self.len.saturating_sub(left).saturating_sub(bytes.len());
        if start > self.seen {
            return Err(invalid(self.seen, "bytes that were not checked"));
        }
        Ok(bytes.get(self.seen - start..).unwrap_or_default())
    }

    /// Goes on with the next bytes; an error where the message cannot be all of the frame any more.
    pub(super) fn show(
        &mut self,
        bytes: &[u8],
        skip: &mut Skip,
        max_depth: usize,
    ) -> Result<(), DecodeError> {
        if self.len == 0 {
            return Ok(());
        }
        // An element has a byte at least, so the frame's length limits them too.
        let limits = Limits {
            max_frame_bytes: usize::MAX,
            max_depth,
            max_elements: usize::MAX,
        };
        let seen = self.seen + bytes.len();
        if skip.at() < self.seen {
            let kept = self.seen - skip.at();
            let (mut joint, more) = ([0; 2 * KEPT], bytes.len().min(KEPT));
            joint[..kept].copy_from_slice(&self.kept[..kept]);
            joint[kept..kept + more].copy_from_slice(&bytes[..more]);
            skip.run_piece(&joint[..kept + more], skip.at(), self.encoding, &limits)?;
            if skip.at() < self.seen {
                // Still not all of the head, so all that there is stands in `joint`.
                self.kept.copy_from_slice(&joint[..KEPT]);
                return self.go_on(seen, skip.at());
            }
        }
        if let Some(end) = skip.run_piece(bytes, self.seen, self.encoding, &limits)? {
            if end < self.len {
                return Err(invalid(end, "bytes behind the message in its frame"));
            }
            self.seen = seen;
            return Ok(());
        }
        if let Some(kept) = bytes.get(skip.at() - self.seen..) {
            self.kept[..kept.len()].copy_from_slice(kept);
        }
        self.go_on(seen, skip.at())
    }

    /// Waits for more, if more can come.
    fn go_on(&mut self, seen: usize, at: usize) -> Result<(), DecodeError> {
        self.seen = seen;
        if at > self.len || seen == self.len {
            return Err(invalid(self.len, TOO_LONG));
        }
        Ok(())
    }
}
