//! Listeners and their one network filter.

use std::sync::Arc;

use prost_types::Any;

use crate::field::{decode, duration, is_secured, socket_address, type_name, unpack};
use crate::invalid::{Invalid, Within};
use crate::messages::aeraki::meta_protocol_proxy::v1alpha::meta_protocol_proxy::RouteSpecifier;
use crate::messages::aeraki::meta_protocol_proxy::v1alpha::{
    MetaProtocolFilter, MetaProtocolProxy,
};
use crate::messages::envoy::config::core::v3::TrafficDirection;
use crate::messages::envoy::config::listener::v3 as envoy;
use crate::messages::envoy::config::listener::v3::filter::ConfigType;
use crate::messages::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use crate::messages::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use crate::messages::meltemi::v1alpha1::{DownstreamOptions, Marks};
use crate::messages::udpa::r#type::v1::TypedStruct;
use crate::{Direction, Listener, MetaProtocol, NetworkFilter, RouteSource, TypedConfig};
use crate::{local_rate_limit, marks, meta_protocol_json, routes};

const META_PROTOCOL: &str = "aeraki.meta_protocol_proxy.v1alpha.MetaProtocolProxy";

/// Filters of the MetaProtocol filter that mean here what they mean there, or that the engine does
/// without being told (exchange of metadata, Istio's metrics).
const KNOWN_FILTERS: [&str; 6] = [
    "aeraki.meta_protocol.filters.router",
    "aeraki.meta_protocol.filters.metadata_exchange",
    "aeraki.meta_protocol.filters.istio_stats",
    local_rate_limit::FILTER,
    OPTIONS,
    marks::FILTER,
];

/// Our own options of the downstream side.
const OPTIONS: &str = "meltemi.downstream";

/// Listener filters that only look at the first bytes, for filter chain matches that we do not do.
const HARMLESS_LISTENER_FILTERS: [&str; 2] = [
    "envoy.filters.listener.tls_inspector",
    "envoy.filters.listener.http_inspector",
];

/// The listener of a serialized `envoy.config.listener.v3.Listener`.
pub(crate) fn listener(name: &str, bytes: &[u8]) -> Result<Listener, Invalid> {
    let message: envoy::Listener = decode("envoy.config.listener.v3.Listener", bytes)?;
    if message.name != name {
        return Err(Invalid::at(
            "name",
            format!("{:?}, not {name:?}", message.name),
        ));
    }
    check_supported(&message)?;
    let (field, chain) = match (&*message.filter_chains, &message.default_filter_chain) {
        ([chain], None) => ("filter_chains[0]", chain),
        ([], Some(chain)) => ("default_filter_chain", chain),
        (chains, _) => {
            let reason = format!(
                "{} filter chains; one without a match is supported",
                chains.len()
            );
            return Err(Invalid::at("filter_chains", reason));
        }
    };
    Ok(Listener {
        name: name.into(),
        address: socket_address(message.address.as_ref())?,
        direction: match TrafficDirection::try_from(message.traffic_direction) {
            Ok(TrafficDirection::Inbound) => Direction::Inbound,
            _ => Direction::Outbound,
        },
        filter: filter_chain(chain).within(field)?,
    })
}

/// What would let a listener serve other connections, or serve them otherwise, than it says.
fn check_supported(message: &envoy::Listener) -> Result<(), Invalid> {
    let unsupported = [
        (
            "additional_addresses",
            !message.additional_addresses.is_empty(),
        ),
        (
            "filter_chain_matcher",
            message.filter_chain_matcher.is_some(),
        ),
        ("use_original_dst", message.use_original_dst == Some(true)),
        ("udp_listener_config", message.udp_listener_config.is_some()),
        ("api_listener", message.api_listener.is_some()),
        ("internal_listener", message.listener_specifier.is_some()),
        ("bind_to_port", message.bind_to_port == Some(false)),
    ];
    if let Some((field, _)) = unsupported.iter().find(|(_, used)| *used) {
        return Err(Invalid::at(*field, "is not supported"));
    }
    for (place, filter) in message.listener_filters.iter().enumerate() {
        if !HARMLESS_LISTENER_FILTERS.contains(&&*filter.name) {
            let reason = format!("{:?} is not supported", filter.name);
            return Err(Invalid::at(
                format!("listener_filters[{place}].name"),
                reason,
            ));
        }
    }
    Ok(())
}

fn filter_chain(chain: &envoy::FilterChain) -> Result<NetworkFilter, Invalid> {
    if chain
        .filter_chain_match
        .as_ref()
        .is_some_and(|m| *m != envoy::FilterChainMatch::default())
    {
        return Err(Invalid::at("filter_chain_match", "is not supported"));
    }
    if let Some(socket) = chain
        .transport_socket
        .as_ref()
        .filter(|socket| is_secured(socket))
    {
        let reason = format!("{:?} is not supported yet", socket.name);
        return Err(Invalid::at("transport_socket.name", reason));
    }
    let [filter] = &*chain.filters else {
        let reason = format!("{} filters; one is supported", chain.filters.len());
        return Err(Invalid::at("filters", reason));
    };
    network_filter(filter).within("filters[0]")
}

