//! The engine over real sockets, with a protocol of the tests' own: what it promises, one by one.
#![allow(missing_docs)]

mod bed;
mod limit;
mod toy;

mod again;
mod bodies;
mod ejected;
mod errors;
mod hashed;
mod lanes;
mod limited;
mod limits;
mod mixed;
mod multiplexed;
mod mutated;
mod observed;
mod order;
mod parked;
mod pooled;
mod slow;
mod streams;
mod swapped;
mod tcp;
mod tls;
mod workers;
