//! The Thrift codec against messages that other implementations wrote (tests/golden), through its
//! public face only.
#![allow(missing_docs, unreachable_pub)]

mod bodies;
mod edits;
mod golden;
mod hostile;
mod properties;
mod replies;
mod sample;
mod scrubs;
mod splits;
