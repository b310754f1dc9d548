//! Routes of Envoy's Thrift proxy, as they stand in a listener.

use std::sync::Arc;

use meltemi_routing::{
    Answer, AttributeMatch, HttpAction, Matcher, Route, RouteTable, WeightedClusters,
};

use super::Notes;
use crate::invalid::{Invalid, Within};
use crate::matchers::header_matches;
use crate::messages::envoy::extensions::filters::network::thrift_proxy::v3 as envoy;
use crate::messages::envoy::extensions::filters::network::thrift_proxy::v3::route_action::ClusterSpecifier;
use crate::messages::envoy::extensions::filters::network::thrift_proxy::v3::route_match::MatchSpecifier;
use crate::routes::uncompilable;

/// The table of a Thrift proxy. Its routes have no names.
pub(super) fn table(message: &envoy::RouteConfiguration) -> Result<RouteTable, Invalid> {
    let routes = message.routes.iter().enumerate();
    let routes = routes
        .map(|(place, from)| route(from).within(format_args!("routes[{place}]")))
        .collect::<Result<_, _>>()?;
    RouteTable::new(&message.name, routes).map_err(|errors| uncompilable(&errors, "routes"))
}

fn route(from: &envoy::Route) -> Result<Route, Invalid> {
    let wanted = from.r#match.as_ref();
    let wanted = wanted.ok_or_else(|| Invalid::at("match", "is missing"))?;
    let matches = conditions(wanted).within("match")?;
    let action = from.route.as_ref();
    let action = action.ok_or_else(|| Invalid::at("route", "is missing"))?;
    let mut notes = Notes::default();
    notes.unused([
        ("metadata_match", action.metadata_match.is_some()),
        (
            "request_mirror_policies",
            !action.request_mirror_policies.is_empty(),
        ),
    ]);
    let (clusters, answer) = clusters(action).within("route")?;
    let http = HttpAction {
        answer,
        notes: notes.into_boxed(),
        ..HttpAction::default()
    };
    Ok(Route {
        name: "".into(),
        matches,
        clusters,
        hash_policy: Vec::new(),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: (http != HttpAction::default()).then(|| Box::new(http)),
    })
}

/// `method` and `service` are what a call names; an empty one in the route stands for any.
fn conditions(from: &envoy::RouteMatch) -> Result<Vec<AttributeMatch>, Invalid> {
    let (name, value) = match &from.match_specifier {
        Some(MatchSpecifier::MethodName(method)) => ("method", &**method),
        Some(MatchSpecifier::ServiceName(service)) => {
            ("service", service.strip_suffix(':').unwrap_or(service))
        }
        None => {
            return Err(Invalid::at(
                "method_name",
                "is missing, and so is service_name",
            ));
        }
    };
    let mut all = header_matches("headers", &from.headers)?;
    if value.is_empty() && from.invert {
        let reason = "an empty name stands for any, and cannot be inverted";
        return Err(Invalid::at("invert", reason));
    }
    if !value.is_empty() {
        let condition = AttributeMatch {
            name: name.into(),
            matcher: Matcher::Exact(value.as_bytes().into()),
            invert: from.invert,
            // A call without a name is not of this name.
            missing_is_empty: true,
        };
        all.insert(0, condition);
    }
    Ok(all)
}

fn clusters(from: &envoy::RouteAction) -> Result<(WeightedClusters, Option<Answer>), Invalid> {
    match &from.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if name.is_empty() => {
            Err(Invalid::at("cluster", "is empty"))
        }
        Some(ClusterSpecifier::Cluster(name)) => {
            Ok((WeightedClusters::single(name.as_str()), None))
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let weights = weighted.clusters.iter().map(|cluster| {
                let weight = cluster.weight.unwrap_or_default();
                (Arc::from(cluster.name.as_str()), weight)
            });
            WeightedClusters::new(weights.filter(|(_, weight)| *weight > 0))
                .map(|clusters| (clusters, None))
                .map_err(|reason| Invalid::at("weighted_clusters.clusters", reason))
        }
        Some(ClusterSpecifier::ClusterHeader(header)) => {
            let reason = format!(
                "the route goes to the cluster that header {header:?} names: a caller may not choose it"
            );
            let answer = Answer::Refused(reason.into());
            Ok((WeightedClusters::none(), Some(answer)))
        }
        None => Err(Invalid::at("", "a cluster or weighted_clusters is needed")),
    }
}
