//! Work whose faults are exceptions, with and without the GIL.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// Runs `work` without the GIL.
///
/// # Errors
/// RuntimeError with the message of a panic in `work`: a fault of ours that a caller may report, and
/// that takes nothing else down.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .map_err(|panic| fault(&*panic))
}

/// Runs `work`, too short to let go of the GIL for.
///
/// # Errors
/// As [`detached`].
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| fault(&*panic))
}

fn fault(panic: &(dyn Any + Send)) -> PyErr {
    PyRuntimeError::new_err(format!("fault in the engine: {}", message(panic)))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
