//! Listeners as who calls by their name reads them.

use std::sync::Arc;

use meltemi_routing::{CompiledRoute, Route, RouteTable, VirtualHosts, WeightedClusters};
use prost_types::Any;

use super::{Notes, hosts, thrift};
use crate::field::{decode, type_name, unpack};
use crate::invalid::{Invalid, Within};
use crate::messages::envoy::config::listener::v3 as envoy;
use crate::messages::envoy::config::listener::v3::filter::ConfigType;
use crate::messages::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use crate::messages::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use crate::messages::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use crate::messages::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use crate::messages::envoy::extensions::filters::network::thrift_proxy::v3::ThriftProxy;
use crate::{ClientListener, RouteSource};

const HTTP: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const THRIFT: &str = "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy";
const TCP: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// HTTP filters without which a call is what it would be with them.
const DONE_WITHOUT: [&str; 7] = [
    "envoy.filters.http.cors",
    "envoy.filters.http.grpc_stats",
    "envoy.filters.http.grpc_web",
    "envoy.filters.http.router",
    "istio.alpn",
    "istio.metadata_exchange",
    "istio.stats",
];

/// What a serialized `envoy.config.listener.v3.Listener` says to who calls by its name.
pub(crate) fn listener(name: &str, bytes: &[u8]) -> Result<Arc<ClientListener>, Invalid> {
    let message: envoy::Listener = decode("envoy.config.listener.v3.Listener", bytes)?;
    if message.name != name {
        return Err(Invalid::at(
            "name",
            format!("{:?}, not {name:?}", message.name),
        ));
    }
    let mut found = Found::default();
    for (place, chain) in message.filter_chains.iter().enumerate() {
        found
            .chain(chain)
            .within(format_args!("filter_chains[{place}]"))?;
    }
    if let Some(chain) = &message.default_filter_chain {
        found.chain(chain).within("default_filter_chain")?;
    }
    let api = message.api_listener.as_ref();
    if let Some(any) = api.and_then(|api| api.api_listener.as_ref()) {
        found
            .config(any)
            .within("api_listener")
            .within("api_listener")?;
    }
    Ok(Arc::new(found.into_listener(name)))
}

/// What was found so far; of two of a kind, the last one counts.
#[derive(Default)]
struct Found {
    http: Option<RouteSource<VirtualHosts>>,
    thrift: Option<Arc<RouteTable>>,
    tcp: Option<Arc<RouteTable>>,
    notes: Notes,
}

impl Found {
    fn chain(&mut self, chain: &envoy::FilterChain) -> Result<(), Invalid> {
        for (place, filter) in chain.filters.iter().enumerate() {
            match &filter.config_type {
                Some(ConfigType::TypedConfig(any)) => self
                    .config(any)
                    .within(format_args!("filters[{place}].typed_config"))?,
                _ => self
                    .notes
                    .unused([(&*format!("network filter {:?}", filter.name), true)]),
            }
        }
        Ok(())
    }

    fn config(&mut self, any: &Any) -> Result<(), Invalid> {
        match type_name(&any.type_url) {
            HTTP => self.http(unpack(any)?),
            THRIFT => self.thrift(&unpack(any)?),
            TCP => self.tcp(&unpack(any)?),
            other => {
                self.notes.unused([(other, true)]);
                Ok(())
            }
        }
    }

    fn http(&mut self, message: http::HttpConnectionManager) -> Result<(), Invalid> {
        let filters = message.http_filters.iter();
        for filter in filters.filter(|filter| !filter.disabled) {
            let used = !DONE_WITHOUT.contains(&&*filter.name);
            self.notes
                .unused([(&*format!("HTTP filter {:?}", filter.name), used)]);
        }
        match message.route_specifier {
            Some(RouteSpecifier::Rds(rds)) if rds.route_config_name.is_empty() => {
                return Err(Invalid::at("rds.route_config_name", "is empty"));
            }
            Some(RouteSpecifier::Rds(rds)) => {
                self.http = Some(RouteSource::Rds(rds.route_config_name.into()));
            }
            Some(RouteSpecifier::RouteConfig(inline)) => {
                let hosts = hosts::inline(inline).within("route_config")?;
                self.http = Some(RouteSource::Inline(hosts));
            }
            Some(RouteSpecifier::ScopedRoutes(())) => self.notes.add("scoped_routes are not read"),
            None => self.notes.add("the HTTP connection manager has no routes"),
        }
        Ok(())
    }

    fn thrift(&mut self, message: &ThriftProxy) -> Result<(), Invalid> {
        match &message.route_config {
            Some(inline) => {
                let table = thrift::table(inline).within("route_config")?;
                self.thrift = Some(Arc::new(table));
            }
            None => self
                .notes
                .add("routes of a Thrift proxy are read only from its listener"),
        }
        Ok(())
    }

    fn tcp(&mut self, message: &TcpProxy) -> Result<(), Invalid> {
        let clusters = match &message.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => WeightedClusters::single(name.as_str()),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                let used = weighted
                    .clusters
                    .iter()
                    .filter(|cluster| cluster.weight > 0);
                let weights = used.map(|cluster| (cluster.name.as_str().into(), cluster.weight));
                WeightedClusters::new(weights)
                    .map_err(|reason| Invalid::at("weighted_clusters.clusters", reason))?
            }
            None => {
                self.notes.add("the TCP proxy has no cluster");
                return Ok(());
            }
        };
        self.tcp = Some(Arc::new(RouteTable::from_compiled(
            "",
            vec![to_all(clusters)?],
        )));
        Ok(())
    }

    fn into_listener(mut self, name: &str) -> ClientListener {
        if self.http.is_none() && self.thrift.is_none() && self.tcp.is_none() {
            self.notes.add(
                "there is nothing to route by: no API listener, and no filter chain with an HTTP \
                 connection manager, a Thrift proxy or a TCP proxy that has routes",
            );
        }
        ClientListener {
            name: name.into(),
            http: self.http,
            thrift: self.thrift,
            tcp: self.tcp,
            notes: self.notes.into_boxed(),
        }
    }
}

/// A route of every call.
fn to_all(clusters: WeightedClusters) -> Result<Arc<CompiledRoute>, Invalid> {
    let route = Route {
        name: "tcp".into(),
        matches: Vec::new(),
        clusters,
        hash_policy: Vec::new(),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
    };
    let compiled = CompiledRoute::new(route);
    compiled
        .map(Arc::new)
        .map_err(|_| Invalid::at("", "cannot be compiled"))
}
