//! Load assignments: the endpoints of a cluster.

use std::collections::HashSet;
use std::sync::Arc;

use meltemi_balancer::{Endpoint, Peer};
use prost_types::value::Kind;

use crate::field::{decode, socket_address};
use crate::invalid::{Invalid, Within};
use crate::messages::envoy::config::core::v3::{HealthStatus, Metadata};
use crate::messages::envoy::config::endpoint::v3 as envoy;

/// The endpoints of a serialized `envoy.config.endpoint.v3.ClusterLoadAssignment`.
pub(crate) fn assignment(name: &str, bytes: &[u8]) -> Result<Arc<[Endpoint]>, Invalid> {
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
///
/// Of several priorities, only the first one that has a healthy endpoint is taken (Envoy spills over
/// gradually; it does so only when it knows more about health than we do).
pub(crate) fn of_assignment(
    message: &envoy::ClusterLoadAssignment,
) -> Result<Arc<[Endpoint]>, Invalid> {
    let mut all = Vec::new();
    let mut seen = HashSet::new();
    for (place, locality) in message.endpoints.iter().enumerate() {
        let field = format_args!("endpoints[{place}]");
        if locality.lb_config.is_some() {
            return Err(Invalid::at(
                "lb_config",
                "is not supported: use lb_endpoints",
            ))
            .within(field);
        }
        for (place, from) in locality.lb_endpoints.iter().enumerate() {
            let endpoint = endpoint(from)
                .within(format_args!("lb_endpoints[{place}]"))
                .within(field)?;
            if seen.insert(endpoint.address) {
                all.push((locality.priority, endpoint));
            }
        }
    }
    let usable = |endpoint: &Endpoint| endpoint.healthy;
    let first = all
        .iter()
        .filter(|(_, endpoint)| usable(endpoint))
        .map(|(priority, _)| *priority)
        .min();
    Ok(all
        .into_iter()
        .filter(|(priority, _)| first.is_none_or(|first| *priority == first))
        .map(|(_, endpoint)| endpoint)
        .collect())
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
        address: socket_address(address).within("endpoint")?,
        weight,
        healthy: is_healthy(from.health_status),
        peer: from.metadata.as_ref().and_then(peer).map(Arc::new),
    })
}

/// Envoy's own reading: what is unknown is taken for healthy.
fn is_healthy(status: i32) -> bool {
    !matches!(
        HealthStatus::try_from(status),
        Ok(HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout)
    )
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
