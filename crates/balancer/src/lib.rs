//! Which endpoint of a cluster a request goes to.
//!
//! Time and chance are arguments; nothing here knows sockets, clocks or Python. A [`Balancer`]
//! belongs to one worker and one cluster; `resources` makes its endpoints, `proxy` asks it.
#![forbid(unsafe_code)]

mod balancer;
mod endpoint;
mod hashed;
mod maglev;
mod ring;
mod rng;
mod turn;

pub use balancer::Balancer;
pub use endpoint::{Endpoint, Peer, Policy};
pub use hashed::HashTable;
pub use rng::Rng;
