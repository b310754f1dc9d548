//! The Dubbo codec against frames that other implementations wrote (tests/golden/dubbo), through its
//! public face only.
#![allow(missing_docs, unreachable_pub)]

mod edits;
mod golden;
mod hostile;
mod properties;
mod replies;
mod sample;
mod scrubs;
