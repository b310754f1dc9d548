//! The native module `meltemi._engine`: thin bindings, no logic of their own.
//!
//! What takes longer than a lookup runs without the GIL. A panic in it becomes a Python exception
//! with the panic's message (`detached`), never the end of the interpreter.

mod colouring;
mod detached;
mod engine;
mod explain;
mod explained;
mod filters;
mod messages;
mod protocols;
mod refused;
mod routed;
mod router;
mod texts;

use pyo3::prelude::*;

/// The native engine of Meltemi. Import it through `meltemi.engine`.
#[pymodule]
mod _engine {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::colouring::Colouring;
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::explain::{check_regex, explain_endpoint, explain_limit, explain_route};
    #[pymodule_export]
    use super::messages::decode_messages;
    #[pymodule_export]
    use super::routed::Call;
    #[pymodule_export]
    use super::router::Router;
    #[pymodule_export]
    use super::texts::hash_of;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::refused::add(module)
    }
}
