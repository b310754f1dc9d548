//! The load generator: many connections, every reply verified, latency without coordinated omission.
//!
//! [`options`] says what to do, [`run`] does it on one thread, [`connection`] is one connection with
//! its requests in flight, [`plan`] makes requests and judges replies, and [`tally`] counts.

pub mod connection;
pub mod options;
pub mod plan;
pub mod run;
pub mod tally;
