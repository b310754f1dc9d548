//! What the engine's decoders make of bytes: for tests that compare them with other readers.

use std::sync::Arc;

use meltemi_codec::{Direction, Format, Frame, Kind, Limits, Protocol, Status};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::detached::detached;
use crate::protocols::protocols;

/// Decodes the messages at the front of `data`, as a connection would: for tests that compare the engine
/// with other readers.
///
/// `protocol` is its name (`thrift`), `direction` is `request` or `response`. The decoder is given `chunk`
/// bytes more each time that it asks for more; 0: all at once. Returns the complete messages, each with
/// `kind`, `ok` (False for a reply that says it failed), `length` in bytes, `id`, `header_id`, `format`,
/// `rewritable`, `any_order` and `attributes` (names to bytes); what follows them is incomplete.
///
/// Raises ValueError with the reason when the bytes are not of the protocol, and for unknown words.
#[pyfunction]
#[pyo3(signature = (protocol, direction, data, chunk=0))]
pub(crate) fn decode_messages<'py>(
    py: Python<'py>,
    protocol: &str,
    direction: &str,
    data: PyBackedBytes,
    chunk: usize,
) -> PyResult<Bound<'py, PyList>> {
    let known = protocols().remove(protocol).ok_or_else(|| {
        PyValueError::new_err(format!("the engine has no protocol called {protocol:?}"))
    })?;
    let direction = match direction {
        "request" => Direction::Request,
        "response" => Direction::Response,
        other => {
            let reason = format!("{other:?} is no direction: \"request\" and \"response\" are");
            return Err(PyValueError::new_err(reason));
        }
    };
    let messages = detached(py, || decode(&known, direction, &data, chunk))?;
    let messages = messages.map_err(PyValueError::new_err)?;
    PyList::new(
        py,
        messages
            .iter()
            .map(|message| message.to_dict(py))
            .collect::<PyResult<Vec<_>>>()?,
    )
}

struct Message {
    frame: Frame,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Feeds the decoder `chunk` bytes more each time that it asks for more; 0: all at once.
fn decode(
    protocol: &Arc<dyn Protocol>,
    direction: Direction,
    data: &[u8],
    chunk: usize,
) -> Result<Vec<Message>, String> {
    let mut decoder = protocol.decoder(direction, Format::DETECT, Limits::default());
    let mut messages = Vec::new();
    let (mut start, mut fed) = (0, 0);
    while start < data.len() {
        let end = if chunk == 0 {
            data.len()
        } else {
            data.len().min(fed + chunk)
        };
        let more = end > fed;
        fed = end;
        match decoder
            .decode(&data[start..fed])
            .map_err(|error| error.to_string())?
        {
            Some(frame) if frame.len == 0 => return Err("a message of no bytes".to_owned()),
            Some(frame) if frame.len > data.len() - start => break,
            Some(frame) => {
                let head = &data[start..fed];
                let mut attributes = Vec::new();
                protocol.attributes(&frame, head, &mut |name, value| {
                    attributes.push((name.to_vec(), value.to_vec()));
                });
                start += frame.len;
                fed = fed.max(start);
                messages.push(Message { frame, attributes });
            }
            None if more => {}
            None => break,
        }
    }
    Ok(messages)
}

impl Message {
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Frame {
            kind,
            status,
            len,
            ids,
            rewritable,
            any_order,
            ..
        } = &self.frame;
        let dict = PyDict::new(py);
        dict.set_item("kind", kind_name(*kind))?;
        dict.set_item("ok", *status == Status::Ok)?;
        dict.set_item("length", *len)?;
        dict.set_item("id", ids.message)?;
        dict.set_item("header_id", ids.header)?;
        dict.set_item("format", self.frame.format.0)?;
        dict.set_item("rewritable", *rewritable)?;
        dict.set_item("any_order", *any_order)?;
        let attributes = PyDict::new(py);
        for (name, value) in &self.attributes {
            attributes.set_item(String::from_utf8_lossy(name), PyBytes::new(py, value))?;
        }
        dict.set_item("attributes", attributes)?;
        Ok(dict)
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "request",
        Kind::Oneway => "oneway",
        Kind::Response => "response",
        Kind::Heartbeat => "heartbeat",
        Kind::HeartbeatReply => "heartbeat_reply",
        Kind::StreamOpen => "stream_open",
        Kind::StreamData => "stream_data",
        Kind::StreamClose => "stream_close",
    }
}
