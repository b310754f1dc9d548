//! Hashes of single values, as routes have them.

use pyo3::prelude::*;

/// xxHash64 of `value` with seed 0: what routes hash, and Envoy does.
#[pyfunction]
pub(crate) fn hash_of(value: &[u8]) -> u64 {
    meltemi_routing::hash_of(value)
}
