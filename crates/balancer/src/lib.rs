//! Which endpoint of a cluster a request goes to.
//!
//! Time and chance are arguments; nothing here knows sockets, clocks or Python. A [`Balancer`]
//! belongs to one worker and one cluster; `resources` makes its endpoints, `proxy` asks it.
#![forbid(unsafe_code)]

mod balancer;
mod detector;
mod endpoint;
mod groups;
mod hashed;
mod limits;
mod maglev;
mod outlier_detection;
mod ring;
mod rng;
mod spread;
mod stands;
mod turn;

pub use balancer::Balancer;
pub use detector::{Detector, Ejections, Seen};
pub use endpoint::{BASELINE, Endpoint, Health, Locality, Peer, Policy};
pub use hashed::HashTable;
pub use limits::{CircuitBreakers, RetryBudget};
pub use outlier_detection::{Consecutive, FailurePercentage, OutlierDetection, SuccessRate};
pub use rng::Rng;
pub use spread::Spread;
pub use stands::{LaneCount, Stands};
