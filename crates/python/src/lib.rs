//! The native module `meltemi._engine`: thin bindings, no logic of their own.
//!
//! What takes longer than a lookup runs without the GIL. A panic in it becomes a Python exception
//! with the panic's message (`detached`), never the end of the interpreter.

mod detached;
mod engine;
mod explain;
mod filters;
mod messages;
mod protocols;

use pyo3::prelude::*;

/// The native engine of Meltemi. Import it through `meltemi.engine`.
#[pymodule]
mod _engine {
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::explain::{check_regex, explain_endpoint, explain_limit, explain_route};
    #[pymodule_export]
    use super::messages::decode_messages;
}
