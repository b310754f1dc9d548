//! Generates the messages that this crate reads from the descriptors that Python uses too.
//!
//! Only what is listed here is generated: Envoy's messages reference each other so widely that the
//! whole closure would take minutes to compile. A field that is not listed is skipped when decoding.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

const DESCRIPTORS: &str = "../../python/meltemi/xds/descriptors.binpb";

/// Messages that are decoded from bytes.
const ROOTS: &[&str] = &[
    ".envoy.config.listener.v3.Listener",
    ".envoy.config.route.v3.RouteConfiguration",
    ".envoy.config.cluster.v3.Cluster",
    ".envoy.config.endpoint.v3.ClusterLoadAssignment",
    ".envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    ".envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    ".envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy",
    ".udpa.type.v1.TypedStruct",
    ".aeraki.meta_protocol_proxy.v1alpha.MetaProtocolProxy",
    ".aeraki.meta_protocol_proxy.filters.local_ratelimit.v1alpha.LocalRateLimit",
    ".istio.workload.Address",
    ".meltemi.v1alpha1.UpstreamOptions",
    ".meltemi.v1alpha1.DownstreamOptions",
    ".meltemi.v1alpha1.Marks",
    ".envoy.config.route.v3.VirtualHost",
    ".envoy.config.route.v3.Route",
];

