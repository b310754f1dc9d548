//! Endpoints of one cluster that take different transport sockets.

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use super::*;

fn marks(pairs: &[(&str, &str)]) -> Struct {
    let value = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let fields = pairs.iter();
    Struct {
        fields: fields
            .map(|(key, text)| ((*key).to_owned(), value(text)))
            .collect(),
    }
}

fn socket(kind: &str) -> Option<core::TransportSocket> {
    Some(core::TransportSocket {
        name: format!("envoy.transport_sockets.{kind}"),
    })
}

fn choice(wanted: Option<Struct>, kind: &str) -> cluster::cluster::TransportSocketMatch {
    cluster::cluster::TransportSocketMatch {
        name: kind.to_owned(),
        r#match: wanted,
        transport_socket: socket(kind),
    }
}

fn marked(port: u32, pairs: &[(&str, &str)]) -> endpoint::LbEndpoint {
    let name = "envoy.transport_socket_match".to_owned();
    endpoint::LbEndpoint {
        metadata: Some(core::Metadata {
            filter_metadata: [(name, marks(pairs))].into(),
        }),
        ..lb_endpoint("127.0.0.1", port)
    }
}

/// What istiod says of every cluster of a sidecar.
fn istios() -> Vec<cluster::cluster::TransportSocketMatch> {
    vec![
        choice(Some(marks(&[("tlsMode", "istio")])), "tls"),
        choice(Some(marks(&[])), "raw_buffer"),
    ]
}

/// Ports of the endpoints that can be used, and whether calls are refused for a socket's sake: with the
/// endpoints in the cluster and as a load assignment, which agree.
fn usable(
    matches: Vec<cluster::cluster::TransportSocketMatch>,
    otherwise: Option<core::TransportSocket>,
    endpoints: Vec<endpoint::LbEndpoint>,
) -> (Vec<u16>, bool) {
    let ends = |cluster: &Cluster| {
        let ports = cluster.endpoints.iter().map(|one| one.address.port());
        (ports.collect::<Vec<_>>(), cluster.refuse.is_some())
    };
    let mut store = Store::new();
    let inline = cluster::Cluster {
        transport_socket_matches: matches.clone(),
        transport_socket: otherwise.clone(),
        ..static_cluster("inline", endpoints.clone())
    };
    accept(&mut store, type_url::CLUSTER, "inline", &inline);
    let eds = cluster::Cluster {
        transport_socket_matches: matches,
        transport_socket: otherwise,
        ..eds_cluster("eds", "eds")
    };
    accept(&mut store, type_url::CLUSTER, "eds", &eds);
    let assigned = assignment("eds", endpoints);
    accept(&mut store, type_url::ENDPOINT, "eds", &assigned);
    let found = ends(&held(&store, "eds"));
    assert_eq!(ends(&held(&store, "inline")), found);
    found
}

#[test]
fn endpoints_without_istios_mark_are_reached_in_plain_text() {
    let endpoints = vec![
        lb_endpoint("127.0.0.1", 1),
        marked(2, &[("tlsMode", "disabled")]),
    ];
    assert_eq!(usable(istios(), None, endpoints), (vec![1, 2], false));
}

#[test]
fn endpoints_that_want_tls_are_left_out_and_refuse_where_they_are_all() {
    let secured = || marked(1, &[("tlsMode", "istio"), ("more", "x")]);
    let endpoints = vec![secured(), lb_endpoint("127.0.0.1", 2)];
    assert_eq!(usable(istios(), None, endpoints), (vec![2], false));
    assert_eq!(usable(istios(), None, vec![secured()]), (vec![], true));
    assert_eq!(usable(istios(), None, vec![]), (vec![], false));
}

#[test]
fn the_first_match_counts_and_the_clusters_own_socket_is_for_the_rest() {
    let plain = || choice(Some(marks(&[("a", "1")])), "raw_buffer");
    let tls = || choice(Some(marks(&[("a", "1"), ("b", "2")])), "tls");
    let endpoints = || {
        let both = marked(1, &[("a", "1"), ("b", "2")]);
        vec![both, marked(2, &[("b", "2")])]
    };
    let found = |matches, otherwise| usable(matches, otherwise, endpoints());
    assert_eq!(found(vec![plain(), tls()], None), (vec![1, 2], false));
    assert_eq!(found(vec![tls(), plain()], None), (vec![2], false));
    assert_eq!(found(vec![plain()], socket("tls")), (vec![1], false));
    assert_eq!(found(vec![tls()], socket("tls")), (vec![], true));
}

#[test]
fn a_match_that_cannot_be_understood_is_taken_for_one_of_all() {
    let number = Value {
        kind: Some(Kind::NumberValue(1.0)),
    };
    let odd = Struct {
        fields: [("a".to_owned(), number)].into(),
    };
    let endpoints = || vec![lb_endpoint("127.0.0.1", 1)];
    let found = |kind| usable(vec![choice(Some(odd.clone()), kind)], None, endpoints());
    assert_eq!(found("tls"), (vec![], true));
    assert_eq!(found("raw_buffer"), (vec![1], false));
    let anything = vec![choice(None, "tls")];
    assert_eq!(usable(anything, None, endpoints()), (vec![], true));
}
