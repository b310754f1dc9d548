//! Clusters, and where their endpoints come from.

use std::sync::Arc;
use std::time::Duration;

use meltemi_balancer::Policy;
use meltemi_routing::Marks;
use prost_types::value::Kind;

use crate::Cluster;
use crate::endpoints::{self, Assignment};
use crate::field::{decode, duration, type_name, unpack};
use crate::invalid::{Invalid, Within};
use crate::limits;
use crate::messages::envoy::config::cluster::v3 as envoy;
use crate::messages::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy, RingHashLbConfig,
    ring_hash_lb_config::HashFunction,
};
use crate::messages::meltemi::v1alpha1::UpstreamOptions;
use crate::sockets::Sockets;

/// Envoy's default.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The key of our own options in `typed_extension_protocol_options`.
const OPTIONS: &str = "meltemi.upstream";

/// The key of our own metadata.
const METADATA: &str = "meltemi";
/// In our metadata: a list of baggage keys whose members requests to the cluster lose.
const UNMARKED: &str = "unmarked";

/// A cluster as its resource describes it, and who says what its endpoints are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Without the endpoints of [`Source::Eds`].
    pub(crate) cluster: Cluster,
    pub(crate) source: Source,
    /// Which endpoints of [`Source::Eds`] can be used.
    pub(crate) sockets: Sockets,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// They stand in the cluster.
    Inline,
    /// They come as the load assignment of this name.
    Eds(Arc<str>),
}

/// The cluster of a serialized `envoy.config.cluster.v3.Cluster`.
pub(crate) fn definition(name: &str, bytes: &[u8]) -> Result<Definition, Invalid> {
    read(&message(name, bytes)?)
}

/// The same for a client, which may have asked for all clusters that there are: those that only a proxy
/// can use (`ORIGINAL_DST`, names to resolve) are taken, and refuse each call with the reason.
pub(crate) fn definition_for_client(name: &str, bytes: &[u8]) -> Result<Definition, Invalid> {
    let mut message = message(name, bytes)?;
    let reason = match source(&message) {
        Err(invalid) if is_for_proxies(&message) => invalid.to_string(),
        _ => return read(&message),
    };
    message.cluster_discovery_type = None;
    message.load_assignment = None;
    message.lb_policy = LbPolicy::RoundRobin as i32;
    let mut definition = read(&message)?;
    definition.cluster.refuse = Some(reason.into());
    Ok(definition)
}

fn is_for_proxies(message: &envoy::Cluster) -> bool {
    match message.cluster_discovery_type {
        Some(ClusterDiscoveryType::ClusterType(_)) => true,
        Some(ClusterDiscoveryType::Type(number)) => matches!(
            DiscoveryType::try_from(number),
            Ok(DiscoveryType::OriginalDst | DiscoveryType::StrictDns | DiscoveryType::LogicalDns)
        ),
        None => false,
    }
}

fn message(name: &str, bytes: &[u8]) -> Result<envoy::Cluster, Invalid> {
    let message: envoy::Cluster = decode("envoy.config.cluster.v3.Cluster", bytes)?;
    if message.name != name {
        return Err(Invalid::at(
            "name",
            format!("{:?}, not {name:?}", message.name),
        ));
    }
    Ok(message)
}

fn read(message: &envoy::Cluster) -> Result<Definition, Invalid> {
    let (source, assignment) = source(message)?;
    let options = options(message)?;
    let sockets = Sockets::of(message);
    let (endpoints, unusable) = sockets.usable(&assignment.endpoints, &assignment.marks);
    let cluster = Cluster {
        policy: policy(message)?,
        connect_timeout: duration("connect_timeout", message.connect_timeout.as_ref())?
            .unwrap_or(CONNECT_TIMEOUT),
        max_in_flight: Some(options.max_in_flight_per_connection).filter(|count| *count > 0),
        limits: limits::circuit_breakers(message)?,
        spread: assignment.spread(limits::spread(message)?),
        outlier: message
            .outlier_detection
            .as_ref()
            .map(limits::outlier_detection)
            .transpose()
            .within("outlier_detection")?
            .map(Box::new),
        idle_timeout: duration("idle_timeout", options.idle_timeout.as_ref()).within(
            format_args!("typed_extension_protocol_options[{OPTIONS:?}]"),
        )?,
        unmarked: unmarked(message)?,
        refuse: stated(message).or(sockets.refuse()).or(unusable),
        ..Cluster::new(&message.name, endpoints)
    };
    Ok(Definition {
        cluster,
        source,
        sockets,
    })
}

fn source(message: &envoy::Cluster) -> Result<(Source, Assignment), Invalid> {
    let kind = match &message.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(*number)
            .map_err(|_| Invalid::at("type", format!("{number} is not a known type")))?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            let reason = format!("{:?} is not supported", custom.name);
            return Err(Invalid::at("cluster_type", reason));
        }
    };
    match kind {
        DiscoveryType::Eds => {
            let service = message
                .eds_cluster_config
                .as_ref()
                .map(|config| &*config.service_name);
            let service = service
                .filter(|service| !service.is_empty())
                .unwrap_or(&message.name);
            Ok((Source::Eds(service.into()), Assignment::default()))
        }
        // With IP addresses the DNS types mean the same as STATIC; a host name is refused where it stands.
        DiscoveryType::Static | DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            let assignment = message
                .load_assignment
                .as_ref()
                .map_or_else(|| Ok(Assignment::default()), endpoints::of_assignment)
                .within("load_assignment")?;
            Ok((Source::Inline, assignment))
        }
        DiscoveryType::OriginalDst => Err(Invalid::at(
            "type",
            "ORIGINAL_DST is not supported: nothing redirects connections here",
        )),
    }
}

