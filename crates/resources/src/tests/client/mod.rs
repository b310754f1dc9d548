//! What a client without a sidecar makes of resources.

mod actions;
mod changes;
mod conditions;
mod hosts;
mod listeners;
mod store;

use meltemi_routing::{Request, Route, VirtualHosts};

use super::*;
use crate::ClientStore;
use crate::messages::envoy::extensions::filters::network::http_connection_manager::v3 as manager;
use crate::messages::envoy::extensions::filters::network::thrift_proxy::v3 as thrift;
use crate::messages::envoy::r#type::matcher::v3::RegexMatcher;

/// Updates `store` with one resource; what it says of it.
fn give(
    store: &mut ClientStore,
    type_url: &str,
    name: &str,
    message: &impl Message,
) -> Vec<String> {
    let rejected = store.update(type_url, "1", &[(name, &message.encode_to_vec())], &[]);
    let said = rejected.into_iter();
    said.map(|one| format!("{}: {}", one.name, one.reason))
        .collect()
}

/// Updates `store` with one resource that it has to take.
fn take(store: &mut ClientStore, type_url: &str, name: &str, message: &impl Message) {
    assert_eq!(give(store, type_url, name, message), Vec::<String>::new());
}

/// The virtual hosts of a configuration `r` that a new store has to take.
fn hosts(message: &route::RouteConfiguration) -> Arc<VirtualHosts> {
    let mut store = ClientStore::new();
    take(&mut store, type_url::ROUTE, "r", message);
    Arc::clone(&store.snapshot().routes["r"])
}

/// What a new store says of a configuration `r`.
fn refused(message: &route::RouteConfiguration) -> String {
    let mut store = ClientStore::new();
    let mut said = give(&mut store, type_url::ROUTE, "r", message);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(store.snapshot().routes.is_empty());
    said.remove(0)
}

/// The only route of a configuration, as it was read.
fn read(from: route::Route) -> Route {
    let hosts = hosts(&route_configuration("r", vec![from]));
    Route::clone(&hosts.hosts()[0].table.routes()[0])
}

/// Why a configuration with this route is refused, from the route on.
fn refused_route(from: route::Route) -> String {
    let said = refused(&route_configuration("r", vec![from]));
    let start = "r: virtual_hosts[0].routes[0]";
    assert!(said.starts_with(start), "{said}");
    said[start.len()..]
        .trim_start_matches(['.', ':', ' '])
        .to_owned()
}

/// A route to cluster `a` that holds for what `wanted` says.
fn matching(wanted: route::RouteMatch) -> route::Route {
    route::Route {
        r#match: Some(wanted),
        ..to_cluster("it", Vec::new(), "a")
    }
}

/// Whether a call takes the route with this match.
fn holds(wanted: &route::RouteMatch, path: &str, headers: &[(&str, &str)]) -> bool {
    let hosts = hosts(&route_configuration("r", vec![matching(wanted.clone())]));
    let request = Request::new("POST", "http", "reviews:9080", path, headers);
    hosts.hosts()[0].table.select(&request).is_some()
}

fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher {
        regex: pattern.to_owned(),
    }
}

const NETWORK: &str = "type.googleapis.com/envoy.extensions.filters.network";

fn http_manager(routes: Option<manager::http_connection_manager::RouteSpecifier>) -> Any {
    let filter = |name: &str| manager::HttpFilter {
        name: name.to_owned(),
        ..manager::HttpFilter::default()
    };
    let message = manager::HttpConnectionManager {
        route_specifier: routes,
        http_filters: ["envoy.filters.http.fault", "envoy.filters.http.router"]
            .map(filter)
            .into(),
    };
    let url = format!("{NETWORK}.http_connection_manager.v3.HttpConnectionManager");
    packed(&url, &message)
}

fn rds(name: &str) -> Option<manager::http_connection_manager::RouteSpecifier> {
    Some(manager::http_connection_manager::RouteSpecifier::Rds(
        manager::Rds {
            route_config_name: name.to_owned(),
        },
    ))
}

fn thrift_proxy(routes: Option<Vec<thrift::Route>>) -> Any {
    let message = thrift::ThriftProxy {
        route_config: routes.map(|routes| thrift::RouteConfiguration {
            name: "inline".to_owned(),
            routes,
        }),
        ..thrift::ThriftProxy::default()
    };
    packed(&format!("{NETWORK}.thrift_proxy.v3.ThriftProxy"), &message)
}

/// A listener with a filter chain for each of `filters`.
fn chains(filters: Vec<Any>) -> listener::Listener {
    let chain = |config| listener::FilterChain {
        filters: vec![listener::Filter {
            name: "f".to_owned(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
        }],
        ..listener::FilterChain::default()
    };
    listener::Listener {
        name: "l".to_owned(),
        filter_chains: filters.into_iter().map(chain).collect(),
        ..listener::Listener::default()
    }
}

fn api(name: &str, config: Any) -> listener::Listener {
    listener::Listener {
        name: name.to_owned(),
        api_listener: Some(listener::ApiListener {
            api_listener: Some(config),
        }),
        ..listener::Listener::default()
    }
}

/// A listener as istiod makes it for gRPC's own client.
pub(super) fn api_listener(name: &str, routes: &str) -> listener::Listener {
    api(name, http_manager(rds(routes)))
}

/// Chains of every kind, with their routes in them.
pub(super) fn inline_listener(name: &str) -> listener::Listener {
    let routes = every_field("inline");
    let inline = manager::http_connection_manager::RouteSpecifier::RouteConfig(routes);
    let thrift = thrift::Route {
        r#match: Some(thrift::RouteMatch {
            match_specifier: Some(thrift::route_match::MatchSpecifier::MethodName(
                "ping".to_owned(),
            )),
            ..thrift::RouteMatch::default()
        }),
        route: Some(thrift::RouteAction {
            cluster_specifier: Some(thrift::route_action::ClusterSpecifier::Cluster(
                "a".to_owned(),
            )),
            ..thrift::RouteAction::default()
        }),
    };
    listener::Listener {
        name: name.to_owned(),
        ..chains(vec![
            http_manager(Some(inline)),
            thrift_proxy(Some(vec![thrift])),
        ])
    }
}

/// A configuration with something in most of the fields that are read.
pub(super) fn every_field(name: &str) -> route::RouteConfiguration {
    use route::header_matcher::HeaderMatchSpecifier as Wanted;
    let mut from = matching(route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::SafeRegex(regex("/a.*"))),
        headers: vec![header("x", Wanted::PresentMatch(true))],
        query_parameters: vec![route::QueryParameterMatcher {
            name: "q".to_owned(),
            query_parameter_match_specifier: None,
        }],
        ..route::RouteMatch::default()
    });
    from.request_headers_to_remove = vec!["x".to_owned()];
    if let Some(route::route::Action::Route(action)) = &mut from.action {
        action.timeout = seconds(1);
        action.retry_policy = Some(Box::new(route::RetryPolicy {
            retry_on: "5xx".to_owned(),
            retriable_headers: vec![header("x", Wanted::PresentMatch(true))],
            ..route::RetryPolicy::default()
        }));
    }
    let direct = route::Route {
        action: Some(route::route::Action::DirectResponse(Box::new(
            route::DirectResponseAction {
                status: 503,
                body: None,
            },
        ))),
        ..to_cluster("direct", Vec::new(), "a")
    };
    route_configuration(name, vec![from, direct])
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}
