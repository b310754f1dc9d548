//! Which lane a cluster is for: `lanes` of the control plane names its subsets.

use std::sync::Arc;

use crate::Cluster;

/// Before the name of a lane in the name of its subset.
const SUBSET: &str = "lane-";

/// A lane of a service, or its baseline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneOf {
    /// The lane's name, or `baseline`.
    pub lane: Arc<str>,
    /// The host that its requests are for.
    pub service: Arc<str>,
}

impl LaneOf {
    /// Of `outbound|9080|lane-dev|reviews.default.svc.cluster.local`; None: the cluster is no lane's.
    #[must_use]
    pub fn cluster(name: &str) -> Option<Self> {
        let mut parts = name.splitn(4, '|').skip(2);
        let lane = parts.next()?.strip_prefix(SUBSET)?;
        let service = parts.next().filter(|_| !lane.is_empty())?;
        Some(Self {
            lane: lane.into(),
            service: service.into(),
        })
    }

    /// The lane that its requests ask for; None for the baseline, which nobody asks for.
    #[must_use]
    pub fn mark(&self) -> Option<&Arc<str>> {
        (*self.lane != *meltemi_balancer::BASELINE).then_some(&self.lane)
    }
}

impl Cluster {
    /// The lane that it is for, by its name.
    #[must_use]
    pub fn lane(&self) -> Option<LaneOf> {
        LaneOf::cluster(&self.name)
    }
}