fn network_filter(filter: &envoy::Filter) -> Result<NetworkFilter, Invalid> {
    let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
        return Err(Invalid::at("typed_config", "is missing"));
    };
    let read = match type_name(&any.type_url) {
        META_PROTOCOL => unpack(any).and_then(|message| meta_protocol(&message)),
        "udpa.type.v1.TypedStruct" | "xds.type.v3.TypedStruct" => typed_struct(any),
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy" => {
            unpack(any).and_then(|message| tcp_proxy(&message))
        }
        other => Err(Invalid::at(
            "",
            format!("filter {:?} of type {other} is not supported", filter.name),
        )),
    };
    read.within("typed_config")
}

fn typed_struct(any: &Any) -> Result<NetworkFilter, Invalid> {
    let message: TypedStruct = unpack(any)?;
    if type_name(&message.type_url) != META_PROTOCOL {
        let reason = format!("{:?} is not supported", message.type_url);
        return Err(Invalid::at("type_url", reason));
    }
    let value = message.value.unwrap_or_default();
    meta_protocol_json::proxy(&value)
        .and_then(|message| meta_protocol(&message))
        .within("value")
}

fn tcp_proxy(message: &TcpProxy) -> Result<NetworkFilter, Invalid> {
    let Some(ClusterSpecifier::Cluster(cluster)) = &message.cluster_specifier else {
        return Err(Invalid::at(
            "cluster",
            "is missing; weighted_clusters is not supported",
        ));
    };
    if message.tunneling_config.is_some() {
        return Err(Invalid::at("tunneling_config", "is not supported"));
    }
    Ok(NetworkFilter::TcpProxy {
        stat_prefix: message.stat_prefix.as_str().into(),
        cluster: cluster.as_str().into(),
    })
}

fn meta_protocol(message: &MetaProtocolProxy) -> Result<NetworkFilter, Invalid> {
    // `protocol` wins over the two fields that it replaced, as in MetaProtocol Proxy.
    let (protocol, codec) = match &message.protocol {
        Some(protocol) => (&protocol.name, protocol.codec.as_ref()),
        None => (&message.application_protocol, message.codec.as_ref()),
    };
    let codec = codec.map(|codec| codec.name.as_str()).unwrap_or_default();
    for (field, value) in [
        ("stat_prefix", &*message.stat_prefix),
        ("application_protocol", protocol),
        ("codec.name", codec),
    ] {
        if value.is_empty() {
            return Err(Invalid::at(field, "is empty"));
        }
    }
    let mut replies_in_any_order = false;
    let mut mark_rules = None;
    let mut filters = Vec::with_capacity(message.meta_protocol_filters.len());
    for (place, from) in message.meta_protocol_filters.iter().enumerate() {
        let field = format_args!("meta_protocol_filters[{place}]");
        filters.push(typed_config(from).within(field)?);
        if let (OPTIONS, Some(any)) = (&*from.name, &from.config) {
            let options: DownstreamOptions = unpack(any).within("config").within(field)?;
            replies_in_any_order = options.replies_in_any_order;
        }
        if from.name == marks::FILTER {
            mark_rules = Some(Arc::new(mark_rules_of(from).within(field)?));
        }
    }
    Ok(NetworkFilter::MetaProtocol(MetaProtocol {
        stat_prefix: message.stat_prefix.as_str().into(),
        protocol: protocol.as_str().into(),
        codec: codec.into(),
        routes: route_source(message)?,
        filters,
        idle_timeout: duration("idle_timeout", message.idle_timeout.as_ref())?,
        replies_in_any_order,
        marks: mark_rules,
    }))
}

/// Without them marks would count that must not.
fn mark_rules_of(from: &MetaProtocolFilter) -> Result<marks::MarkRules, Invalid> {
    let Some(any) = &from.config else {
        return Err(Invalid::at("config", "is missing"));
    };
    if type_name(&any.type_url) != marks::TYPE {
        let reason = format!(
            "{:?}, not type.googleapis.com/{}",
            any.type_url,
            marks::TYPE
        );
        return Err(Invalid::at("config.@type", reason));
    }
    let message: Marks = unpack(any).within("config")?;
    marks::rules(&message).within("config")
}

fn route_source(message: &MetaProtocolProxy) -> Result<RouteSource, Invalid> {
    match &message.route_specifier {
        Some(RouteSpecifier::Rds(rds)) if !rds.route_config_name.is_empty() => {
            Ok(RouteSource::Rds(rds.route_config_name.as_str().into()))
        }
        Some(RouteSpecifier::Rds(_)) => Err(Invalid::at("rds.route_config_name", "is empty")),
        Some(RouteSpecifier::RouteConfig(inline)) => {
            let table = routes::inline_table(inline).within("route_config")?;
            Ok(RouteSource::Inline(Arc::new(table)))
        }
        None => Err(Invalid::at("rds", "is missing, and so is route_config")),
    }
}

/// A filter that is not known might limit or refuse requests: leaving it out would be unsafe.
fn typed_config(from: &MetaProtocolFilter) -> Result<TypedConfig, Invalid> {
    if !KNOWN_FILTERS.contains(&&*from.name) {
        return Err(Invalid::at(
            "name",
            format!("{:?} is not supported", from.name),
        ));
    }
    let (type_url, value) = match &from.config {
        Some(any) => (any.type_url.as_str(), any.value.as_slice()),
        None => ("", [].as_slice()),
    };
    if from.name == local_rate_limit::FILTER {
        local_rate_limit::limit(type_url, value).within("config")?;
    }
    Ok(TypedConfig {
        name: from.name.as_str().into(),
        type_url: type_url.into(),
        value: value.into(),
    })
}
