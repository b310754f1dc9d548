//! Where the calls of a route go, and how.

use std::sync::Arc;
use std::time::Duration;

use meltemi_routing::{Answer, HashPolicy, HttpAction, Mutations, Route, WeightedClusters};

use super::Notes;
use super::changes::fields;
use super::conditions::conditions;
use super::retries::retry_policy;
use crate::field::set_duration;
use crate::invalid::{Invalid, Within};
use crate::messages::envoy::config::core::v3::data_source::Specifier;
use crate::messages::envoy::config::route::v3 as envoy;
use crate::messages::envoy::config::route::v3::route::Action;
use crate::messages::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HostRewriteSpecifier,
};
use crate::routes::hash_policies;

/// The route of a message; what is wrong with it is found here, but for its expressions.
pub(super) fn route(from: &envoy::Route) -> Result<Route, Invalid> {
    let mut notes = Notes::default();
    let wanted = from.r#match.as_ref();
    let wanted = wanted.ok_or_else(|| Invalid::at("match", "is missing"))?;
    let matches = conditions(wanted).within("match")?;
    let Mutations { request, response } = fields!(from).read(&mut notes)?;
    let Target {
        clusters,
        of_cluster,
        answer,
    } = target(from, &mut notes)?;
    let mut http = HttpAction {
        answer,
        of_cluster,
        ..HttpAction::default()
    };
    let mut hash_policy = Vec::new();
    if let Some(Action::Route(action)) = &from.action {
        hash_policy = policies(action, &mut notes);
        http.timeout = timeout(action).within("route")?;
        let retry = action.retry_policy.as_deref();
        http.retry = retry
            .map(|policy| retry_policy(policy, &mut notes))
            .transpose()
            .within("route.retry_policy")?;
        notes.unused(unused(action));
    }
    notes.unused([(
        "typed_per_filter_config",
        !from.typed_per_filter_config.is_empty(),
    )]);
    http.notes = notes.into_boxed();
    Ok(Route {
        name: from.name.as_str().into(),
        matches,
        clusters,
        hash_policy,
        request_mutation: request,
        response_mutation: response,
        http: (http != HttpAction::default()).then(|| Box::new(http)),
    })
}

/// Where calls go, or what they are told instead.
struct Target {
    clusters: WeightedClusters,
    of_cluster: Box<[Mutations]>,
    answer: Option<Answer>,
}

impl Target {
    fn clusters(clusters: WeightedClusters) -> Self {
        Self {
            clusters,
            of_cluster: Box::default(),
            answer: None,
        }
    }

    fn answer(answer: Answer) -> Self {
        Self {
            clusters: WeightedClusters::none(),
            of_cluster: Box::default(),
            answer: Some(answer),
        }
    }

    fn refused(reason: impl Into<Arc<str>>) -> Self {
        Self::answer(Answer::Refused(reason.into()))
    }
}

fn target(from: &envoy::Route, notes: &mut Notes) -> Result<Target, Invalid> {
    Ok(match &from.action {
        Some(Action::Route(action)) => clusters(action, notes).within("route")?,
        Some(Action::DirectResponse(direct)) => {
            Target::answer(direct_response(direct, notes).within("direct_response")?)
        }
        Some(Action::Redirect(())) => {
            Target::refused("the route answers with a redirect, which a call does not follow")
        }
        Some(Action::NonForwardingAction(())) => {
            Target::refused("the route is for servers (non_forwarding_action)")
        }
        Some(Action::FilterAction(())) => {
            Target::refused("the route leaves it to a filter (filter_action) what happens")
        }
        None => {
            let reason =
                "one of route, direct_response, redirect and non_forwarding_action is needed";
            return Err(Invalid::at("action", reason));
        }
    })
}

fn direct_response(
    from: &envoy::DirectResponseAction,
    notes: &mut Notes,
) -> Result<Answer, Invalid> {
    if !(200..600).contains(&from.status) {
        let reason = format!("{}, but a status is from 200 to 599", from.status);
        return Err(Invalid::at("status", reason));
    }
    let body = from.body.as_ref().and_then(|body| body.specifier.as_ref());
    let body = match body {
        Some(Specifier::InlineString(text)) => text.as_str().into(),
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8_lossy(bytes).into(),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) => {
            notes.add("the body of the direct_response is a file or a variable of the proxy");
            Arc::default()
        }
        None => Arc::default(),
    };
    let status = from.status;
    Ok(Answer::Response { status, body })
}

fn clusters(from: &envoy::RouteAction, notes: &mut Notes) -> Result<Target, Invalid> {
    match &from.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if name.is_empty() => {
            Err(Invalid::at("cluster", "is empty"))
        }
        Some(ClusterSpecifier::Cluster(name)) => {
            Ok(Target::clusters(WeightedClusters::single(name.as_str())))
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted_clusters(weighted, notes).within("weighted_clusters")
        }
        Some(ClusterSpecifier::ClusterHeader(header)) => Ok(by_header(header)),
        Some(
            ClusterSpecifier::ClusterSpecifierPlugin(_)
            | ClusterSpecifier::InlineClusterSpecifierPlugin(()),
        ) => Ok(Target::refused(
            "the route leaves the cluster to a plugin of the proxy",
        )),
        None => Err(Invalid::at("", "a cluster or weighted_clusters is needed")),
    }
}

