//! The data path: bytes of the applications in, routed requests out.
//!
//! ```text
//! acceptor ──sockets──> worker (one a core, nothing shared on the path of a request)
//!                         epoll ─> read ─> decode ─> filters ─> route ─> pick ─> connect ─> forward
//!                               └> read ─> decode ─> reply (in order) ─> log
//! publish ──tables──────> swapped between two turns
//! ```
//!
//! [`Engine`] starts the threads and is the only door in. The seams are [`meltemi_codec::Protocol`]
//! (what the bytes mean), [`transport::Transport`] (how they travel) and [`filter::Filter`] (what a
//! request passes). A request's life is in `worker`, in the order of the picture.
#![forbid(unsafe_code)]

mod acceptor;
pub mod access_log;
mod buffers;
mod clock;
mod cluster;
mod config;
mod connection;
mod deadlines;
mod engine;
pub mod filter;
mod flight;
mod inbox;
mod local_rate_limit;
mod logging;
mod peers;
mod poller;
mod request;
mod retired;
mod slots;
mod sockets;
mod stats;
mod tables;
pub mod transport;
mod view;
mod worker;

pub use access_log::AccessLogConfig;
pub use config::{EngineConfig, Limits};
pub use engine::Engine;
pub use local_rate_limit::LocalRateLimits;
pub use logging::Level;
pub use stats::report::{ClusterState, EndpointState};
