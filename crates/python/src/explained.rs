//! What the router would do, and what it knows of clusters, as dicts.

use meltemi_proxyless::{ClusterState, EndpointState, Explanation, Refused, Taken};
use meltemi_resources::Health;
use meltemi_routing::{CompiledRoute, RetryPolicy, RouteTrace};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::explain::match_dict;
use crate::routed::changes;

/// All of an explanation.
pub(crate) fn explanation<'py>(
    py: Python<'py>,
    listener: &str,
    all: &Explanation,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("listener", listener)?;
    dict.set_item("route_configuration", all.configuration.as_deref())?;
    dict.set_item("virtual_host", all.virtual_host.as_deref())?;
    let routes = all
        .routes
        .iter()
        .map(|(trace, route)| tried(py, trace, route));
    dict.set_item(
        "routes",
        PyList::new(py, routes.collect::<PyResult<Vec<_>>>()?)?,
    )?;
    let notes: Vec<&str> = all.notes.iter().map(|note| &**note).collect();
    dict.set_item("notes", notes)?;
    match &all.taken {
        Some(taken) => decided(&dict, taken)?,
        None => {
            for name in NOT_DECIDED {
                dict.set_item(name, py.None())?;
            }
            for name in ["clusters", "request_changes", "response_changes"] {
                dict.set_item(name, PyList::empty(py))?;
            }
        }
    }
    let refused = all
        .refused
        .as_ref()
        .map(|refused| refused_dict(py, refused));
    dict.set_item("refused", refused.transpose()?)?;
    Ok(dict)
}

const NOT_DECIDED: [&str; 6] = ["route", "cluster", "endpoint", "timeout_s", "retry", "hash"];

fn tried<'py>(
    py: Python<'py>,
    trace: &RouteTrace,
    route: &CompiledRoute,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = match_dict(py, &trace.conditions)?;
    dict.set_item("name", &*trace.name)?;
    let clusters = PyList::empty(py);
    for (name, weight) in route.clusters.iter() {
        let cluster = PyDict::new(py);
        cluster.set_item("name", &**name)?;
        cluster.set_item("weight", weight)?;
        clusters.append(cluster)?;
    }
    dict.set_item("clusters", clusters)?;
    Ok(dict)
}

fn decided(dict: &Bound<'_, PyDict>, taken: &Taken) -> PyResult<()> {
    let py = dict.py();
    dict.set_item("route", &*taken.route.name)?;
    dict.set_item("cluster", taken.cluster.as_deref())?;
    dict.set_item(
        "endpoint",
        taken.endpoint.map(|address| address.to_string()),
    )?;
    dict.set_item(
        "timeout_s",
        taken.timeout.map(|timeout| timeout.as_secs_f64()),
    )?;
    dict.set_item("hash", taken.hash)?;
    let retry = taken.retry.as_ref().map(|policy| retry_dict(py, policy));
    dict.set_item("retry", retry.transpose()?)?;
    dict.set_item(
        "request_changes",
        changes(py, taken.request_changes.iter())?.to_list(),
    )?;
    dict.set_item(
        "response_changes",
        changes(py, taken.response_changes.iter())?.to_list(),
    )?;
    let clusters = PyList::empty(py);
    for (name, weight, state) in &taken.clusters {
        let cluster = match state {
            Some(state) => cluster_dict(py, state)?,
            None => PyDict::new(py),
        };
        cluster.set_item("name", &**name)?;
        cluster.set_item("weight", weight)?;
        cluster.set_item("known", state.is_some())?;
        clusters.append(cluster)?;
    }
    dict.set_item("clusters", clusters)
}

fn retry_dict<'py>(py: Python<'py>, policy: &RetryPolicy) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("on", policy.on.names().collect::<Vec<_>>())?;
    dict.set_item("num_retries", policy.num_retries)?;
    let per_try = policy.per_try_timeout.map(|timeout| timeout.as_secs_f64());
    dict.set_item("per_try_timeout_s", per_try)?;
    dict.set_item("statuses", policy.statuses.to_vec())?;
    dict.set_item("base_interval_s", policy.base_interval.as_secs_f64())?;
    dict.set_item("max_interval_s", policy.max_interval.as_secs_f64())?;
    dict.set_item("previous_hosts", policy.previous_hosts)?;
    Ok(dict)
}

fn refused_dict<'py>(py: Python<'py>, refused: &Refused) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let kind = match refused {
        Refused::NotKnown(_) => "NotKnown",
        Refused::NoRoute(_) => "NoRoute",
        Refused::NoEndpoint(_) => "NoEndpoint",
        Refused::Overflow(_) => "Overflow",
        Refused::DirectResponse(..) => "DirectResponse",
    };
    dict.set_item("kind", kind)?;
    dict.set_item("reason", refused.to_string())?;
    if let Refused::NotKnown(missing) = refused {
        let missing = missing.iter().map(|(type_url, name)| (*type_url, &**name));
        dict.set_item("missing", missing.collect::<Vec<_>>())?;
    }
    Ok(dict)
}

/// A cluster and its endpoints.
pub(crate) fn cluster_dict<'py>(
    py: Python<'py>,
    cluster: &ClusterState,
) -> PyResult<Bound<'py, PyDict>> {
    let endpoints = PyList::empty(py);
    for endpoint in &cluster.endpoints {
        endpoints.append(endpoint_dict(py, endpoint)?)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("name", &*cluster.name)?;
    dict.set_item("policy", format!("{:?}", cluster.policy))?;
    dict.set_item("refuse", cluster.refuse.as_deref())?;
    dict.set_item("active", cluster.requests)?;
    dict.set_item("endpoints", endpoints)?;
    Ok(dict)
}

fn endpoint_dict<'py>(py: Python<'py>, state: &EndpointState) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let endpoint = &state.endpoint;
    dict.set_item("address", endpoint.address.to_string())?;
    let health = match endpoint.health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Unhealthy => "unhealthy",
        Health::Draining => "draining",
    };
    dict.set_item("health", health)?;
    dict.set_item(
        "healthy",
        endpoint.health == Health::Healthy && !state.ejected,
    )?;
    dict.set_item("ejected", state.ejected)?;
    dict.set_item("weight", endpoint.weight)?;
    dict.set_item("priority", endpoint.priority)?;
    let locality = endpoint.locality.as_ref().map(|locality| {
        let parts = [&locality.region, &locality.zone, &locality.sub_zone];
        let parts: Vec<&str> = parts.into_iter().map(|part| &**part).collect();
        parts.join("/").trim_end_matches('/').to_owned()
    });
    dict.set_item("locality", locality)?;
    dict.set_item("active", state.active)?;
    dict.set_item("total", state.total)?;
    dict.set_item("errors", state.errors)?;
    Ok(dict)
}
