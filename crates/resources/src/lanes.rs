//! Which lane a cluster is for: `lanes` of the control plane names its subsets.

use std::sync::Arc;

use meltemi_balancer::{BASELINE, Stands};

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

    /// Where an endpoint of its cluster stands: those of the baseline are no lane's.
    #[must_use]
    pub fn stands(&self, stands: Stands) -> Stands {
        match self.mark() {
            Some(_) => stands,
            None => Stands::Baseline,
        }
    }

    /// A leak in a sentence for whoever runs the service: what happened, and what would be right.
    /// `answered_by` is whose instance answered.
    #[must_use]
    pub fn leak(&self, answered_by: &str) -> String {
        let Self { lane, service } = self;
        format!(
            "a request of lane '{lane}' for {service} was answered by '{answered_by}' though the lane has \
             an instance that is taken for healthy: where it cannot be reached, let outlierDetection of \
             its DestinationRule see that (consecutiveGatewayErrors: 1, maxEjectionPercent: 100)"
        )
    }

    /// The lane that its requests ask for; None for the baseline, which nobody asks for.
    #[must_use]
    pub fn mark(&self) -> Option<&Arc<str>> {
        (*self.lane != *BASELINE).then_some(&self.lane)
    }
}

impl Cluster {
    /// The lane that it is for, by its name.
    #[must_use]
    pub fn lane(&self) -> Option<LaneOf> {
        LaneOf::cluster(&self.name)
    }
}
