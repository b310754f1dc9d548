//! Listeners that calls are made by the name of.

use meltemi_routing::{Answer, RouteTable};

use super::*;
use crate::{ClientListener, RouteSource};
use manager::http_connection_manager::RouteSpecifier;
use thrift::route_action::ClusterSpecifier;
use thrift::route_match::MatchSpecifier;

fn tcp_proxy(cluster: &str) -> Any {
    let message = tcp::TcpProxy {
        cluster_specifier: Some(tcp::tcp_proxy::ClusterSpecifier::Cluster(
            cluster.to_owned(),
        )),
        ..tcp::TcpProxy::default()
    };
    packed(&format!("{NETWORK}.tcp_proxy.v3.TcpProxy"), &message)
}

fn taken(message: &listener::Listener) -> Arc<ClientListener> {
    let mut store = ClientStore::new();
    take(&mut store, type_url::LISTENER, "l", message);
    Arc::clone(&store.snapshot().listeners["l"])
}

fn refusal_of(message: &listener::Listener) -> String {
    let mut store = ClientStore::new();
    give(&mut store, type_url::LISTENER, "l", message).join("; ")
}

#[test]
fn an_api_listener_says_where_its_routes_are() {
    let found = taken(&api("l", http_manager(rds("outbound|9080||reviews"))));
    let named = RouteSource::Rds("outbound|9080||reviews".into());
    assert_eq!(found.http, Some(named));
    assert!(found.thrift.is_none() && found.tcp.is_none());
    assert_eq!(found.notes.len(), 1);
    assert!(found.notes[0].contains("envoy.filters.http.fault"));
}

#[test]
fn routes_may_stand_in_the_listener() {
    let inline = route_configuration("inline", vec![to_cluster("it", Vec::new(), "a")]);
    let found = taken(&api(
        "l",
        http_manager(Some(RouteSpecifier::RouteConfig(inline))),
    ));
    let Some(RouteSource::Inline(hosts)) = &found.http else {
        panic!("{:?}", found.http);
    };
    let host = hosts.select("anything").expect("a host for all");
    assert_eq!(&*host.table.routes()[0].name, "it");
}

#[test]
fn chains_of_every_kind_are_read() {
    let found = taken(&inline_listener("l"));
    assert!(found.http.is_some() && found.thrift.is_some());
}

#[test]
fn a_port_whose_protocol_istiod_does_not_know_has_a_chain_for_each() {
    let found = taken(&chains(vec![
        tcp_proxy("t"),
        http_manager(rds("reviews:9080")),
    ]));
    assert_eq!(found.http, Some(RouteSource::Rds("reviews:9080".into())));
    let clusters = &found.tcp.as_ref().expect("a TCP proxy").routes()[0].clusters;
    assert_eq!(*clusters.names(), ["t".into()]);
    let mut default = chains(vec![
        http_manager(rds("first")),
        http_manager(rds("second")),
    ]);
    assert_eq!(
        taken(&default).http,
        Some(RouteSource::Rds("second".into()))
    );
    default.default_filter_chain = chains(vec![http_manager(rds("last"))]).filter_chains.pop();
    assert_eq!(taken(&default).http, Some(RouteSource::Rds("last".into())));
    default.api_listener = api("l", http_manager(rds("api"))).api_listener;
    assert_eq!(taken(&default).http, Some(RouteSource::Rds("api".into())));
}

#[test]
fn a_tcp_proxy_may_have_weights() {
    use tcp::tcp_proxy::weighted_cluster::ClusterWeight;
    let weight = |name: &str, weight| ClusterWeight {
        name: name.to_owned(),
        weight,
    };
    let message = tcp::TcpProxy {
        cluster_specifier: Some(tcp::tcp_proxy::ClusterSpecifier::WeightedClusters(
            tcp::tcp_proxy::WeightedCluster {
                clusters: vec![weight("a", 3), weight("none", 0), weight("b", 1)],
            },
        )),
        ..tcp::TcpProxy::default()
    };
    let config = packed(&format!("{NETWORK}.tcp_proxy.v3.TcpProxy"), &message);
    let found = taken(&chains(vec![config]));
    let clusters = &found.tcp.as_ref().expect("a TCP proxy").routes()[0].clusters;
    let weights: Vec<_> = clusters.iter().collect();
    assert_eq!(weights, [(&"a".into(), 3), (&"b".into(), 1)]);
}

#[test]
fn a_listener_with_nothing_to_route_by_is_taken_and_says_why() {
    let other = packed("type.googleapis.com/envoy.config.Unknown", &tcp_endpoint());
    for (message, word) in [
        (chains(vec![]), "no API listener"),
        (chains(vec![other]), "envoy.config.Unknown"),
        (api("l", http_manager(None)), "has no routes"),
        (
            api("l", http_manager(Some(RouteSpecifier::ScopedRoutes(())))),
            "scoped_routes",
        ),
        (chains(vec![thrift_proxy(None)]), "only from its listener"),
    ] {
        let found = taken(&message);
        assert!(found.http.is_none() && found.thrift.is_none() && found.tcp.is_none());
        let notes = found.notes.join("; ");
        assert!(notes.contains(word), "{notes}");
        assert!(notes.contains("nothing to route by"), "{notes}");
    }
}