/// The fields that are kept of a large message; a message that is not here keeps all of its fields.
/// `?` behind a field: only whether it is there is read, so its message becomes an empty one.
/// `*` behind a field: its messages stay bytes, and are decoded one by one where they are new.
const FIELDS: &[(&str, &str)] = &[
    (
        ".envoy.config.listener.v3.Listener",
        "name address additional_addresses? filter_chains filter_chain_matcher? use_original_dst \
         default_filter_chain listener_filters traffic_direction api_listener udp_listener_config? \
         internal_listener? bind_to_port",
    ),
    (
        ".envoy.config.listener.v3.FilterChain",
        "filter_chain_match filters transport_socket name",
    ),
    (
        ".envoy.config.listener.v3.FilterChainMatch",
        "destination_port prefix_ranges? address_suffix suffix_len direct_source_prefix_ranges? \
         source_type source_prefix_ranges? source_ports server_names transport_protocol \
         application_protocols",
    ),
    (
        ".envoy.config.listener.v3.Filter",
        "name typed_config config_discovery?",
    ),
    (".envoy.config.listener.v3.ListenerFilter", "name"),
    (".envoy.config.core.v3.TransportSocket", "name"),
    (
        ".envoy.config.core.v3.Address",
        "socket_address pipe? envoy_internal_address?",
    ),
    (
        ".envoy.config.core.v3.SocketAddress",
        "protocol address port_value named_port",
    ),
    (".envoy.config.core.v3.Metadata", "filter_metadata"),
    (
        ".envoy.config.core.v3.HeaderValueOption",
        "header append append_action keep_empty_value",
    ),
    (
        ".envoy.config.core.v3.DataSource",
        "filename inline_bytes inline_string environment_variable",
    ),
    (
        ".envoy.config.core.v3.RuntimeFractionalPercent",
        "default_value",
    ),
    (
        ".envoy.config.route.v3.RouteConfiguration",
        "name virtual_hosts* vhds? request_headers_to_add request_headers_to_remove \
         response_headers_to_add response_headers_to_remove most_specific_header_mutations_wins \
         ignore_port_in_host_matching vhost_header request_mirror_policies? \
         typed_per_filter_config?",
    ),
    (
        ".envoy.config.route.v3.VirtualHost",
        "name domains routes* matcher? require_tls request_headers_to_add \
         request_headers_to_remove response_headers_to_add response_headers_to_remove retry_policy \
         request_mirror_policies? typed_per_filter_config?",
    ),
    (
        ".envoy.config.route.v3.Route",
        "name match route redirect? direct_response filter_action? non_forwarding_action? \
         typed_per_filter_config? \
         request_headers_to_add request_headers_to_remove \
         response_headers_to_add response_headers_to_remove",
    ),
    (
        ".envoy.config.route.v3.RouteMatch",
        "prefix path safe_regex connect_matcher? path_separated_prefix path_match_policy? \
         case_sensitive runtime_fraction headers query_parameters grpc? tls_context? \
         dynamic_metadata? filter_state?",
    ),
    (
        ".envoy.config.route.v3.RouteAction",
        "cluster cluster_header weighted_clusters cluster_specifier_plugin \
         inline_cluster_specifier_plugin? hash_policy timeout max_stream_duration retry_policy \
         retry_policy_typed_config? metadata_match? prefix_rewrite regex_rewrite? path_rewrite_policy? path_rewrite \
         host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex? \
         host_rewrite request_mirror_policies? hedge_policy?",
    ),
    (
        ".envoy.config.route.v3.RouteAction.MaxStreamDuration",
        "max_stream_duration grpc_timeout_header_max",
    ),
    (
        ".envoy.config.route.v3.RetryPolicy",
        "retry_on num_retries per_try_timeout retry_host_predicate \
         host_selection_retry_max_attempts retriable_status_codes retry_back_off retriable_headers \
         retriable_request_headers",
    ),
    (
        ".envoy.config.route.v3.RetryPolicy.RetryHostPredicate",
        "name",
    ),
    (".envoy.config.route.v3.DirectResponseAction", "status body"),
    (
        ".envoy.config.route.v3.RouteAction.HashPolicy",
        "header cookie? connection_properties query_parameter filter_state? terminal",
    ),
    (
        ".envoy.config.route.v3.RouteAction.HashPolicy.Header",
        "header_name regex_rewrite?",
    ),
    (
        ".envoy.config.route.v3.WeightedCluster",
        "clusters total_weight",
    ),
    (
        ".envoy.config.route.v3.WeightedCluster.ClusterWeight",
        "name cluster_header weight metadata_match? request_headers_to_add \
         request_headers_to_remove response_headers_to_add response_headers_to_remove \
         typed_per_filter_config? host_rewrite_literal",
    ),
    (".envoy.type.matcher.v3.RegexMatcher", "regex"),
    (
        ".envoy.type.matcher.v3.StringMatcher",
        "exact prefix suffix safe_regex contains custom? ignore_case",
    ),
    (
        ".envoy.config.cluster.v3.Cluster",
        "name transport_socket_matches type cluster_type eds_cluster_config connect_timeout \
         lb_policy ring_hash_lb_config maglev_lb_config load_assignment circuit_breakers typed_extension_protocol_options \
         transport_socket metadata outlier_detection common_lb_config",
    ),
    (".envoy.config.cluster.v3.Cluster.CustomClusterType", "name"),
    (
        ".envoy.config.cluster.v3.Cluster.EdsClusterConfig",
        "service_name",
    ),
    (
        ".envoy.config.cluster.v3.Cluster.TransportSocketMatch",
        "name match transport_socket",
    ),
    (".envoy.config.cluster.v3.CircuitBreakers", "thresholds"),
    (
        ".envoy.config.cluster.v3.CircuitBreakers.Thresholds",
        "priority max_connections max_pending_requests max_requests max_retries retry_budget",
    ),
    (
        ".envoy.config.cluster.v3.Cluster.CommonLbConfig",
        "healthy_panic_threshold locality_weighted_lb_config",
    ),
    (
        ".envoy.config.cluster.v3.OutlierDetection",
        "consecutive_5xx interval base_ejection_time max_ejection_percent \
         enforcing_consecutive_5xx enforcing_success_rate success_rate_minimum_hosts \
         success_rate_request_volume success_rate_stdev_factor consecutive_gateway_failure \
         enforcing_consecutive_gateway_failure split_external_local_origin_errors \
         consecutive_local_origin_failure enforcing_consecutive_local_origin_failure \
         enforcing_local_origin_success_rate failure_percentage_threshold \
         enforcing_failure_percentage enforcing_failure_percentage_local_origin \
         failure_percentage_minimum_hosts failure_percentage_request_volume max_ejection_time \
         max_ejection_time_jitter always_eject_one_host",
    ),
    (
        ".envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name endpoints policy",
    ),
    (
        ".envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
        "overprovisioning_factor weighted_priority_health",
    ),
    (
        ".envoy.config.endpoint.v3.LocalityLbEndpoints",
        "locality load_balancing_weight lb_endpoints priority load_balancer_endpoints? leds_cluster_locality_config?",
    ),
    (
        ".envoy.config.endpoint.v3.LbEndpoint",
        "endpoint endpoint_name health_status metadata load_balancing_weight",
    ),
    (".envoy.config.endpoint.v3.Endpoint", "address"),
    (
        ".envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix cluster weighted_clusters tunneling_config?",
    ),
    (
        ".envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight",
        "name weight",
    ),
    (
        ".envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "rds route_config scoped_routes? http_filters",
    ),
    (
        ".envoy.extensions.filters.network.http_connection_manager.v3.Rds",
        "route_config_name",
    ),
    (
        ".envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        "name disabled",
    ),
    (
        ".envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy",
        "route_config trds?",
    ),
    (
        ".envoy.extensions.filters.network.thrift_proxy.v3.RouteConfiguration",
        "name routes",
    ),
    (
        ".envoy.extensions.filters.network.thrift_proxy.v3.RouteAction",
        "cluster weighted_clusters cluster_header metadata_match? request_mirror_policies?",
    ),
    (
        ".envoy.extensions.filters.network.thrift_proxy.v3.WeightedCluster.ClusterWeight",
        "name weight metadata_match?",
    ),
    (
        ".aeraki.meta_protocol_proxy.v1alpha.MetaProtocolProxy",
        "stat_prefix application_protocol rds route_config codec meta_protocol_filters idle_timeout \
         protocol",
    ),
    (
        ".aeraki.meta_protocol_proxy.v1alpha.Rds",
        "route_config_name",
    ),
    (
        ".aeraki.meta_protocol_proxy.config.route.v1alpha.RouteAction",
        "cluster weighted_clusters hash_policy",
    ),
    (
        ".istio.workload.Workload",
        "name namespace addresses canonical_name canonical_revision workload_name cluster_id",
    ),
    (".istio.workload.Address", "workload"),
];

