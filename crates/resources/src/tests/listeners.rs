//! Listeners, and the MetaProtocol filter in both of its forms.

use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use super::*;
use crate::messages::aeraki::meta_protocol_proxy::v1alpha as aeraki;
use crate::messages::meltemi::v1alpha1::DownstreamOptions;
use crate::messages::udpa::r#type::v1::TypedStruct;
use crate::{Direction, MetaProtocol, NetworkFilter, RouteSource};

const MESSAGE_URL: &str =
    "type.googleapis.com/aeraki.meta_protocol_proxy.v1alpha.MetaProtocolProxy";

pub(super) fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

pub(super) fn object(fields: &[(&str, Value)]) -> Value {
    let fields = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    Value {
        kind: Some(Kind::StructValue(Struct { fields })),
    }
}

pub(super) fn list(values: Vec<Value>) -> Value {
    Value {
        kind: Some(Kind::ListValue(ListValue { values })),
    }
}

pub(super) fn number(value: f64) -> Value {
    Value {
        kind: Some(Kind::NumberValue(value)),
    }
}

fn flag(value: bool) -> Value {
    Value {
        kind: Some(Kind::BoolValue(value)),
    }
}

/// A listener whose filter is a TypedStruct with this value.
fn struct_listener(value: Value) -> listener::Listener {
    let Some(Kind::StructValue(value)) = value.kind else {
        panic!("an object")
    };
    let wrapped = TypedStruct {
        type_url: MESSAGE_URL.to_owned(),
        value: Some(value),
    };
    let any = packed("type.googleapis.com/udpa.type.v1.TypedStruct", &wrapped);
    listener_with("l", "127.0.0.1", 9090, any)
}

fn filter(message: &listener::Listener) -> MetaProtocol {
    let mut store = Store::new();
    accept(&mut store, type_url::LISTENER, &message.name, message);
    match &store.snapshot().listeners[&*message.name].filter {
        NetworkFilter::MetaProtocol(filter) => filter.clone(),
        NetworkFilter::TcpProxy { .. } => panic!("a MetaProtocol filter"),
    }
}

/// The fields that no listener can do without.
fn needed() -> Vec<(&'static str, Value)> {
    vec![
        ("stat_prefix", text("outbound|9090||server")),
        ("application_protocol", text("thrift")),
        (
            "rds",
            object(&[
                ("config_source", object(&[("ads", object(&[]))])),
                ("route_config_name", text("server_9090")),
            ]),
        ),
        (
            "codec",
            object(&[("name", text("aeraki.meta_protocol.codec.thrift"))]),
        ),
    ]
}

/// A listener with one filter of the MetaProtocol filter.
pub(super) fn meta_protocol_with(filter: Value) -> listener::Listener {
    let mut fields = needed();
    fields.push(("meta_protocol_filters", list(vec![filter])));
    struct_listener(object(&fields))
}

pub(super) fn rds_listener(name: &str, routes: &str) -> listener::Listener {
    let message = aeraki::MetaProtocolProxy {
        stat_prefix: "x".to_owned(),
        application_protocol: "thrift".to_owned(),
        codec: Some(aeraki::Codec {
            name: "thrift".to_owned(),
            config: None,
        }),
        route_specifier: Some(aeraki::meta_protocol_proxy::RouteSpecifier::Rds(
            aeraki::Rds {
                route_config_name: routes.to_owned(),
            },
        )),
        ..aeraki::MetaProtocolProxy::default()
    };
    listener_with(name, "127.0.0.1", 9090, packed(MESSAGE_URL, &message))
}

#[test]
fn a_typed_struct_says_what_the_message_would_say() {
    let message = filter(&struct_listener(object(&needed())));
    assert_eq!(&*message.stat_prefix, "outbound|9090||server");
    assert_eq!(
        (&*message.protocol, &*message.codec),
        ("thrift", "aeraki.meta_protocol.codec.thrift")
    );
    assert_eq!(message.routes, RouteSource::Rds("server_9090".into()));
    assert_eq!(
        (message.idle_timeout, message.replies_in_any_order),
        (None, false)
    );
    assert_eq!(
        filter(&rds_listener("l", "r")).routes,
        RouteSource::Rds("r".into())
    );
}

