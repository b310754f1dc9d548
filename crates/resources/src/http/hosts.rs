//! Route configurations of HTTP: virtual hosts and their routes.

use std::collections::HashMap;
use std::sync::Arc;

use meltemi_routing::{
    Answer, CompiledRoute, HttpAction, Mutations, Route, RouteError, RouteTable, VirtualHost,
    VirtualHosts, WeightedClusters,
};
use prost::bytes::Bytes;

use super::Notes;
use super::actions::route;
use super::changes::fields;
use super::conditions::never;
use super::retries::retry_policy;
use crate::field::decode;
use crate::invalid::{Invalid, Within};
use crate::messages::envoy::config::route::v3 as envoy;
use crate::messages::envoy::config::route::v3::virtual_host::TlsRequirementType;
use crate::routes::uncompilable;

const CONFIGURATION: &str = "envoy.config.route.v3.RouteConfiguration";

/// A route configuration that holds, with the bytes of its virtual hosts: the next version reads only
/// those that are new.
#[derive(Debug)]
pub(crate) struct HttpRoutes {
    pub(crate) hosts: Arc<VirtualHosts>,
    raw: Vec<Bytes>,
    common: Common,
}

/// What the configuration says for all its virtual hosts.
#[derive(Debug, PartialEq, Eq)]
struct Common {
    mutations: Mutations,
    most_specific_wins: bool,
    notes: Vec<Arc<str>>,
}

/// The virtual hosts of a configuration that has to have this name; `before` is what holds so far.
pub(crate) fn routes(
    name: &str,
    bytes: &[u8],
    before: Option<&HttpRoutes>,
) -> Result<HttpRoutes, Invalid> {
    let bytes = Bytes::copy_from_slice(bytes);
    let message: envoy::RouteConfiguration = decode(CONFIGURATION, bytes)?;
    if message.name != name {
        return Err(Invalid::at(
            "name",
            format!("{:?}, not {name:?}", message.name),
        ));
    }
    configuration(message, before)
}

/// The virtual hosts of a configuration that stands in a listener.
pub(super) fn inline(message: envoy::RouteConfiguration) -> Result<Arc<VirtualHosts>, Invalid> {
    configuration(message, None).map(|routes| routes.hosts)
}

fn configuration(
    message: envoy::RouteConfiguration,
    before: Option<&HttpRoutes>,
) -> Result<HttpRoutes, Invalid> {
    if !message.vhost_header.is_empty() {
        let reason = "is not supported: virtual hosts are chosen by the authority";
        return Err(Invalid::at("vhost_header", reason));
    }
    let common = common(&message)?;
    let known = before.filter(|before| before.common == common);
    let known: HashMap<&Bytes, &Arc<VirtualHost>> = known
        .into_iter()
        .flat_map(|before| before.raw.iter().zip(before.hosts.hosts()))
        .collect();
    let mut hosts = Vec::with_capacity(message.virtual_hosts.len());
    for (place, bytes) in message.virtual_hosts.iter().enumerate() {
        hosts.push(match known.get(bytes) {
            Some(same) => Arc::clone(same),
            None => virtual_host(bytes.clone(), &common)
                .map(Arc::new)
                .within(format_args!("virtual_hosts[{place}]"))?,
        });
    }
    let ignore_port = message.ignore_port_in_host_matching;
    let hosts = VirtualHosts::new(&message.name, hosts, ignore_port).map_err(|errors| {
        let field = |error: &meltemi_routing::DomainError| {
            format!("virtual_hosts[{}].domains[{}]", error.host, error.place)
        };
        match &*errors {
            [] => Invalid::at("virtual_hosts", "cannot be told apart"),
            [error] => Invalid::at(field(error), &*error.reason),
            [error, more @ ..] => {
                let reason = format!("{} (and {} more)", error.reason, more.len());
                Invalid::at(field(error), reason)
            }
        }
    })?;
    Ok(HttpRoutes {
        hosts: Arc::new(hosts),
        raw: message.virtual_hosts,
        common,
    })
}

