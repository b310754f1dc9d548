//! What the engine would decide: expressions and routes.

use std::collections::HashMap;
use std::net::IpAddr;

use meltemi_balancer::{Balancer, Rng};
use meltemi_resources::{LocalRateLimit, Rejected, Store, type_url};
use meltemi_routing::{
    Attributes, ConditionTrace, HashPolicy, HashSource, Mutation, Route, RouteTrace,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyDict, PyList, PyMapping};

use crate::detached::detached;

/// Checks that the engine takes a regular expression: that it is one of the `regex` crate's (RE2's syntax,
/// linear time) and stays within the limits on size. Expressions match whole values.
///
/// Raises ValueError with the reason, as a sentence for whoever wrote `pattern`.
#[pyfunction]
pub(crate) fn check_regex(py: Python<'_>, pattern: &str) -> PyResult<()> {
    detached(py, || meltemi_routing::check_regex(pattern))?.map_err(PyValueError::new_err)
}

/// Says which route a request would take, and why not an earlier one, by the code that routes.
///
/// `route_configuration` is a serialized envoy.config.route.v3.RouteConfiguration; names of `attributes`
/// are compared without case. Returns the routes from the first to the one that matches (all of
/// them where none does), each with `name`, `matched`, `reasons` (a sentence a condition) and `clusters`
/// (each with `name` and `weight`), `request_mutation` and `response_mutation` (each a list of `key` and
/// `value`, or of `key` and `remove`, which is true), `hash_policy` (what a cluster that balances by hash
/// goes by, in words) and `hash` (of this request; None where it has nothing of that). `caller` is the
/// caller's IP address, where it is known.
///
/// Raises ValueError with field and reason when the engine would refuse the configuration, and for a
/// `caller` that is no IP address.
#[pyfunction]
#[pyo3(signature = (route_configuration, attributes, caller=None))]
pub(crate) fn explain_route<'py>(
    py: Python<'py>,
    route_configuration: PyBackedBytes,
    attributes: &Bound<'py, PyMapping>,
    caller: Option<&str>,
) -> PyResult<Bound<'py, PyList>> {
    let request = Request::new(attributes)?;
    let no_address = |_| PyValueError::new_err("caller: not an IP address");
    let caller: Option<IpAddr> = caller.map(str::parse).transpose().map_err(no_address)?;
    let (traces, table) = detached(py, || {
        let table = meltemi_resources::route_table(&route_configuration)?;
        Ok::<_, String>((table.explain(&request), table))
    })?
    .map_err(PyValueError::new_err)?;
    let routes = table.routes();
    PyList::new(
        py,
        traces
            .iter()
            .map(|trace| {
                let route = &routes[trace.ordinal];
                let dict = route_dict(py, trace, route)?;
                let hash = HashPolicy::hash(&route.hash_policy, &request, caller);
                dict.set_item("hash", hash)?;
                Ok(dict)
            })
            .collect::<PyResult<Vec<_>>>()?,
    )
}

fn route_dict<'py>(
    py: Python<'py>,
    trace: &RouteTrace,
    route: &Route,
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
    dict.set_item("request_mutation", mutation(py, &route.request_mutation)?)?;
    dict.set_item("response_mutation", mutation(py, &route.response_mutation)?)?;
    let words: Vec<String> = route.hash_policy.iter().map(in_words).collect();
    dict.set_item("hash_policy", words)?;
    Ok(dict)
}

fn in_words(policy: &HashPolicy) -> String {
    match &policy.source {
        HashSource::Attribute(name) => format!("attribute {name}"),
        HashSource::SourceIp => "address of the caller".to_owned(),
    }
}

