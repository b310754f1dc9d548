//! The router of a client without a sidecar: the store that resources go into, and who decides by it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use meltemi_proxyless::{LaneCount, Target};
use meltemi_resources::{ClientStore, LaneOf, Rejected};
use meltemi_routing::Request;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::detached::{detached, guarded};
use crate::explained::{cluster_dict, explanation};
use crate::refused::exception;
use crate::routed::{Call, Face, now};

/// Chooses routes, clusters and endpoints for the calls of a process that has no sidecar.
///
/// Everything that it goes by comes through `update`. All methods may be called from any thread; `seed`
/// makes its chance repeatable, for tests.
#[pyclass(frozen, module = "meltemi._engine")]
pub(crate) struct Router {
    store: Mutex<ClientStore>,
    router: meltemi_proxyless::Router<Face>,
    process: u32,
}

#[pymethods]
impl Router {
    #[new]
    #[pyo3(signature = (*, seed=None))]
    fn new(seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(chance);
        Self {
            store: Mutex::new(ClientStore::new()),
            router: meltemi_proxyless::Router::new(seed),
            process: std::process::id(),
        }
    }

    /// Applies what one xDS response brought: serialized resources by name, and names that are gone.
    ///
    /// Each resource stands for itself: one that is refused keeps its last good state, and the others are
    /// in force when this returns. Returns what was refused, as (name, reason with the field's path).
    /// Nothing is in doubt after an exception: it is raised before anything was applied.
    #[pyo3(
        signature = (type_url, version, resources, removed=Vec::new()),
        text_signature = "($self, type_url, version, resources, removed=())"
    )]
    fn update(
        &self,
        py: Python<'_>,
        type_url: &str,
        version: &str,
        resources: Vec<(PyBackedStr, PyBackedBytes)>,
        removed: Vec<PyBackedStr>,
    ) -> PyResult<Vec<(String, String)>> {
        let rejected = detached(py, || {
            let resources: Vec<(&str, &[u8])> = resources
                .iter()
                .map(|(name, body)| (&**name, &**body))
                .collect();
            let removed: Vec<&str> = removed.iter().map(|name| &**name).collect();
            self.apply(type_url, version, &resources, &removed)
        })?;
        Ok(rejected
            .into_iter()
            .map(|Rejected { name, reason }| (name, reason))
            .collect())
    }

    /// Decides a call: the listener's route for this authority, path and these headers, one of the route's
    /// clusters, and one of its endpoints. Takes about a microsecond and waits for nothing.
    ///
    /// `headers` are (name, value), names without case; of one that is there twice, one value that matches
    /// is enough. `:method` may be among them, else it is POST. A call with a header `method` is one by
    /// Thrift. `caller` is the IP address that clusters may balance by.
    ///
    /// Raises NotKnown, which names every resource that is missing; NoRoute; NoEndpoint; Overflow, where the
    /// cluster has as many requests as it may have; DirectResponse, where the route answers by itself;
    /// ValueError for a `caller` that is no IP address.
    #[pyo3(signature = (listener, authority, path, headers, caller=None))]
    fn call(
        &self,
        py: Python<'_>,
        listener: &str,
        authority: &str,
        path: &str,
        headers: &Bound<'_, PyAny>,
        caller: Option<&str>,
    ) -> PyResult<Call> {
        let headers = pairs(headers)?;
        let target = target(listener, authority, &headers, caller)?;
        let request = request(authority, path, &headers);
        let call = guarded(|| self.router.call(&target, &request, now()))?;
        let mut call = call.map_err(|refused| exception(py, &refused))?;
        if call.leaves_mesh() {
            call.unmark(headers.iter().map(|(name, value)| (&**name, &**value)));
        }
        Ok(Call::new(call, self.process))
    }

    /// What `call` would do with the same arguments, and why; nothing is counted, and no turn is over.
    ///
    /// Returns `listener`, `route_configuration` (None for a Thrift or TCP proxy), `virtual_host`,
    /// `routes` (from the first to the one that matches, each with `name`, `matched`, `reasons`, `clusters`),
    /// `notes` (what is configured and has no effect), `route`, `clusters` (each with `name`, `weight`,
    /// `known`, and where it is known what `clusters()` says), `cluster` and `endpoint` (whose turn it is),
    /// `timeout_s`, `retry` (`on`, `num_retries`, `per_try_timeout_s`, …), `hash`, `request_changes`,
    /// `response_changes`, and `refused`: None, or `kind` (the exception's name), `reason` and `missing`.
    #[pyo3(signature = (listener, authority, path, headers, caller=None))]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        listener: &str,
        authority: &str,
        path: &str,
        headers: &Bound<'_, PyAny>,
        caller: Option<&str>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let headers = pairs(headers)?;
        let target = target(listener, authority, &headers, caller)?;
        let request = request(authority, path, &headers);
        let all = guarded(|| self.router.explain(&target, &request))?;
        explanation(py, listener, &all)
    }

    /// What became of the calls of each lane (or `baseline`) and service that was called so far: dicts of
    /// `lane`, `service`, and how many were `answered_by` `lane`, `fallback`, `baseline` and `none`; and
    /// `leaks`, of those outside the lane though it had a healthy instance.
    fn lanes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let lanes = guarded(|| self.router.lanes())?;
        let dicts = lanes.iter().map(|(of, count)| lane_dict(py, of, count));
        PyList::new(py, dicts.collect::<PyResult<Vec<_>>>()?)
    }

    /// The clusters that are known, by name: `policy`, `refuse` (why it must not be used), `active`, and
    /// `endpoints`, each with `address`, `health` (as the control plane says it), `ejected`, `healthy` (both
    /// together), `weight`, `priority`, `locality`, and of this process `active`, `total` and `errors`.
    fn clusters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let clusters = detached(py, || self.router.clusters())?;
        let dicts = clusters.iter().map(|cluster| cluster_dict(py, cluster));
        PyList::new(py, dicts.collect::<PyResult<Vec<_>>>()?)
    }
}

