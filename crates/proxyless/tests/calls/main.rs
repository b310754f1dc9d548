//! Calls of a client without a sidecar: chosen, and tried again.

mod bed;
mod choosing;
mod retrying;