/// Says which endpoint of a cluster that balances by hash a request of this hash goes to, by the code
/// that balances: `ADDRESS:PORT`, None where the cluster has no such table or no endpoint.
///
/// `cluster` and `endpoints` are a serialized envoy.config.cluster.v3.Cluster of this `name` and the
/// ClusterLoadAssignment that it asks for, called `service`.
///
/// Raises ValueError with field and reason when the engine would refuse one of them.
#[pyfunction]
pub(crate) fn explain_endpoint(
    py: Python<'_>,
    name: &str,
    cluster: PyBackedBytes,
    service: &str,
    endpoints: PyBackedBytes,
    hash: u64,
) -> PyResult<Option<String>> {
    let picked = detached(py, || {
        let mut store = Store::new();
        let mut rejected = store.update(type_url::CLUSTER, "", &[(name, &cluster[..])], &[]);
        rejected.extend(store.update(type_url::ENDPOINT, "", &[(service, &endpoints[..])], &[]));
        if let Some(Rejected { name, reason }) = rejected.pop() {
            return Err(format!("{name}: {reason}"));
        }
        let snapshot = store.snapshot();
        let cluster = snapshot
            .clusters
            .get(name)
            .filter(|one| one.table.is_some());
        Ok(cluster.and_then(|cluster| {
            let mut balancer = Balancer::new(cluster.policy, &cluster.endpoints);
            balancer.set_table(cluster.table.as_ref());
            let index = balancer.pick(&mut Rng::new(0), &[], Some(hash))?;
            Some(cluster.endpoints[index].address.to_string())
        }))
    })?;
    picked.map_err(PyValueError::new_err)
}

/// What conditions made of a request, and whether all of them held.
pub(crate) fn match_dict<'py>(
    py: Python<'py>,
    conditions: &[ConditionTrace],
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let reasons: Vec<String> = conditions.iter().map(ToString::to_string).collect();
    dict.set_item("matched", conditions.iter().all(|one| one.held))?;
    dict.set_item("reasons", reasons)?;
    Ok(dict)
}

/// Says which bucket of a local rate limit a request would take a token from, by the code that limits.
///
/// `configuration` is a serialized LocalRateLimit of MetaProtocol Proxy; names of `attributes` are
/// compared without case. Returns `conditions` from the first to the one that matches (all of them
/// where none does), each with `matched` and `reasons` (a sentence an attribute), and `bucket`: the
/// bucket in words, None where the request is not limited.
///
/// Raises ValueError with field and reason when the engine would refuse the configuration.
#[pyfunction]
pub(crate) fn explain_limit<'py>(
    py: Python<'py>,
    configuration: PyBackedBytes,
    attributes: &Bound<'py, PyMapping>,
) -> PyResult<Bound<'py, PyDict>> {
    let request = Request::new(attributes)?;
    let (traces, rate) = detached(py, || {
        let limit = LocalRateLimit::decode(&configuration)?;
        let rate = match limit.select(&request) {
            Some(at) => Some(limit.conditions()[at].rate),
            None => limit.default_rate(),
        };
        Ok::<_, String>((limit.explain(&request), rate))
    })?
    .map_err(PyValueError::new_err)?;
    let conditions = traces.iter().map(|trace| match_dict(py, trace));
    let dict = PyDict::new(py);
    let conditions = PyList::new(py, conditions.collect::<PyResult<Vec<_>>>()?)?;
    dict.set_item("conditions", conditions)?;
    dict.set_item("bucket", rate.map(|rate| rate.to_string()))?;
    Ok(dict)
}

fn mutation<'py>(py: Python<'py>, changes: &[Mutation]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for change in changes {
        let dict = PyDict::new(py);
        match change {
            Mutation::Set(name, value)
            | Mutation::Append(name, value)
            | Mutation::SetIfMissing(name, value)
            | Mutation::SetIfPresent(name, value) => {
                dict.set_item("key", &**name)?;
                dict.set_item("value", &**value)?;
            }
            Mutation::Remove(name) => {
                dict.set_item("key", &**name)?;
                dict.set_item("remove", true)?;
            }
        }
        list.append(dict)?;
    }
    Ok(list)
}

/// Attributes as the caller wrote them; names without case.
struct Request(HashMap<String, String>);

impl Request {
    fn new(attributes: &Bound<'_, PyMapping>) -> PyResult<Self> {
        let mut all = HashMap::new();
        for item in attributes.items()?.iter() {
            let (name, value): (String, String) = item.extract()?;
            all.insert(name.to_lowercase(), value);
        }
        Ok(Self(all))
    }
}

impl Attributes for Request {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|value| value.as_bytes())
    }
}
