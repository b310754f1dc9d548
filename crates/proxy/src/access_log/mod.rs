//! The access log: a line a request, formatted by the worker into a batch, written by a thread of its
//! own. A disk that is full or slow loses lines, which are counted; it never stops a request.

pub(crate) mod format;
pub(crate) mod time;
mod writer;

pub(crate) use format::{Entry, Format};
pub(crate) use writer::Writer;

/// Where the access log goes and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// A path, or `-` for standard output.
    pub target: String,
    /// `text`, `json`, or a format with Envoy's words: `%START_TIME% %UPSTREAM_HOST%`.
    pub format: String,
}