impl Router {
    /// The store is locked until the snapshot is published: of two updates at once, the later state is
    /// the one that stays.
    fn apply(
        &self,
        type_url: &str,
        version: &str,
        resources: &[(&str, &[u8])],
        removed: &[&str],
    ) -> Vec<Rejected> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let before = store.snapshot();
        let rejected = store.update(type_url, version, resources, removed);
        let after = store.snapshot();
        if !Arc::ptr_eq(&before, &after) {
            self.router.publish(after);
        }
        rejected
    }
}

fn lane_dict<'py>(py: Python<'py>, of: &LaneOf, count: &LaneCount) -> PyResult<Bound<'py, PyDict>> {
    let answered_by = PyDict::new(py);
    for (who, requests) in count.by_answer() {
        answered_by.set_item(who, requests)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("lane", &*of.lane)?;
    dict.set_item("service", &*of.service)?;
    dict.set_item("answered_by", answered_by)?;
    dict.set_item("leaks", count.leaks)?;
    Ok(dict)
}

type Pairs = Vec<(PyBackedStr, PyBackedStr)>;

/// Names and values. Tuples and lists are what callers have; others go the long way.
fn pairs(headers: &Bound<'_, PyAny>) -> PyResult<Pairs> {
    let pair = |item: Borrowed<'_, '_, PyAny>| -> PyResult<(PyBackedStr, PyBackedStr)> {
        let Some(pair) = item.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2) else {
            return item.extract();
        };
        let part = |place| pair.get_borrowed_item(place)?.extract();
        Ok((part(0)?, part(1)?))
    };
    if let Ok(tuple) = headers.cast::<PyTuple>() {
        return tuple.iter_borrowed().map(pair).collect();
    }
    if let Ok(list) = headers.cast::<PyList>() {
        return list.iter().map(|item| pair(item.as_borrowed())).collect();
    }
    headers.extract()
}

fn target<'t>(
    listener: &'t str,
    authority: &'t str,
    headers: &Pairs,
    caller: Option<&str>,
) -> PyResult<Target<'t>> {
    let no_address = |_| PyValueError::new_err("caller: not an IP address");
    let caller: Option<IpAddr> = caller.map(str::parse).transpose().map_err(no_address)?;
    Ok(Target {
        listener,
        authority,
        thrift: named(headers, "method").is_some(),
        caller,
    })
}

fn request<'r>(authority: &'r str, path: &'r str, headers: &'r Pairs) -> Request<'r, PyBackedStr> {
    let method = named(headers, ":method").unwrap_or("POST");
    let scheme = named(headers, ":scheme").unwrap_or("http");
    Request::new(method, scheme, authority, path, headers)
}

fn named<'r>(headers: &'r Pairs, wanted: &str) -> Option<&'r str> {
    let mut same = headers.iter().filter(|(name, _)| **name == *wanted);
    same.next().map(|(_, value)| &**value)
}

/// Another number in each process.
fn chance() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
