//! Why there is no call, as Python's exceptions.

use meltemi_proxyless::Refused;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(
    _engine,
    CallRefused,
    PyException,
    "No call was begun: nothing was sent. The base of all reasons."
);
create_exception!(
    _engine,
    NotKnown,
    CallRefused,
    "Resources have not come: `missing` has (type URL, name) of all that are known to be missing."
);
create_exception!(
    _engine,
    NoRoute,
    CallRefused,
    "No virtual host, or none of its routes, is for the call."
);
create_exception!(
    _engine,
    NoEndpoint,
    CallRefused,
    "The cluster has no endpoint that may serve the call."
);
create_exception!(
    _engine,
    Overflow,
    CallRefused,
    "The cluster has as many requests in flight as it may have."
);
create_exception!(
    _engine,
    DirectResponse,
    CallRefused,
    "The route answers by itself: `status` (HTTP) and `body`."
);

/// Adds the exceptions to the native module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("CallRefused", py.get_type::<CallRefused>())?;
    module.add("NotKnown", py.get_type::<NotKnown>())?;
    module.add("NoRoute", py.get_type::<NoRoute>())?;
    module.add("NoEndpoint", py.get_type::<NoEndpoint>())?;
    module.add("Overflow", py.get_type::<Overflow>())?;
    module.add("DirectResponse", py.get_type::<DirectResponse>())
}

/// The exception that says it.
pub(crate) fn exception(py: Python<'_>, refused: &Refused) -> PyErr {
    let reason = refused.to_string();
    let (error, attributes) = match refused {
        Refused::NoRoute(_) => return NoRoute::new_err(reason),
        Refused::NoEndpoint(_) => return NoEndpoint::new_err(reason),
        Refused::Overflow(_) => return Overflow::new_err(reason),
        Refused::NotKnown(missing) => {
            let missing: Vec<(&str, &str)> = missing
                .iter()
                .map(|(type_url, name)| (*type_url, &**name))
                .collect();
            let error = NotKnown::new_err(reason);
            let set = error.value(py).setattr("missing", missing);
            (error, set)
        }
        Refused::DirectResponse(status, body) => {
            let error = DirectResponse::new_err(reason);
            let value = error.value(py);
            let set = value.setattr("status", *status);
            let set = set.and_then(|()| value.setattr("body", &**body));
            (error, set)
        }
    };
    attributes.err().unwrap_or(error)
}
