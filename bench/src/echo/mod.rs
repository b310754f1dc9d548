//! The backend: answers each call with its own argument and the name of the port that served it.
//!
//! One thread, one epoll; what a turn's read held is answered by one write. With a service delay,
//! replies wait in one queue, since the delay is the same for all.

mod connection;
pub mod options;
mod server;

pub use server::serve;
