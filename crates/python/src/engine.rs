//! The running engine: the store that resources go into, and the data path that serves them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meltemi_proxy::{AccessLogConfig, ClusterState, EngineConfig, Level, Limits};
use meltemi_resources::{Peer, Rejected, Store};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::detached::detached;
use crate::filters::filters;
use crate::protocols::protocols;

/// A running data path: listeners, connections, requests, on threads of its own, outside the GIL.
///
/// Everything that it serves comes through `update`; it listens when the first listener has come.
/// All methods may be called from any thread, and all but `close` raise RuntimeError after `close`.
///
/// Arguments: `workers` threads that move bytes, 0 for one a core; `source_address`, the IP
/// address that upstream connections come from; `node`, who this proxy is in metrics (`workload`,
/// `namespace`, `app`, `version`, `cluster`, each may be missing); `access_log`, a path, `-` for standard
/// output, None for no log; `access_log_format`, `text`, `json` or a line with Envoy's `%...%` words;
/// `limits` by name, durations in milliseconds (`request_timeout_ms`); `metrics`, whether requests are
/// counted (a benchmark measures what that costs).
///
/// Raises ValueError that names what is wrong with an argument, and OSError when the access log cannot
/// be opened or the system gives no threads.
#[pyclass(frozen, module = "meltemi._engine")]
pub(crate) struct Engine {
    store: Mutex<Store>,
    engine: meltemi_proxy::Engine,
    closed: AtomicBool,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(
        signature = (*, workers, source_address, node, access_log, access_log_format, limits, metrics=true)
    )]
    #[expect(
        clippy::too_many_arguments,
        reason = "they are keyword arguments of Python"
    )]
    fn new(
        py: Python<'_>,
        workers: usize,
        source_address: Option<&str>,
        node: HashMap<String, String>,
        access_log: Option<String>,
        access_log_format: String,
        limits: HashMap<String, u64>,
        metrics: bool,
    ) -> PyResult<Self> {
        let config = EngineConfig {
            workers,
            source_address: source_address.map(address).transpose()?,
            node: peer(node)?,
            access_log: access_log.map(|target| AccessLogConfig {
                target,
                format: access_log_format,
            }),
            limits: checked_limits(&limits)?,
            protocols: protocols(),
            filters: filters(),
            without_request_metrics: !metrics,
            ..EngineConfig::default()
        };
        let engine = detached(py, || meltemi_proxy::Engine::start(config))?.map_err(|error| {
            let reason = error.to_string();
            if error.kind() == std::io::ErrorKind::InvalidInput {
                PyValueError::new_err(reason)
            } else {
                PyOSError::new_err(reason)
            }
        })?;
        Ok(Self {
            store: Mutex::new(Store::new()),
            engine,
            closed: AtomicBool::new(false),
        })
    }

    /// Applies what one xDS response brought: serialized resources by name, and names that are gone.
    ///
    /// Each resource stands for itself: one that is refused keeps its last good state, and the others are
    /// in force when this returns (a worker takes them over between two turns, within milliseconds; no
    /// connection is closed). Returns what was refused, as (name, reason with the field's path). Nothing is
    /// in doubt after an exception: it is raised before anything was applied.
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
        self.check_open()?;
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

    /// The clusters in force, by name, with their `endpoints`: `address`, `healthy`, `ejected`, `priority`,
    /// `locality` ("region/zone/sub-zone" or ""), `weight`, and over all workers `active` (requests in flight), `total` (picked) and `errors` (of these, without a reply).
    fn clusters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.check_open()?;
        let clusters = detached(py, || self.engine.clusters())?;
        let dicts = clusters.iter().map(|cluster| cluster_dict(py, cluster));
        PyList::new(py, dicts.collect::<PyResult<Vec<_>>>()?)
    }

    /// Names of the clusters that are not in force yet because their endpoints have not come.
    fn warming(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let names = detached(py, || self.store().warming())?;
        Ok(names.iter().map(ToString::to_string).collect())
    }

    /// Listeners that are not open, as (name, reason): no codec for them, or the address cannot be bound
    /// (which is tried again every second).
    fn listener_errors(&self, py: Python<'_>) -> PyResult<Vec<(String, String)>> {
        self.check_open()?;
        detached(py, || self.engine.listener_errors())
    }

    /// Every counter and gauge by Envoy's dotted names (`listener.127.0.0.1_9090.downstream_cx_active`).
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.check_open()?;
        let dict = PyDict::new(py);
        for (name, value) in detached(py, || self.engine.stats())? {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    /// Istio's metrics and Envoy's counters, in the text form of Prometheus.
    fn prometheus<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.check_open()?;
        let text = detached(py, || self.engine.prometheus())?;
        Ok(PyBytes::new(py, text.as_bytes()))
    }

    /// Sets how much is logged on standard error: `off`, `error`, `warning`, `info` or `debug`.
    ///
    /// Raises ValueError for another word.
    fn set_log_level(&self, level: &str) -> PyResult<()> {
        let level: Level = level.parse().map_err(PyValueError::new_err)?;
        self.engine.set_log_level(level);
        Ok(())
    }

    /// Stops accepting, lets what is in flight finish and closes what is idle. True when no connection was
    /// left after `deadline_s` seconds.
    ///
    /// Raises ValueError for a negative number.
    fn drain(&self, py: Python<'_>, deadline_s: f64) -> PyResult<bool> {
        self.check_open()?;
        let deadline = Duration::try_from_secs_f64(deadline_s)
            .map_err(|error| PyValueError::new_err(format!("deadline_s: {error}")))?;
        detached(py, || self.engine.drain(deadline))
    }

    /// Ends all threads and closes all connections. Calling it again does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.closed.store(true, Ordering::Release);
        detached(py, || self.engine.stop())
    }
}

