//! One call of a client without a sidecar, as Python sees it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use meltemi_proxyless::Failure;
use meltemi_routing::Mutation;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

/// What is kept with an endpoint: its address as Python wants it, the same object each time.
pub(crate) struct Face {
    address: PyOnceLock<Py<PyString>>,
}

impl Default for Face {
    fn default() -> Self {
        Self {
            address: PyOnceLock::new(),
        }
    }
}

/// A time that only grows, from the first time that it is asked for.
pub(crate) fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// One call, its first endpoint picked: what `Router.call` returns.
///
/// Each attempt ends with `succeeded`, `failed` or `abandoned`; a call that is dropped was abandoned. When
/// the call is over, these do nothing more.
#[pyclass(module = "meltemi._engine", freelist = 64)]
pub(crate) struct Call {
    call: meltemi_proxyless::Call<Face>,
    /// The process that made its router.
    process: u32,
}

impl Call {
    pub(crate) const fn new(call: meltemi_proxyless::Call<Face>, process: u32) -> Self {
        Self { call, process }
    }

    /// Logs the first leak of a lane and service, as a warning of `meltemi.lanes`.
    fn tell_leak(&mut self, py: Python<'_>) -> PyResult<()> {
        let Some(leak) = self.call.take_leak() else {
            return Ok(());
        };
        let logger = py
            .import("logging")?
            .call_method1("getLogger", ("meltemi.lanes",))?;
        logger.call_method1("warning", (leak,)).map(drop)
    }
}

impl Drop for Call {
    /// A call that another process began is none of this one's: an update that ran when it forked may
    /// have left locks behind that nobody opens.
    fn drop(&mut self) {
        if !self.call.is_over() && std::process::id() != self.process {
            self.call.forget();
        }
    }
}

#[pymethods]
impl Call {
    /// Where the attempt that is made now goes: `127.0.3.4:9090`. The same object for the same endpoint.
    #[getter]
    fn address(&self, py: Python<'_>) -> Py<PyString> {
        let place = self.call.place();
        let make = || PyString::new(py, &place.address.to_string()).unbind();
        place.face.address.get_or_init(py, make).clone_ref(py)
    }

    /// The name of the cluster that was chosen.
    #[getter]
    fn cluster(&self) -> &str {
        self.call.cluster()
    }

    /// The lane that the call asks for; None: none.
    #[getter]
    fn mark(&self) -> Option<&str> {
        self.call.mark().map(|mark| &**mark)
    }

    /// Whose instance the endpoint is: a lane's name, or `baseline`; None where its host has no lanes.
    #[getter]
    fn lane(&self) -> Option<&str> {
        self.call.lane().map(|lane| &**lane)
    }

    /// The name of the route that was taken; may be empty.
    #[getter]
    fn route(&self) -> &str {
        self.call.route()
    }

    /// The workload behind the endpoint: `workload`, `namespace`, `app`, `version`, `cluster`; None where
    /// nobody said it.
    #[getter]
    fn peer<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(peer) = self.call.peer() else {
            return Ok(None);
        };
        let dict = PyDict::new(py);
        dict.set_item("workload", &*peer.workload)?;
        dict.set_item("namespace", &*peer.namespace)?;
        dict.set_item("app", &*peer.app)?;
        dict.set_item("version", &*peer.version)?;
        dict.set_item("cluster", &*peer.cluster)?;
        Ok(Some(dict))
    }

    /// How many attempts were made before this one.
    #[getter]
    fn attempt(&self) -> u32 {
        self.call.attempt()
    }

    /// Seconds that the whole call may take. None: its route does not say; 0.0: without a limit.
    #[getter]
    fn timeout_s(&self) -> Option<f64> {
        self.call.timeout().map(|timeout| timeout.as_secs_f64())
    }

    /// Seconds that one attempt may take; None: the route does not say.
    #[getter]
    fn per_try_timeout_s(&self) -> Option<f64> {
        self.call
            .per_try_timeout()
            .map(|timeout| timeout.as_secs_f64())
    }

    /// Changes of the request's headers, to be made one after the other: (`set`, name, value), (`add`,
    /// name, value), (`remove`, name, ``), (`set-if-missing`, name, value), (`set-if-present`, name, value).
    #[getter]
    fn request_changes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        changes(py, self.call.request_changes())
    }

    /// The same for the reply's headers.
    #[getter]
    fn response_changes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        changes(py, self.call.response_changes())
    }

    /// A reply came; the call is over. `status`: its HTTP status, where the protocol has one; 5xx counts
    /// against the endpoint.
    #[pyo3(signature = (status=None))]
    fn succeeded(&mut self, py: Python<'_>, status: Option<u32>) -> PyResult<()> {
        self.call.succeeded(status, now());
        self.tell_leak(py)
    }

    /// The attempt failed. Returns the seconds to wait before the next one, whose endpoint is picked
    /// (`address` is another); None: there is none, and the call is over.
    ///
    /// `reason`: `connect-failure`, `reset-before-request`, `reset`, `timeout`, `status`, `refused-stream`, or
    /// a gRPC status in words: `unavailable`. `status`: that of the reply, where there was one. Raises
    /// ValueError for other words.
    #[pyo3(signature = (reason, status=None))]
    fn failed(
        &mut self,
        py: Python<'_>,
        reason: &str,
        status: Option<u32>,
    ) -> PyResult<Option<f64>> {
        let Some(failure) = Failure::parse(reason) else {
            let words: Vec<_> = Failure::words().collect();
            let words = words.join(", ");
            let error = format!("reason: {reason:?} is none of {words}");
            return Err(PyValueError::new_err(error));
        };
        let wait = self.call.failed(failure, status, now());
        self.tell_leak(py)?;
        Ok(wait.map(|wait| wait.as_secs_f64()))
    }

    /// The caller left; the call is over, and nothing is held against the endpoint.
    fn abandoned(&mut self) {
        self.call.abandoned();
    }
}

/// Mostly none: then it is always the same object.
pub(crate) fn changes<'py, 'c>(
    py: Python<'py>,
    changes: impl Iterator<Item = &'c Mutation>,
) -> PyResult<Bound<'py, PyTuple>> {
    let words = |change: &'c Mutation| -> (&str, &'c str, &'c str) {
        match change {
            Mutation::Set(name, value) => ("set", name, value),
            Mutation::Append(name, value) => ("add", name, value),
            Mutation::SetIfMissing(name, value) => ("set-if-missing", name, value),
            Mutation::SetIfPresent(name, value) => ("set-if-present", name, value),
            Mutation::Remove(name) => ("remove", name, ""),
        }
    };
    PyTuple::new(py, changes.map(words).collect::<Vec<_>>())
}