fn by_header(header: &str) -> Target {
    Target::refused(format!(
        "the route goes to the cluster that header {header:?} names: a caller may not choose it"
    ))
}

/// Clusters of weight 0 are left out; a weight that is not set is 0, as in Envoy.
fn weighted_clusters(from: &envoy::WeightedCluster, notes: &mut Notes) -> Result<Target, Invalid> {
    let mut weights = Vec::with_capacity(from.clusters.len());
    let mut of_cluster = Vec::with_capacity(from.clusters.len());
    let mut by_header_of = None;
    let mut total = 0_u64;
    for (place, cluster) in from.clusters.iter().enumerate() {
        let field = format_args!("clusters[{place}]");
        let weight = cluster.weight.unwrap_or_default();
        total += u64::from(weight);
        if cluster.name.is_empty() && cluster.cluster_header.is_empty() {
            return Err(Invalid::at("name", "is empty")).within(field);
        }
        let changes = fields!(cluster).read(notes).within(field)?;
        if weight == 0 {
            continue;
        }
        if cluster.name.is_empty() {
            by_header_of = Some(&cluster.cluster_header);
        }
        notes.unused([
            ("metadata_match", cluster.metadata_match.is_some()),
            (
                "typed_per_filter_config",
                !cluster.typed_per_filter_config.is_empty(),
            ),
            ("host_rewrite", cluster.host_rewrite_specifier.is_some()),
        ]);
        weights.push((Arc::from(cluster.name.as_str()), weight));
        of_cluster.push(changes);
    }
    if let Some(wanted) = from
        .total_weight
        .filter(|wanted| u64::from(*wanted) != total)
    {
        let reason = format!("{wanted}, but the weights add up to {total}");
        return Err(Invalid::at("total_weight", reason));
    }
    if let Some(header) = by_header_of {
        return Ok(by_header(header));
    }
    let clusters =
        WeightedClusters::new(weights).map_err(|reason| Invalid::at("clusters", reason))?;
    if of_cluster.iter().all(Mutations::is_empty) {
        of_cluster.clear();
    }
    Ok(Target {
        of_cluster: of_cluster.into(),
        ..Target::clusters(clusters)
    })
}

/// How long a call may take: by `timeout` and by `max_stream_duration` (where gRPC reads it), the
/// shorter one; 0 is no limit.
fn timeout(from: &envoy::RouteAction) -> Result<Option<Duration>, Invalid> {
    let own = set_duration("timeout", from.timeout.as_ref())?;
    let stream = from.max_stream_duration.as_ref();
    let longest = |field: &str, of: Option<&prost_types::Duration>| {
        set_duration(field, of).within("max_stream_duration")
    };
    let of_grpc = stream.and_then(|stream| stream.grpc_timeout_header_max.as_ref());
    let of_stream = stream.and_then(|stream| stream.max_stream_duration.as_ref());
    let of_grpc = longest("grpc_timeout_header_max", of_grpc)?;
    let of_stream = longest("max_stream_duration", of_stream)?;
    let all = [own, of_grpc.or(of_stream)].into_iter().flatten();
    let limit = |limit: &Duration| !limit.is_zero();
    Ok(all.clone().filter(limit).min().or_else(|| all.min()))
}

fn policies(from: &envoy::RouteAction, notes: &mut Notes) -> Vec<HashPolicy> {
    let all = hash_policies(&from.hash_policy);
    let left = from.hash_policy.len() - all.len();
    notes.unused([(&*format!("{left} of the hash_policy entries"), left > 0)]);
    all
}

/// Fields that would change a call on its way, or where it is sent besides.
fn unused(from: &envoy::RouteAction) -> [(&'static str, bool); 6] {
    let rewritten = !from.prefix_rewrite.is_empty()
        || !from.path_rewrite.is_empty()
        || from.regex_rewrite.is_some()
        || from.path_rewrite_policy.is_some();
    // Every proxy does this one unless it is told not to; a call has the name that it was made with.
    let host = from.host_rewrite_specifier.as_ref();
    let host = host.filter(|one| !matches!(one, HostRewriteSpecifier::AutoHostRewrite(false)));
    [
        ("metadata_match", from.metadata_match.is_some()),
        ("a rewrite of the path", rewritten),
        ("host_rewrite", host.is_some()),
        (
            "request_mirror_policies",
            !from.request_mirror_policies.is_empty(),
        ),
        (
            "retry_policy_typed_config",
            from.retry_policy_typed_config.is_some(),
        ),
        ("hedge_policy", from.hedge_policy.is_some()),
    ]
}