impl Engine {
    /// The store is locked until the snapshot is published: of two updates at once, the later state is
    /// the one that stays.
    fn apply(
        &self,
        type_url: &str,
        version: &str,
        resources: &[(&str, &[u8])],
        removed: &[&str],
    ) -> Vec<Rejected> {
        let mut store = self.store();
        let before = store.snapshot();
        let rejected = store.update(type_url, version, resources, removed);
        let after = store.snapshot();
        if !Arc::ptr_eq(&before, &after) {
            self.engine.publish(after);
        }
        rejected
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_open(&self) -> PyResult<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(PyRuntimeError::new_err("the engine is closed"));
        }
        Ok(())
    }
}

fn address(text: &str) -> PyResult<IpAddr> {
    text.parse()
        .map_err(|_| PyValueError::new_err(format!("source_address: {text:?} is no IP address")))
}

fn peer(node: HashMap<String, String>) -> PyResult<Peer> {
    let mut peer = Peer::default();
    for (name, value) in node {
        let field = match name.as_str() {
            "workload" => &mut peer.workload,
            "namespace" => &mut peer.namespace,
            "app" => &mut peer.app,
            "version" => &mut peer.version,
            "cluster" => &mut peer.cluster,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "node: there is no field {name:?}"
                )));
            }
        };
        *field = value.into();
    }
    Ok(peer)
}

fn checked_limits(from: &HashMap<String, u64>) -> PyResult<Limits> {
    let mut limits = Limits::default();
    for (name, value) in from {
        let set = limits.set(name, *value);
        set.map_err(|reason| PyValueError::new_err(format!("limits: {reason}")))?;
    }
    Ok(limits)
}

fn cluster_dict<'py>(py: Python<'py>, cluster: &ClusterState) -> PyResult<Bound<'py, PyDict>> {
    let endpoints = PyList::empty(py);
    for endpoint in &cluster.endpoints {
        let dict = PyDict::new(py);
        dict.set_item("address", endpoint.address.to_string())?;
        dict.set_item("healthy", endpoint.healthy)?;
        dict.set_item("ejected", endpoint.ejected)?;
        dict.set_item("priority", endpoint.priority)?;
        dict.set_item("locality", &endpoint.locality)?;
        dict.set_item("weight", endpoint.weight)?;
        dict.set_item("active", endpoint.active)?;
        dict.set_item("total", endpoint.total)?;
        dict.set_item("errors", endpoint.errors)?;
        endpoints.append(dict)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("name", &cluster.name)?;
    dict.set_item("endpoints", endpoints)?;
    Ok(dict)
}
