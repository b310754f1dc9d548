//! How many requests may pass: token buckets.
//!
//! Time is an argument; nothing here knows sockets, clocks or Python. `resources` reads the [`Rate`]
//! of a limit, `proxy` keeps a [`TokenBucket`] for it that all workers take from.
#![forbid(unsafe_code)]

mod bucket;

pub use bucket::{Rate, RateError, TokenBucket};
