//! Requests of lanes: where the endpoint of each stood, and whether it left its lane without need.

use meltemi_balancer::BASELINE;

use super::Worker;
use crate::slots::Id;
use crate::stats::labels::Outcome;

impl Worker {
    /// Notes where the endpoint of a request stands, seen from the lane whose cluster it is in.
    pub(super) fn stands(&mut self, id: Id, number: u32, endpoint: Id) {
        let index = self.endpoints.get(endpoint).and_then(|entry| entry.index);
        if let (Some(request), Some(index)) = (self.requests.get_mut(id), index) {
            let (stands, leaks) = self.clusters[number as usize].balancer.stands(index);
            request.standing = (endpoint, stands, leaks);
        }
    }

    /// Counts a request of a lane that is over. One whose caller left is none of its business.
    pub(super) fn count_lane(&mut self, id: Id, number: u32, outcome: Outcome) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let entry = &mut self.clusters[number as usize];
        let Some(lane) = &mut entry.lane else {
            return;
        };
        match outcome {
            Outcome::Canceled => {}
            Outcome::Local(_) => lane.count.by_nobody += 1,
            Outcome::Ok | Outcome::Failed => {
                let (endpoint, stands, leaks) = request.standing;
                lane.count.answered(lane.of.stands(stands), leaks);
                if !leaks || std::mem::replace(&mut lane.told, true) {
                    return;
                }
                let of = lane.of.clone();
                let index = self.endpoints.get(endpoint).and_then(|one| one.index);
                let cluster = entry.cluster.as_ref();
                let one = index.and_then(|index| cluster?.endpoints.get(index));
                let answered_by = one.and_then(|one| one.lane.as_deref()).unwrap_or(BASELINE);
                self.shared.tell_leak(&of, answered_by);
            }
        }
    }
}
