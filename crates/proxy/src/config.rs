//! What an engine is started with. Everything else arrives as snapshots.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_balancer::Peer;
use meltemi_codec::Protocol;

use crate::access_log::AccessLogConfig;
use crate::filter::FilterFactory;
use crate::transport::Transports;

/// What an engine is started with.
#[derive(Default)]
pub struct EngineConfig {
    /// Threads that move bytes; 0 means one for each core.
    pub workers: usize,
    /// Where upstream connections come from, so that callers can be told apart.
    pub source_address: Option<IpAddr>,
    /// Who this proxy is: one side of every metric.
    pub node: Peer,
    /// Where the access log goes and how it is written; None: no access log.
    pub access_log: Option<AccessLogConfig>,
    /// What is allowed at most.
    pub limits: Limits,
    /// Codecs by name. A listener's `codec` is looked up first, then its `protocol`.
    pub protocols: HashMap<String, Arc<dyn Protocol>>,
    /// Filters by the name under which a listener lists them. Names that are not here are passed over
    /// (the router and what only other proxies know).
    pub filters: HashMap<String, Arc<dyn FilterFactory>>,
    /// Requests are not counted, and no series are kept of them: what the metrics cost is measured
    /// against this.
    pub without_request_metrics: bool,
    /// Which connections are not plain TCP; None: all are plain.
    pub transports: Option<Arc<dyn Transports>>,
}

/// What is allowed at most, and how long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Downstream connections of the process; one more is accepted, closed and counted.
    pub max_connections: usize,
    /// Bytes of one frame, on the length that it declares.
    pub max_frame_bytes: usize,
    /// Bytes that may wait in memory for one connection that does not read.
    pub max_connection_buffer_bytes: usize,
    /// Bytes that may wait in memory for all connections together; above it new requests are refused.
    pub max_buffered_bytes: usize,
    /// Requests of one downstream connection that are in flight at once; further ones are not read.
    pub max_connection_requests: usize,
    /// Requests of one worker that are in flight at once; further ones are answered with an error.
    pub max_requests: usize,
    /// Requests of one worker and cluster that wait for a connection (`max_connections` reached).
    pub max_waiting_requests: usize,
    /// A request that has no complete reply after this long is answered with an error.
    pub request_timeout: Duration,
    /// An idle upstream connection is closed after this long. Below 3 s, at which a default thriftpy2
    /// server closes it: a request sent at that moment would be lost.
    pub upstream_idle_timeout: Duration,
    /// A downstream connection without a request in flight is closed after this long, where its
    /// listener says nothing.
    pub downstream_idle_timeout: Duration,
    /// A connection that takes none of the bytes waiting for it for this long is closed.
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 65_536,
            max_frame_bytes: 16 << 20,
            max_connection_buffer_bytes: 32 << 20,
            max_buffered_bytes: 512 << 20,
            max_connection_requests: 1024,
            max_requests: 1 << 18,
            max_waiting_requests: 1024,
            request_timeout: Duration::from_secs(15),
            upstream_idle_timeout: Duration::from_millis(2500),
            downstream_idle_timeout: Duration::from_secs(3600),
            write_timeout: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Sets the limit called `name` (a field's name; durations take `_ms`: `request_timeout_ms`).
    ///
    /// # Errors
    /// Names the unknown limit, or the value that is out of range.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
        let size = usize::try_from(value).map_err(|_| format!("{name}: {value} is too large"))?;
        if value == 0 {
            return Err(format!("{name}: has to be above 0"));
        }
        let time = Duration::from_millis(value);
        match name {
            "max_connections" => self.max_connections = size,
            "max_frame_bytes" => self.max_frame_bytes = size,
            "max_connection_buffer_bytes" => self.max_connection_buffer_bytes = size,
            "max_buffered_bytes" => self.max_buffered_bytes = size,
            "max_connection_requests" => self.max_connection_requests = size,
            "max_requests" => self.max_requests = size,
            "max_waiting_requests" => self.max_waiting_requests = size,
            "request_timeout_ms" => self.request_timeout = time,
            "upstream_idle_timeout_ms" => self.upstream_idle_timeout = time,
            "downstream_idle_timeout_ms" => self.downstream_idle_timeout = time,
            "write_timeout_ms" => self.write_timeout = time,
            _ => return Err(format!("there is no limit called {name}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_set_by_its_name() {
        let mut limits = Limits::default();
        limits.set("request_timeout_ms", 250).unwrap();
        limits.set("max_connections", 7).unwrap();
        assert_eq!(limits.request_timeout, Duration::from_millis(250));
        assert_eq!(limits.max_connections, 7);
    }

    #[test]
    fn an_unknown_or_zero_limit_is_named() {
        let mut limits = Limits::default();
        assert!(
            limits
                .set("max_conections", 7)
                .unwrap_err()
                .contains("max_conections")
        );
        assert!(
            limits
                .set("max_requests", 0)
                .unwrap_err()
                .contains("max_requests")
        );
    }
}
