//! Route configurations: Envoy's, as Aeraki maps them, and Aeraki's own inside a listener.

use std::sync::Arc;

use meltemi_routing::{
    AttributeMatch, CompiledRoute, HashPolicy, HashSource, Mutation, Route, RouteError, RouteTable,
    WeightedClusters,
};
use prost::bytes::Bytes;

use crate::field::decode;
use crate::invalid::{Invalid, Within};
use crate::matchers::header_matches;
use crate::messages::aeraki::meta_protocol_proxy::config::route::v1alpha as aeraki;
use crate::messages::envoy::config::core::v3::HeaderValueOption;
use crate::messages::envoy::config::route::v3 as envoy;
use crate::plain_routes::PlainRoutes;
use crate::route_bytes::{Known, Raw};

/// The table of a serialized `envoy.config.route.v3.RouteConfiguration`, as [`crate::Store`] would
/// hold it.
///
/// # Errors
/// Why the store would refuse it: field path and what is wrong there.
pub fn route_table(bytes: &[u8]) -> Result<RouteTable, String> {
    message(bytes)
        .and_then(|message| compile(message, None))
        .map(|routes| routes.table)
        .map_err(|invalid| invalid.to_string())
}

/// A route configuration that holds, with what its routes were compiled from: the next version decodes
/// and compiles only those that are new.
#[derive(Debug)]
pub(crate) struct Routes<T = Arc<RouteTable>> {
    pub(crate) table: T,
    raw: Raw,
}

/// The table of a configuration that has to have this name; `before` is what holds so far.
pub(crate) fn table(name: &str, bytes: &[u8], before: Option<&Routes>) -> Result<Routes, Invalid> {
    let message = message(bytes)?;
    if message.name != name {
        return Err(Invalid::at(
            "name",
            format!("{:?}, not {name:?}", message.name),
        ));
    }
    let Routes { table, raw } = compile(message, before)?;
    let table = Arc::new(table);
    Ok(Routes { table, raw })
}

fn message(bytes: &[u8]) -> Result<envoy::RouteConfiguration, Invalid> {
    let bytes = Bytes::copy_from_slice(bytes);
    decode("envoy.config.route.v3.RouteConfiguration", bytes)
}

fn compile(
    message: envoy::RouteConfiguration,
    before: Option<&Routes>,
) -> Result<Routes<RouteTable>, Invalid> {
    if message.vhds.is_some() {
        return Err(Invalid::at(
            "vhds",
            "virtual hosts on demand are not supported",
        ));
    }
    let raw = match &*message.virtual_hosts {
        [] => Raw::default(),
        [host] => {
            let (raw, host) = Raw::new(host.clone()).within("virtual_hosts[0]")?;
            if host.matcher.is_some() {
                return Err(Invalid::at("virtual_hosts[0].matcher", "is not supported"));
            }
            raw
        }
        several => {
            let reason = format!(
                "{} virtual hosts: an RPC request names no virtual host, so there has to be one",
                several.len()
            );
            return Err(Invalid::at("virtual_hosts", reason));
        }
    };
    let routes = compiled(&raw, before).within("virtual_hosts[0]")?;
    let table = match before {
        Some(before) => before.table.followed_by(routes),
        None => RouteTable::from_compiled(&message.name, routes),
    };
    Ok(Routes { table, raw })
}

/// Compiles each route that `before` has not.
fn compiled(raw: &Raw, before: Option<&Routes>) -> Result<Vec<Arc<CompiledRoute>>, Invalid> {
    let known = before.map(|before| Known::new(before.table.routes(), &before.raw, raw));
    let mut plain = PlainRoutes::default();
    let mut routes = Vec::with_capacity(raw.ranges.len());
    let mut errors = Vec::new();
    for (place, bytes) in raw.iter().enumerate() {
        if let Some(same) = known.as_ref().and_then(|known| known.route(place, bytes)) {
            routes.push(Arc::clone(same));
            continue;
        }
        let new = match plain.read(bytes) {
            Some(route) => route,
            None => decoded(bytes).within(format_args!("routes[{place}]"))?,
        };
        let name = Arc::clone(&new.name);
        match CompiledRoute::new(new) {
            Ok(route) => routes.push(Arc::new(route)),
            Err(wrong) => errors.extend(RouteError::all(place, &name, wrong)),
        }
    }
    if errors.is_empty() {
        Ok(routes)
    } else {
        Err(uncompilable(&errors, "routes"))
    }
}