fn common(message: &envoy::RouteConfiguration) -> Result<Common, Invalid> {
    let mut notes = Notes::default();
    let mutations = fields!(message).read(&mut notes)?;
    notes.unused([
        ("vhds", message.vhds.is_some()),
        (
            "request_mirror_policies",
            !message.request_mirror_policies.is_empty(),
        ),
        (
            "typed_per_filter_config",
            !message.typed_per_filter_config.is_empty(),
        ),
    ]);
    Ok(Common {
        mutations,
        most_specific_wins: message.most_specific_header_mutations_wins,
        notes: notes.0,
    })
}

fn virtual_host(bytes: Bytes, common: &Common) -> Result<VirtualHost, Invalid> {
    let message: envoy::VirtualHost = decode("envoy.config.route.v3.VirtualHost", bytes)?;
    if message.domains.is_empty() {
        return Err(Invalid::at("domains", "is empty: nothing is served"));
    }
    if let Some(place) = message.domains.iter().position(String::is_empty) {
        return Err(Invalid::at(format!("domains[{place}]"), "is empty"));
    }
    let mut notes = Notes(common.notes.clone());
    let own = fields!(message).read(&mut notes)?;
    let retry = message.retry_policy.as_ref();
    let retry = retry
        .map(|policy| retry_policy(policy, &mut notes))
        .transpose()
        .within("retry_policy")?;
    notes.unused([
        (
            "request_mirror_policies",
            !message.request_mirror_policies.is_empty(),
        ),
        (
            "typed_per_filter_config",
            !message.typed_per_filter_config.is_empty(),
        ),
    ]);
    let domains = message.domains.iter().map(|domain| domain.as_str().into());
    Ok(VirtualHost {
        domains: domains.collect(),
        table: RouteTable::from_compiled(&message.name, compiled(&message)?),
        mutations: joined(own, common),
        most_specific_wins: common.most_specific_wins,
        retry,
        notes: notes.into_boxed(),
        name: message.name.into(),
    })
}

/// The changes of a virtual host and of its configuration, the ones that win behind the others.
fn joined(own: Mutations, common: &Common) -> Mutations {
    let general = common.mutations.clone();
    let (mut first, mut last) = if common.most_specific_wins {
        (general, own)
    } else {
        (own, general)
    };
    first.request.append(&mut last.request);
    first.response.append(&mut last.response);
    first
}

fn compiled(message: &envoy::VirtualHost) -> Result<Vec<Arc<CompiledRoute>>, Invalid> {
    if let Some(reason) = unusable(message) {
        let only = CompiledRoute::new(reason).map_err(|_| Invalid::at("routes", "is unusable"))?;
        return Ok(vec![Arc::new(only)]);
    }
    let mut all = Vec::with_capacity(message.routes.len());
    let mut errors = Vec::new();
    for (place, bytes) in message.routes.iter().enumerate() {
        let new = decode("envoy.config.route.v3.Route", bytes.clone())
            .and_then(|message| route(&message))
            .within(format_args!("routes[{place}]"))?;
        let name = Arc::clone(&new.name);
        match CompiledRoute::new(new) {
            Ok(route) => all.push(Arc::new(route)),
            Err(wrong) => errors.extend(RouteError::all(place, &name, wrong)),
        }
    }
    if errors.is_empty() {
        Ok(all)
    } else {
        Err(uncompilable(&errors, "routes"))
    }
}

/// The one route of a virtual host whose calls must not be made as its routes say.
fn unusable(message: &envoy::VirtualHost) -> Option<Route> {
    let mut only = Route {
        name: "".into(),
        matches: Vec::new(),
        clusters: WeightedClusters::none(),
        hash_policy: Vec::new(),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
    };
    if message.matcher.is_some() {
        only.matches = vec![never("matcher", "matcher trees are not supported")];
    } else if message.require_tls != TlsRequirementType::None as i32 {
        let reason = "the virtual host asks for TLS (require_tls), which calls do not have yet";
        only.http = Some(Box::new(HttpAction {
            answer: Some(Answer::Refused(reason.into())),
            ..HttpAction::default()
        }));
    } else {
        return None;
    }
    Some(only)
}
