//! Measuring tools of the benchmark and of the load tests.
//!
//! `meltemi-load` sends requests, each with an echo of its own, and verifies every reply;
//! `meltemi-echo` is the backend that answers them. Frames are found and ids are written through
//! `meltemi_codec`, so each of its protocols can be measured; what stands *in* a message is written
//! and read by [`dialect`], which shares no code with the codec and so checks it too.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod dialect;
pub mod echo;
pub mod histogram;
pub mod load;
pub mod process;
pub mod socket;