/// The table of a route configuration that stands in a listener.
pub(crate) fn inline_table(message: &aeraki::RouteConfiguration) -> Result<RouteTable, Invalid> {
    let routes = message
        .routes
        .iter()
        .enumerate()
        .map(|(place, from)| inline_route(from).within(format_args!("routes[{place}]")))
        .collect::<Result<_, _>>()?;
    RouteTable::new(&message.name, routes).map_err(|errors| uncompilable(&errors, "routes"))
}

pub(crate) fn uncompilable(errors: &[RouteError], field: &str) -> Invalid {
    let Some(first) = errors.first() else {
        return Invalid::at(field, "cannot be compiled");
    };
    let RouteError {
        ordinal,
        route,
        attribute,
        reason,
    } = first;
    let more = match errors.len() - 1 {
        0 => String::new(),
        count => format!(" (and {count} more)"),
    };
    Invalid::at(
        format!("{field}[{ordinal}]"),
        format!("route {route:?}, attribute {attribute:?}: {reason}{more}"),
    )
}

/// A route from its bytes.
pub(crate) fn decoded(bytes: &[u8]) -> Result<Route, Invalid> {
    route(&decode("envoy.config.route.v3.Route", bytes)?)
}

fn route(from: &envoy::Route) -> Result<Route, Invalid> {
    let matches = from
        .r#match
        .as_ref()
        .map_or_else(|| Ok(Vec::new()), conditions)
        .within("match")?;
    let (clusters, hash_policy) = match &from.action {
        Some(envoy::route::Action::Route(action)) => destination(action).within("route")?,
        Some(_) => return Err(Invalid::at("action", "only `route` is supported")),
        None => {
            return Err(Invalid::at(
                "route",
                "is missing: it says where requests go",
            ));
        }
    };
    Ok(Route {
        name: from.name.as_str().into(),
        matches,
        clusters,
        hash_policy,
        request_mutation: mutations(
            &from.request_headers_to_add,
            &from.request_headers_to_remove,
        ),
        response_mutation: mutations(
            &from.response_headers_to_add,
            &from.response_headers_to_remove,
        ),
        http: None,
    })
}

fn inline_route(from: &aeraki::Route) -> Result<Route, Invalid> {
    let matches = match &from.r#match {
        Some(wanted) => header_matches("metadata", &wanted.metadata).within("match")?,
        None => Vec::new(),
    };
    let action = from
        .route
        .as_ref()
        .and_then(|action| action.cluster_specifier.as_ref());
    let clusters = match action {
        Some(aeraki::route_action::ClusterSpecifier::Cluster(name)) => single(name),
        Some(aeraki::route_action::ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted_clusters(weighted)
        }
        None => Err(Invalid::at("", "a cluster or weighted_clusters is needed")),
    };
    let pairs = |from: &[aeraki::KeyValue]| -> Vec<Mutation> {
        from.iter()
            .map(|pair| Mutation::Set(pair.key.as_str().into(), pair.value.as_str().into()))
            .collect()
    };
    Ok(Route {
        name: from.name.as_str().into(),
        matches,
        clusters: clusters.within("route")?,
        hash_policy: inline_hash_policies(from.route.as_ref()),
        request_mutation: pairs(&from.request_mutation),
        response_mutation: pairs(&from.response_mutation),
        http: None,
    })
}

/// What is no header is about HTTP. Ignoring it would send requests where no rule sends them.
fn conditions(from: &envoy::RouteMatch) -> Result<Vec<AttributeMatch>, Invalid> {
    use envoy::route_match::PathSpecifier;
    let whole_path = match &from.path_specifier {
        None => true,
        Some(PathSpecifier::Prefix(prefix)) => prefix.is_empty() || prefix == "/",
        Some(_) => false,
    };
    let unsupported = [
        ("path", !whole_path),
        ("runtime_fraction", from.runtime_fraction.is_some()),
        ("query_parameters", !from.query_parameters.is_empty()),
        ("grpc", from.grpc.is_some()),
        ("tls_context", from.tls_context.is_some()),
        ("dynamic_metadata", !from.dynamic_metadata.is_empty()),
        ("filter_state", !from.filter_state.is_empty()),
    ];
    if let Some((field, _)) = unsupported.iter().find(|(_, used)| *used) {
        return Err(Invalid::at(
            *field,
            "is not supported: only `headers` match RPC requests",
        ));
    }
    header_matches("headers", &from.headers)
}