fn tcp_endpoint() -> impl Message {
    lb_endpoint("127.0.0.1", 1)
}

#[test]
fn a_broken_listener_is_refused_with_its_field() {
    assert_eq!(
        refusal_of(&api("l", http_manager(rds("")))),
        "l: api_listener.api_listener.rds.route_config_name: is empty"
    );
    let twice = route::RouteConfiguration {
        virtual_hosts: vec![route_configuration("", vec![]).virtual_hosts.remove(0); 2],
        ..route::RouteConfiguration::default()
    };
    let inline = chains(vec![http_manager(Some(RouteSpecifier::RouteConfig(twice)))]);
    let said = refusal_of(&inline);
    let start =
        "l: filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[1].domains[0]";
    assert!(said.starts_with(start), "{said}");
    let mut renamed = chains(vec![]);
    renamed.name = "m".to_owned();
    assert_eq!(refusal_of(&renamed), "l: name: \"m\", not \"l\"");
}

fn thrift_route(wanted: MatchSpecifier, invert: bool, cluster: &str) -> thrift::Route {
    thrift::Route {
        r#match: Some(thrift::RouteMatch {
            match_specifier: Some(wanted),
            invert,
            headers: Vec::new(),
        }),
        route: Some(thrift::RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
            ..thrift::RouteAction::default()
        }),
    }
}

fn thrift_table(routes: Vec<thrift::Route>) -> Arc<RouteTable> {
    let found = taken(&chains(vec![thrift_proxy(Some(routes))]));
    Arc::clone(found.thrift.as_ref().expect("a Thrift proxy"))
}

#[test]
fn a_thrift_proxy_routes_by_method_service_and_headers() {
    let method = |name: &str| MatchSpecifier::MethodName(name.to_owned());
    let service = |name: &str| MatchSpecifier::ServiceName(name.to_owned());
    let lane = route::header_matcher::HeaderMatchSpecifier::ExactMatch("blue".to_owned());
    let mut in_lane = thrift_route(method("ping"), false, "lane");
    if let Some(wanted) = &mut in_lane.r#match {
        wanted.headers = vec![header("lane", lane)];
    }
    let table = thrift_table(vec![
        in_lane,
        thrift_route(method("ping"), false, "ping"),
        thrift_route(service("Reviews:"), false, "reviews"),
        thrift_route(service("Ratings"), true, "not ratings"),
        thrift_route(method(""), false, "rest"),
    ]);
    let goes = |headers: &[(&str, &str)]| {
        let request = Request::new("POST", "http", "a", "/", headers);
        let place = table.select(&request).expect("a route");
        table.routes()[place].clusters.names()[0].to_string()
    };
    assert_eq!(goes(&[("method", "ping"), ("lane", "blue")]), "lane");
    assert_eq!(goes(&[("method", "ping")]), "ping");
    assert_eq!(goes(&[("method", "x"), ("service", "Reviews")]), "reviews");
    assert_eq!(goes(&[("method", "x"), ("service", "Ratings")]), "rest");
    assert_eq!(
        goes(&[("method", "x"), ("service", "Other")]),
        "not ratings"
    );
    assert_eq!(goes(&[("method", "x")]), "not ratings");
}

#[test]
fn thrift_routes_have_weights_and_refuse_what_a_header_would_choose() {
    let weight = |name: &str, weight| thrift::weighted_cluster::ClusterWeight {
        name: name.to_owned(),
        weight: Some(weight),
        ..Default::default()
    };
    let any = || MatchSpecifier::MethodName(String::new());
    let mut split = thrift_route(any(), false, "a");
    let mut chosen = thrift_route(any(), false, "a");
    if let (Some(split), Some(chosen)) = (&mut split.route, &mut chosen.route) {
        let clusters = vec![weight("a", 1), weight("none", 0), weight("b", 3)];
        split.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(
            thrift::WeightedCluster { clusters },
        ));
        chosen.cluster_specifier = Some(ClusterSpecifier::ClusterHeader("x-to".to_owned()));
    }
    let table = thrift_table(vec![split, chosen]);
    let weights: Vec<_> = table.routes()[0].clusters.iter().collect();
    assert_eq!(weights, [(&"a".into(), 1), (&"b".into(), 3)]);
    let http = table.routes()[1].http.as_ref().expect("an answer");
    assert!(matches!(&http.answer, Some(Answer::Refused(reason)) if reason.contains("x-to")));
    let inverted = thrift_route(any(), true, "a");
    let said = refusal_of(&chains(vec![thrift_proxy(Some(vec![inverted]))]));
    assert!(
        said.contains("routes[0].match.invert: an empty name"),
        "{said}"
    );
}
