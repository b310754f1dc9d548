//! What Python asks of single values by the code that routes: expressions and hashes.

use meltemi_routing::FullMatch;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::detached::detached;

/// A regular expression as the engine takes it (RE2's syntax, linear time), ready to be asked.
///
/// Raises ValueError with the reason where `check_regex` would.
#[pyclass(frozen, module = "meltemi.engine")]
pub(crate) struct Expression(FullMatch);

#[pymethods]
impl Expression {
    #[new]
    fn new(py: Python<'_>, pattern: &str) -> PyResult<Self> {
        detached(py, || FullMatch::new(pattern))?
            .map(Self)
            .map_err(PyValueError::new_err)
    }

    /// Whether the whole of `value` matches. Bytes that are not UTF-8 are taken one by one.
    fn matches(&self, value: &[u8]) -> bool {
        self.0.accepts(value)
    }
}

/// xxHash64 of `value` with seed 0: what routes hash, and Envoy does.
#[pyfunction]
pub(crate) fn hash_of(value: &[u8]) -> u64 {
    meltemi_routing::hash_of(value)
}
