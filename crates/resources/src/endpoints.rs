//! Load assignments: the endpoints of a cluster.

use std::collections::HashSet;
use std::sync::Arc;

use meltemi_balancer::{Endpoint, Health, Locality, Peer, Spread};
use prost_types::value::Kind;

use crate::field::{decode, socket_address};
use crate::invalid::{Invalid, Within};
use crate::messages::envoy::config::core::v3::{HealthStatus, Metadata};
use crate::messages::envoy::config::endpoint::v3 as envoy;
use crate::sockets::{self, Marks};

/// Endpoints, and how requests are spread over their priorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) endpoints: Arc<[Endpoint]>,
    /// What each of them says for the choice of its transport socket; empty where none says anything.
    pub(crate) marks: Vec<Marks>,
    overprovisioning: u32,
    weighted_health: bool,
}

impl Default for Assignment {
    fn default() -> Self {
        Self {
            endpoints: Arc::default(),
            marks: Vec::new(),
            overprovisioning: Spread::default().overprovisioning,
            weighted_health: false,
        }
    }
}

impl Assignment {
    /// What the cluster says, with what is said here.
    pub(crate) const fn spread(&self, of_cluster: Spread) -> Spread {
        Spread {
            overprovisioning: self.overprovisioning,
            weighted_health: self.weighted_health,
            ..of_cluster
        }
    }
}

/// The endpoints of a serialized `envoy.config.endpoint.v3.ClusterLoadAssignment`.
pub(crate) fn assignment(name: &str, bytes: &[u8]) -> Result<Assignment, Invalid> {
    let message: envoy::ClusterLoadAssignment =
        decode("envoy.config.endpoint.v3.ClusterLoadAssignment", bytes)?;
    if message.cluster_name != name {
        return Err(Invalid::at(
            "cluster_name",
            format!("{:?}, not {name:?}", message.cluster_name),
        ));
    }
    of_assignment(&message)
}

/// The endpoints of an assignment, in its order, each address once.
pub(crate) fn of_assignment(message: &envoy::ClusterLoadAssignment) -> Result<Assignment, Invalid> {
    let (mut all, mut marks) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for (place, from) in message.endpoints.iter().enumerate() {
        let field = format_args!("endpoints[{place}]");
        if from.lb_config.is_some() {
            return Err(Invalid::at(
                "lb_config",
                "is not supported: use lb_endpoints",
            ))
            .within(field);
        }
        if from.priority > MAX_PRIORITY {
            let reason = format!("{}, but has to be {MAX_PRIORITY} or less", from.priority);
            return Err(Invalid::at("priority", reason)).within(field);
        }
        let locality = locality(from).map(Arc::new);
        for (place, one) in from.lb_endpoints.iter().enumerate() {
            let endpoint = endpoint(one)
                .within(format_args!("lb_endpoints[{place}]"))
                .within(field)?;
            if seen.insert(endpoint.address) {
                marks.push(
                    one.metadata
                        .as_ref()
                        .map(sockets::marks)
                        .unwrap_or_default(),
                );
                all.push(Endpoint {
                    priority: from.priority,
                    locality: locality.clone(),
                    ..endpoint
                });
            }
        }
    }
    let policy = message.policy.unwrap_or_default();
    let overprovisioning = policy.overprovisioning_factor;
    if overprovisioning == Some(0) {
        return Err(Invalid::at(
            "policy.overprovisioning_factor",
            "0, but has to be 1 or more",
        ));
    }
    if marks.iter().all(Marks::is_empty) {
        marks = Vec::new();
    }
    Ok(Assignment {
        endpoints: all.into(),
        marks,
        overprovisioning: overprovisioning.unwrap_or(Spread::default().overprovisioning),
        weighted_health: policy.weighted_priority_health,
    })
}

/// Envoy's own limit.
const MAX_PRIORITY: u32 = 128;

/// None where neither a place nor a weight is said.
fn locality(from: &envoy::LocalityLbEndpoints) -> Option<Locality> {
    let place = from.locality.clone().unwrap_or_default();
    let locality = Locality {
        region: place.region.into(),
        zone: place.zone.into(),
        sub_zone: place.sub_zone.into(),
        weight: from.load_balancing_weight.unwrap_or_default(),
    };
    (locality != Locality::default()).then_some(locality)
}

fn endpoint(from: &envoy::LbEndpoint) -> Result<Endpoint, Invalid> {
    use envoy::lb_endpoint::HostIdentifier;
    let address = match &from.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint.address.as_ref(),
        _ => None,
    };
    let weight = from.load_balancing_weight.unwrap_or(1);
    if weight == 0 {
        return Err(Invalid::at(
            "load_balancing_weight",
            "0, but has to be 1 or more",
        ));
    }
    Ok(Endpoint {
        weight,
        health: health(from.health_status),
        peer: from.metadata.as_ref().and_then(peer).map(Arc::new),
        lane: from.metadata.as_ref().and_then(lane),
        ..Endpoint::new(socket_address(address).within("endpoint")?)
    })
}

/// Envoy's own reading: what is unknown is taken for healthy.
fn health(status: i32) -> Health {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => Health::Unhealthy,
        Ok(HealthStatus::Draining) => Health::Draining,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) | Err(_) => Health::Healthy,
    }
}

/// `filter_metadata["meltemi"]["lane"]`, of an instance that is not of the lane whose cluster it is in.
fn lane(metadata: &Metadata) -> Option<Arc<str>> {
    let value = metadata
        .filter_metadata
        .get("meltemi")?
        .fields
        .get("lane")?;
    match &value.kind {
        Some(Kind::StringValue(lane)) if !lane.is_empty() => Some(lane.as_str().into()),
        _ => None,
    }
}

/// Istio's `filter_metadata["istio"]["workload"]`: "name;namespace;app;version;cluster".
fn peer(metadata: &Metadata) -> Option<Peer> {
    let value = metadata
        .filter_metadata
        .get("istio")?
        .fields
        .get("workload")?;
    let Some(Kind::StringValue(text)) = &value.kind else {
        return None;
    };
    let mut parts = text.split(';').map(Arc::<str>::from);
    let mut next = || parts.next().unwrap_or_default();
    Some(Peer {
        workload: next(),
        namespace: next(),
        app: next(),
        version: next(),
        cluster: next(),
    })
}
