//! What is counted: plain numbers of one worker, merged when somebody asks.
//!
//! A worker adds to its own [`counters`] and [`series`]; a reader asks every worker for a [`report`]
//! between two turns and adds them up. Nothing is shared on the path of a request.

pub(crate) mod counters;
pub(crate) mod histogram;
pub(crate) mod labels;
pub(crate) mod prometheus;
pub(crate) mod report;
pub(crate) mod series;
