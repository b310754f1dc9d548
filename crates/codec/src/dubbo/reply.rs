//! Meltemi's own answers: to a request that it does not forward, and to a heartbeat; and what a caller
//! would read in the answers of others.

use super::header::{
    EVENT, FLAGS_AT, HEADER_BYTES, HESSIAN2, OK, REQUEST, TWO_WAY, put, serialization, set_length,
};
use super::hessian::put_string;
use crate::{ErrorKind, Frame, LocalError, ReplyTo};

const SERVER_TIMEOUT: u8 = 31;
const BAD_RESPONSE: u8 = 50;
const SERVICE_NOT_FOUND: u8 = 60;
const SERVER_ERROR: u8 = 80;

/// The status of the answer to an error.
const fn status(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::RouteNotFound => SERVICE_NOT_FOUND,
        ErrorKind::BadResponse => BAD_RESPONSE,
        ErrorKind::Timeout => SERVER_TIMEOUT,
        ErrorKind::ClusterNotFound
        | ErrorKind::NoHealthyUpstream
        | ErrorKind::UpstreamConnectFailure
        | ErrorKind::UpstreamReset
        | ErrorKind::Overflow
        | ErrorKind::RateLimited
        | ErrorKind::Denied
        | ErrorKind::Unsupported => SERVER_ERROR,
    }
}

/// Whether who sent this request reads attachments in a reply.
///
/// Apache's `Version.isSupportResponseAttachment` takes 2.0.2 to 2.0.99. Clients before 2.6.3 say the
/// version of their jar, of which 2.0.10 and later exist and read none.
pub(super) fn reads_attachments(frame: &Frame, head: &[u8]) -> bool {
    serialization(frame.format) == Some(HESSIAN2)
        && matches!(
            head.get(HEADER_BYTES..),
            Some([5, b'2', b'.', b'0', b'.', b'2'..=b'9', ..])
        )
}

/// Appends the answer to the request `to`.
pub(super) fn put_error(to: &ReplyTo, error: &LocalError<'_>, out: &mut Vec<u8>) {
    let base = out.len();
    put(HESSIAN2, status(error.kind), to.ids.message, out);
    put_string(error.message, out);
    set_length(out, base);
}

/// Appends the answer to a heartbeat: what it holds, which is a null in its own serialization.
pub(super) fn put_heartbeat(frame: &Frame, head: &[u8], out: &mut Vec<u8>) {
    let base = out.len();
    let flags = head.get(FLAGS_AT).copied().unwrap_or(EVENT | HESSIAN2) & !(REQUEST | TWO_WAY);
    put(flags, OK, frame.ids.message, out);
    out.extend_from_slice(head.get(HEADER_BYTES..frame.len).unwrap_or_default());
    set_length(out, base);
}