fn main() {
    println!("cargo::rerun-if-changed={DESCRIPTORS}");
    println!("cargo::rerun-if-changed=build.rs");
    let bytes =
        fs::read(DESCRIPTORS).expect("the descriptors are committed beside the Python package");
    let mut set = FileDescriptorSet::decode(&*bytes).expect("scripts/descriptors.py wrote them");
    let fields: BTreeMap<&str, &str> = FIELDS.iter().copied().collect();
    prune(&mut set, &fields);
    prost_build::Config::new()
        .btree_map(["."])
        .bytes([
            ".envoy.config.route.v3.RouteConfiguration.virtual_hosts",
            ".envoy.config.route.v3.VirtualHost.routes",
        ])
        // Routes of a sidecar have none of these, and are decoded by the ten thousand.
        .boxed(".envoy.config.route.v3.Route.action.direct_response")
        .boxed(".envoy.config.route.v3.RouteAction.retry_policy")
        .include_file("messages.rs")
        .out_dir(PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")))
        .compile_fds(set)
        .expect("the pruned descriptors are complete");
}

fn prune(set: &mut FileDescriptorSet, fields: &BTreeMap<&str, &str>) {
    for file in &mut set.file {
        let package = format!(".{}", file.package());
        for message in &mut file.message_type {
            prune_fields(message, &package, fields);
        }
    }
    let needed = needed(set);
    for file in &mut set.file {
        let package = format!(".{}", file.package());
        file.message_type
            .retain_mut(|message| keep(message, &package, &needed));
        file.enum_type
            .retain(|kind| needed.contains(&format!("{package}.{}", kind.name())));
        file.service.clear();
        file.extension.clear();
    }
    set.file
        .retain(|file| !file.message_type.is_empty() || !file.enum_type.is_empty());
}

fn prune_fields(message: &mut DescriptorProto, parent: &str, fields: &BTreeMap<&str, &str>) {
    let path = format!("{parent}.{}", message.name());
    if let Some(kept) = fields.get(path.as_str()) {
        let kept: BTreeMap<&str, &str> = kept
            .split_whitespace()
            .map(|name| name.split_at(name.trim_end_matches(['?', '*']).len()))
            .collect();
        for name in kept.keys() {
            assert!(
                message.field.iter().any(|field| field.name() == *name),
                "{path} has no {name}"
            );
        }
        message
            .field
            .retain(|field| kept.contains_key(field.name()));
        for field in &mut message.field {
            replace_type(field, kept[field.name()], &path);
        }
        drop_empty_oneofs(message);
    }
    // Envoy's own successors of what it calls deprecated are read too; warnings would say nothing.
    for options in message
        .field
        .iter_mut()
        .filter_map(|field| field.options.as_mut())
    {
        options.deprecated = None;
    }
    for nested in &mut message.nested_type {
        prune_fields(nested, &path, fields);
    }
}

/// Reads less of a message field than is there: nothing but its presence, or its bytes.
fn replace_type(field: &mut FieldDescriptorProto, mark: &str, path: &str) {
    if mark.is_empty() {
        return;
    }
    assert!(
        field.type_name.is_some(),
        "{path}.{} is no message",
        field.name()
    );
    if mark == "?" {
        field.type_name = Some(".google.protobuf.Empty".to_owned());
    } else {
        // The same on the wire.
        field.type_name = None;
        field.set_type(Type::Bytes);
    }
}

/// A oneof whose fields are all gone would be generated as an empty enum.
fn drop_empty_oneofs(message: &mut DescriptorProto) {
    let mut moved = BTreeMap::new();
    let mut kept = Vec::new();
    for (old, oneof) in (0..).zip(message.oneof_decl.drain(..)) {
        if message
            .field
            .iter()
            .any(|field| field.oneof_index == Some(old))
        {
            moved.insert(old, kept.len() as i32);
            kept.push(oneof);
        }
    }
    message.oneof_decl = kept;
    for field in &mut message.field {
        field.oneof_index = field.oneof_index.map(|old| moved[&old]);
    }
}

/// Full names of the messages and enums that the roots reach.
fn needed(set: &FileDescriptorSet) -> BTreeSet<String> {
    let mut references = BTreeMap::new();
    for FileDescriptorProto {
        package,
        message_type,
        ..
    } in &set.file
    {
        for message in message_type {
            collect(
                message,
                &format!(".{}", package.as_deref().unwrap_or_default()),
                &mut references,
            );
        }
    }
    let mut needed = BTreeSet::new();
    let mut open: Vec<String> = ROOTS.iter().map(ToString::to_string).collect();
    while let Some(name) = open.pop() {
        if needed.insert(name.clone()) {
            open.extend(references.get(&name).into_iter().flatten().cloned());
        }
    }
    needed
}

fn collect(
    message: &DescriptorProto,
    parent: &str,
    references: &mut BTreeMap<String, Vec<String>>,
) {
    let path = format!("{parent}.{}", message.name());
    let types = message
        .field
        .iter()
        .filter_map(|field| field.type_name.clone())
        .collect();
    for nested in &message.nested_type {
        collect(nested, &path, references);
    }
    references.insert(path, types);
}

fn keep(message: &mut DescriptorProto, parent: &str, needed: &BTreeSet<String>) -> bool {
    let path = format!("{parent}.{}", message.name());
    message
        .nested_type
        .retain_mut(|nested| keep(nested, &path, needed));
    message
        .enum_type
        .retain(|kind| needed.contains(&format!("{path}.{}", kind.name())));
    message.extension.clear();
    let kept = needed.contains(&path);
    if !kept {
        // Only a scope for what is nested in it.
        message.field.clear();
        message.oneof_decl.clear();
    }
    kept || !message.nested_type.is_empty() || !message.enum_type.is_empty()
}
