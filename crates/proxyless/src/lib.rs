//! The life of one call of a client that has no sidecar.
//!
//! [`Router::call`] goes from a listener's name over routes and weighted clusters to an endpoint, by what
//! `resources` made of the xDS stream; the [`Call`] is told how each attempt ended, and says whether there
//! is another one, when and where. The same matchers and balancers as the sidecar's decide. Time and
//! chance are arguments; nothing here knows sockets, clocks or Python: `python` gives it a face.
#![forbid(unsafe_code)]

mod call;
mod choices;
mod explain;
mod failure;
mod lanes;
mod refused;
mod router;
mod upstream;

pub use call::Call;
pub use explain::{ClusterState, EndpointState, Explanation, Taken};
pub use failure::{Failure, Grpc};
pub use meltemi_balancer::LaneCount;
pub use refused::Refused;
pub use router::{Router, Target};
pub use upstream::Place;
