//! Calls of a client without a sidecar: chosen, tried again, explained, and what lives between them.

mod bed;
mod choosing;
mod explaining;
mod living;
mod retrying;
mod threads;
