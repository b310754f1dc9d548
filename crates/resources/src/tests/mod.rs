//! Resources as a server would send them, and what the store makes of them.

mod any_bytes;
mod client;
mod clusters;
mod hashing;
mod limits;
mod listeners;
mod local_limits;
mod plain_routes;
mod routes;
mod sockets;
mod store;
mod workloads;

use std::sync::Arc;

use prost::Message;
use prost_types::Any;

use crate::messages::envoy::config::cluster::v3 as cluster;
use crate::messages::envoy::config::core::v3 as core;
use crate::messages::envoy::config::endpoint::v3 as endpoint;
use crate::messages::envoy::config::listener::v3 as listener;
use crate::messages::envoy::config::route::v3 as route;
use crate::messages::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use crate::{Cluster, Store, type_url};

/// Updates `store` with one resource; what it says of it.
fn put(store: &mut Store, type_url: &str, name: &str, message: &impl Message) -> Vec<String> {
    let rejected = store.update(type_url, "1", &[(name, &message.encode_to_vec())], &[]);
    rejected
        .into_iter()
        .map(|one| format!("{}: {}", one.name, one.reason))
        .collect()
}

/// Updates `store` with one resource that it has to take.
fn accept(store: &mut Store, type_url: &str, name: &str, message: &impl Message) {
    assert_eq!(put(store, type_url, name, message), Vec::<String>::new());
}

/// What a new store says of one resource.
fn refusal(type_url: &str, name: &str, message: &impl Message) -> String {
    let mut said = put(&mut Store::new(), type_url, name, message);
    assert_eq!(said.len(), 1, "{said:?}");
    said.remove(0)
}

fn held(store: &Store, cluster: &str) -> Arc<Cluster> {
    Arc::clone(&store.snapshot().clusters[cluster])
}

fn address(ip: &str, port: u32) -> Option<core::Address> {
    let socket = core::SocketAddress {
        protocol: 0,
        address: ip.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
    };
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    })
}

fn lb_endpoint(ip: &str, port: u32) -> endpoint::LbEndpoint {
    let endpoint = endpoint::Endpoint {
        address: address(ip, port),
    };
    endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..endpoint::LbEndpoint::default()
    }
}

fn assignment(name: &str, endpoints: Vec<endpoint::LbEndpoint>) -> endpoint::ClusterLoadAssignment {
    let locality = endpoint::LocalityLbEndpoints {
        lb_endpoints: endpoints,
        ..Default::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![locality],
        policy: None,
    }
}

fn eds_cluster(name: &str, service_name: &str) -> cluster::Cluster {
    cluster::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(3)),
        eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
            service_name: service_name.to_owned(),
        }),
        ..cluster::Cluster::default()
    }
}

fn static_cluster(name: &str, endpoints: Vec<endpoint::LbEndpoint>) -> cluster::Cluster {
    cluster::Cluster {
        name: name.to_owned(),
        load_assignment: Some(assignment(name, endpoints)),
        ..cluster::Cluster::default()
    }
}

fn tcp_listener(name: &str, ip: &str, port: u32, cluster: &str) -> listener::Listener {
    let proxy = tcp::TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(tcp::tcp_proxy::ClusterSpecifier::Cluster(
            cluster.to_owned(),
        )),
        ..tcp::TcpProxy::default()
    };
    let url = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    listener_with(name, ip, port, packed(url, &proxy))
}

fn listener_with(name: &str, ip: &str, port: u32, config: Any) -> listener::Listener {
    let filter = listener::Filter {
        name: "filter".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
    };
    listener::Listener {
        name: name.to_owned(),
        address: address(ip, port),
        filter_chains: vec![listener::FilterChain {
            filters: vec![filter],
            ..Default::default()
        }],
        ..listener::Listener::default()
    }
}

fn packed(type_url: &str, message: &impl Message) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value: message.encode_to_vec(),
    }
}

fn to_cluster(name: &str, headers: Vec<route::HeaderMatcher>, cluster: &str) -> route::Route {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
            cluster.to_owned(),
        )),
        ..route::RouteAction::default()
    };
    with_action(name, headers, action)
}

fn with_action(
    name: &str,
    headers: Vec<route::HeaderMatcher>,
    action: route::RouteAction,
) -> route::Route {
    route::Route {
        name: name.to_owned(),
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
            headers,
            ..route::RouteMatch::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..route::Route::default()
    }
}

fn header(name: &str, wanted: route::header_matcher::HeaderMatchSpecifier) -> route::HeaderMatcher {
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(wanted),
        ..route::HeaderMatcher::default()
    }
}

fn route_configuration(name: &str, routes: Vec<route::Route>) -> route::RouteConfiguration {
    let host = route::VirtualHost {
        name: "dummy".to_owned(),
        domains: vec!["*".to_owned()],
        routes: routes
            .iter()
            .map(|route| route.encode_to_vec().into())
            .collect(),
        ..route::VirtualHost::default()
    };
    route::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host.encode_to_vec().into()],
        ..route::RouteConfiguration::default()
    }
}

/// The names that [`Store::update`] understands, for claims about each of them.
const TYPES: [&str; 5] = [
    type_url::LISTENER,
    type_url::ROUTE,
    type_url::CLUSTER,
    type_url::ENDPOINT,
    type_url::WORKLOAD,
];