/// A parameter of the query is an attribute of a client's call. What else is about HTTP (cookies) no
/// RPC request has: as in Envoy, it adds nothing to the hash. A header that would be rewritten first is
/// not hashed in another way than asked for.
pub(crate) fn hash_policies(from: &[envoy::route_action::HashPolicy]) -> Vec<HashPolicy> {
    use envoy::route_action::hash_policy::PolicySpecifier;
    from.iter()
        .filter_map(|policy| {
            let source = match policy.policy_specifier.as_ref()? {
                PolicySpecifier::Header(header) if header.regex_rewrite.is_none() => {
                    HashSource::Attribute(header.header_name.to_lowercase().into())
                }
                PolicySpecifier::QueryParameter(of) => {
                    HashSource::Attribute(format!("?{}", of.name).into())
                }
                PolicySpecifier::ConnectionProperties(of) if of.source_ip => HashSource::SourceIp,
                _ => return None,
            };
            let terminal = policy.terminal;
            Some(HashPolicy { source, terminal })
        })
        .collect()
}

/// Names of attributes.
fn inline_hash_policies(from: Option<&aeraki::RouteAction>) -> Vec<HashPolicy> {
    let names = from.map_or(&[][..], |action| &action.hash_policy);
    let policy = |name: &String| HashPolicy {
        source: HashSource::Attribute(name.to_lowercase().into()),
        terminal: false,
    };
    names.iter().map(policy).collect()
}

/// Where requests go, and what is hashed of them.
pub(crate) fn destination(
    from: &envoy::RouteAction,
) -> Result<(WeightedClusters, Vec<HashPolicy>), Invalid> {
    Ok((clusters(from)?, hash_policies(&from.hash_policy)))
}

fn clusters(from: &envoy::RouteAction) -> Result<WeightedClusters, Invalid> {
    use envoy::route_action::ClusterSpecifier;
    match &from.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => single(name),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted_clusters(weighted),
        Some(_) => Err(Invalid::at(
            "",
            "only `cluster` and `weighted_clusters` are supported",
        )),
        None => Err(Invalid::at("", "a cluster or weighted_clusters is needed")),
    }
}

fn single(name: &str) -> Result<WeightedClusters, Invalid> {
    if name.is_empty() {
        return Err(Invalid::at("cluster", "is empty"));
    }
    Ok(WeightedClusters::single(name))
}

/// As in Envoy, a weight that is not set is 0.
fn weighted_clusters(from: &envoy::WeightedCluster) -> Result<WeightedClusters, Invalid> {
    for (place, cluster) in from.clusters.iter().enumerate() {
        if cluster.name.is_empty() || !cluster.cluster_header.is_empty() {
            let field = format!("weighted_clusters.clusters[{place}].name");
            return Err(Invalid::at(
                field,
                "is empty: each destination has to be named",
            ));
        }
    }
    let weights = from.clusters.iter().map(|cluster| {
        (
            Arc::from(cluster.name.as_str()),
            cluster.weight.unwrap_or_default(),
        )
    });
    WeightedClusters::new(weights)
        .map_err(|reason| Invalid::at("weighted_clusters.clusters", reason))
}

/// Whatever `append_action` says, an attribute is set: it has one value.
fn mutations(add: &[HeaderValueOption], remove: &[String]) -> Vec<Mutation> {
    let set = add.iter().filter_map(|option| {
        let header = option.header.as_ref()?;
        let value = if header.value.is_empty() {
            String::from_utf8_lossy(&header.raw_value)
        } else {
            header.value.as_str().into()
        };
        Some(Mutation::Set(header.key.as_str().into(), value.into()))
    });
    let remove = remove
        .iter()
        .map(|name| Mutation::Remove(name.as_str().into()));
    set.chain(remove).collect()
}