#[test]
fn fields_may_be_written_in_camel_case() {
    let value = object(&[
        ("statPrefix", text("x")),
        ("applicationProtocol", text("thrift")),
        (
            "rds",
            object(&[
                ("configSource", object(&[])),
                ("routeConfigName", text("r")),
            ]),
        ),
        ("codec", object(&[("name", text("c"))])),
        ("idleTimeout", text("1.5s")),
        ("accessLog", list(vec![])),
        (
            "tracing",
            Value {
                kind: Some(Kind::NullValue(0)),
            },
        ),
    ]);
    let message = filter(&struct_listener(value));
    assert_eq!(message.routes, RouteSource::Rds("r".into()));
    assert_eq!(message.idle_timeout, Some(Duration::from_millis(1_500)));
}

#[test]
fn protocol_wins_over_the_fields_that_it_replaced() {
    let mut fields = needed();
    fields.push((
        "protocol",
        object(&[
            ("name", text("dubbo")),
            ("codec", object(&[("name", text("d"))])),
        ]),
    ));
    let message = filter(&struct_listener(object(&fields)));
    assert_eq!((&*message.protocol, &*message.codec), ("dubbo", "d"));
}

#[test]
fn our_own_options_and_the_usual_filters_are_taken() {
    let config = object(&[
        (
            "@type",
            text("type.googleapis.com/meltemi.v1alpha1.DownstreamOptions"),
        ),
        ("repliesInAnyOrder", flag(true)),
    ]);
    let router = object(&[(
        "@type",
        text("type.googleapis.com/aeraki.meta_protocol_proxy.filters.router.v1alpha.Router"),
    )]);
    let mut fields = needed();
    fields.push((
        "meta_protocol_filters",
        list(vec![
            object(&[(
                "name",
                text("aeraki.meta_protocol.filters.metadata_exchange"),
            )]),
            object(&[("name", text("meltemi.downstream")), ("config", config)]),
            object(&[
                ("name", text("aeraki.meta_protocol.filters.router")),
                ("config", router),
            ]),
        ]),
    ));
    let message = filter(&struct_listener(object(&fields)));
    assert!(message.replies_in_any_order);
    assert_eq!(message.filters.len(), 3);
    assert_eq!(
        &*message.filters[1].value,
        DownstreamOptions {
            replies_in_any_order: true
        }
        .encode_to_vec()
    );
}

#[test]
fn routes_may_stand_in_the_listener() {
    let method = object(&[("name", text("method")), ("exact_match", text("sayHello"))]);
    let user = object(&[
        ("name", text("user")),
        ("safeRegexMatch", object(&[("regex", text("a+"))])),
    ]);
    let split = object(&[(
        "clusters",
        list(vec![
            object(&[
                ("name", text("a")),
                (
                    "weight",
                    Value {
                        kind: Some(Kind::NumberValue(20.0)),
                    },
                ),
            ]),
            object(&[("name", text("b")), ("weight", text("80"))]),
        ]),
    )]);
    let routes = list(vec![
        object(&[
            ("name", text("blue")),
            ("match", object(&[("metadata", list(vec![method, user]))])),
            ("route", object(&[("cluster", text("v1"))])),
            (
                "requestMutation",
                list(vec![object(&[
                    ("key", text("lane")),
                    ("value", text("blue")),
                ])]),
            ),
        ]),
        object(&[
            ("name", text("split")),
            ("route", object(&[("weighted_clusters", split)])),
        ]),
    ]);
    let mut fields = needed();
    fields.retain(|(name, _)| *name != "rds");
    fields.push((
        "route_config",
        object(&[("name", text("inline")), ("routes", routes)]),
    ));
    let RouteSource::Inline(table) = filter(&struct_listener(object(&fields))).routes else {
        panic!("inline routes")
    };
    assert_eq!(&**table.name(), "inline");
    let [blue, split] = table.routes() else {
        panic!("two routes")
    };
    assert_eq!((blue.matches.len(), blue.request_mutation.len()), (2, 1));
    assert_eq!(
        split
            .clusters
            .iter()
            .map(|(_, weight)| weight)
            .collect::<Vec<_>>(),
        [20, 80]
    );
}