/// Envoy's own limits, and what it does where nothing is said.
const MAX_RING_SIZE: u64 = 8 * 1024 * 1024;
const MIN_RING_SIZE: u64 = 1024;
const MAX_TABLE_SIZE: u64 = 5_000_011;
const TABLE_SIZE: u64 = 65537;

fn policy(message: &envoy::Cluster) -> Result<Policy, Invalid> {
    match LbPolicy::try_from(message.lb_policy) {
        Ok(LbPolicy::RoundRobin) => Ok(Policy::RoundRobin),
        Ok(LbPolicy::Random) => Ok(Policy::Random),
        Ok(LbPolicy::RingHash) => {
            ring_hash(message.lb_config.as_ref()).within("ring_hash_lb_config")
        }
        Ok(LbPolicy::Maglev) => maglev(message.lb_config.as_ref()).within("maglev_lb_config"),
        // What stands in `load_balancing_policy` is not read: requests are served all the same.
        Ok(LbPolicy::LeastRequest | LbPolicy::LoadBalancingPolicyConfig) => {
            Ok(Policy::LeastRequest)
        }
        Ok(LbPolicy::ClusterProvided) => Err(Invalid::at(
            "lb_policy",
            "CLUSTER_PROVIDED is not supported",
        )),
        Err(_) => Err(Invalid::at(
            "lb_policy",
            format!("{} is not a known policy", message.lb_policy),
        )),
    }
}

fn ring_hash(config: Option<&LbConfig>) -> Result<Policy, Invalid> {
    let config = match config {
        Some(LbConfig::RingHashLbConfig(config)) => *config,
        _ => RingHashLbConfig::default(),
    };
    if config.hash_function != HashFunction::XxHash as i32 {
        return Err(Invalid::at("hash_function", "only XX_HASH is supported"));
    }
    let max = config.maximum_ring_size.unwrap_or(MAX_RING_SIZE);
    let min = config.minimum_ring_size.unwrap_or(MIN_RING_SIZE);
    if max > MAX_RING_SIZE {
        let reason = format!("{max}, but has to be {MAX_RING_SIZE} or less");
        return Err(Invalid::at("maximum_ring_size", reason));
    }
    if min > max {
        let reason = format!("{min}, more than the maximum of {max}");
        return Err(Invalid::at("minimum_ring_size", reason));
    }
    Ok(Policy::RingHash { min, max })
}

fn maglev(config: Option<&LbConfig>) -> Result<Policy, Invalid> {
    let size = match config {
        Some(LbConfig::MaglevLbConfig(config)) => config.table_size,
        _ => None,
    };
    let table_size = size.unwrap_or(TABLE_SIZE);
    if table_size > MAX_TABLE_SIZE || !is_prime(table_size) {
        let reason = format!("{table_size}, but has to be a prime of {MAX_TABLE_SIZE} or less");
        return Err(Invalid::at("table_size", reason));
    }
    Ok(Policy::Maglev { table_size })
}

/// 1 is taken for one, as in Envoy.
fn is_prime(number: u64) -> bool {
    let mut factors = (2..).take_while(|factor| factor * factor <= number);
    number > 0 && factors.all(|factor| !number.is_multiple_of(factor))
}

fn options(message: &envoy::Cluster) -> Result<UpstreamOptions, Invalid> {
    let Some(any) = message.typed_extension_protocol_options.get(OPTIONS) else {
        return Ok(UpstreamOptions::default());
    };
    let field = format_args!("typed_extension_protocol_options[{OPTIONS:?}]");
    if type_name(&any.type_url) != "meltemi.v1alpha1.UpstreamOptions" {
        let reason = format!("{:?}, not meltemi.v1alpha1.UpstreamOptions", any.type_url);
        return Err(Invalid::at("type_url", reason)).within(field);
    }
    unpack(any).within(field)
}

/// `filter_metadata["meltemi"]["refuse"]`: Meltemi's own control plane gives the reason.
fn stated(message: &envoy::Cluster) -> Option<Arc<str>> {
    let Some(Kind::StringValue(reason)) = own_metadata(message, "refuse") else {
        return None;
    };
    Some(reason.as_str().into())
}

/// The keys whose marks end here, as the cluster's metadata lists them.
fn unmarked(message: &envoy::Cluster) -> Result<Option<Arc<Marks>>, Invalid> {
    let wrong = || {
        let field = format!("metadata.filter_metadata[{METADATA:?}].{UNMARKED}");
        Invalid::at(field, "a list of strings is needed here")
    };
    let keys = match own_metadata(message, UNMARKED) {
        None => return Ok(None),
        Some(Kind::ListValue(list)) => list.values.iter(),
        Some(_) => return Err(wrong()),
    };
    let keys = keys.map(|key| match &key.kind {
        Some(Kind::StringValue(key)) => Ok(key),
        _ => Err(wrong()),
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    Ok(Marks::new(keys).map(Arc::new))
}

/// A value of our own in the metadata of a cluster.
fn own_metadata<'m>(message: &'m envoy::Cluster, name: &str) -> Option<&'m Kind> {
    let all = &message.metadata.as_ref()?.filter_metadata;
    all.get(METADATA)?.fields.get(name)?.kind.as_ref()
}