#[test]
fn an_unknown_or_wrong_field_is_refused_by_name() {
    let said = |name: &'static str, value: Value| {
        let mut fields = needed();
        fields.retain(|(known, _)| *known != name);
        fields.push((name, value));
        refusal(type_url::LISTENER, "l", &struct_listener(object(&fields)))
    };
    let at = "l: filter_chains[0].filters[0].typed_config.value.";
    assert_eq!(
        said("statPrefx", text("x")),
        format!("{at}statPrefx: is not a known field, or is set twice")
    );
    assert_eq!(
        said("statPrefix", text("x")),
        format!("{at}statPrefix: is not a known field, or is set twice")
    );
    assert_eq!(
        said("stat_prefix", flag(true)),
        format!("{at}stat_prefix: a string is needed here")
    );
    assert_eq!(
        said("stat_prefix", text("")),
        format!("{at}stat_prefix: is empty")
    );
    assert_eq!(
        said("rds", object(&[])),
        format!("{at}rds.route_config_name: is empty")
    );
    assert_eq!(
        said("rds", object(&[("x", text(""))])),
        format!("{at}rds.x: is not a known field, or is set twice")
    );
    assert!(
        said("idle_timeout", text("5 minutes"))
            .contains("idle_timeout: \"5 minutes\" is no duration")
    );
    let limit = object(&[("name", text("aeraki.meta_protocol.filters.ratelimit"))]);
    assert_eq!(
        said("meta_protocol_filters", list(vec![limit])),
        format!(
            "{at}meta_protocol_filters[0].name: \"aeraki.meta_protocol.filters.ratelimit\" is not supported"
        )
    );
}

#[test]
fn direction_address_and_cluster_of_a_plain_port_are_read() {
    let mut message = tcp_listener("l", "127.5.0.1", 9090, "inbound|9090||");
    message.traffic_direction = core::TrafficDirection::Inbound as i32;
    let mut store = Store::new();
    accept(&mut store, type_url::LISTENER, "l", &message);
    let listener = Arc::clone(&store.snapshot().listeners["l"]);
    assert_eq!(listener.direction, Direction::Inbound);
    assert_eq!(listener.address.to_string(), "127.5.0.1:9090");
    let cluster = "inbound|9090||".into();
    assert_eq!(
        listener.filter,
        NetworkFilter::TcpProxy {
            stat_prefix: "inbound|9090||".into(),
            cluster
        }
    );
}

#[test]
fn what_cannot_be_done_is_refused_with_the_field() {
    let said = |change: fn(&mut listener::Listener)| {
        let mut message = tcp_listener("l", "127.0.0.1", 1, "c");
        change(&mut message);
        refusal(type_url::LISTENER, "l", &message)
    };
    assert!(said(|l| l.bind_to_port = Some(false)).contains("bind_to_port: is not supported"));
    assert!(said(|l| l.additional_addresses.push(())).contains("additional_addresses"));
    assert!(said(|l| l.address = None).contains("address: a socket_address is needed"));
    assert!(said(|l| l.filter_chains.clear()).contains("filter_chains: 0 filter chains"));
    assert!(
        said(|l| l.filter_chains[0].filters.clear())
            .contains("filter_chains[0].filters: 0 filters")
    );
    assert!(
        said(|l| {
            let name = "envoy.filters.listener.original_dst".to_owned();
            l.listener_filters.push(listener::ListenerFilter { name });
        })
        .contains("listener_filters[0].name: \"envoy.filters.listener.original_dst\"")
    );
    assert!(
        said(|l| {
            let name = "envoy.transport_sockets.tls".to_owned();
            l.filter_chains[0].transport_socket = Some(core::TransportSocket { name });
        })
        .contains("filter_chains[0].transport_socket.name")
    );
    assert!(
        said(|l| {
            let any = Any {
                type_url: "type.googleapis.com/x.Y".to_owned(),
                value: Vec::new(),
            };
            l.filter_chains[0].filters[0].config_type =
                Some(listener::filter::ConfigType::TypedConfig(any));
        })
        .contains("typed_config: filter \"filter\" of type x.Y is not supported")
    );
}
