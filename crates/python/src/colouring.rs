//! Colouring for applications that are their own edge.

use meltemi_colouring::{
    Changes, Condition, Entry, Group, Lane, Network, Plan, Request, Share, ShareBy, Test,
};
use meltemi_routing::FullMatch;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

/// What kind of test, and its text.
type Match = (String, String);
type Named = Vec<(String, Match)>;
/// Headers, cookies, parameters; path, method; networks; percent, by what, its name.
type Written = (
    Named,
    Named,
    Named,
    Option<Match>,
    Option<Match>,
    Vec<String>,
    Option<(u8, String, String)>,
);
/// Key, trusted networks, lanes.
type WrittenGroup = (String, Vec<String>, Vec<(String, Vec<Written>)>);
/// By place, and a further header.
type Changed<'py> = (
    Vec<(usize, Option<Bound<'py, PyBytes>>)>,
    Bound<'py, PyBytes>,
);

/// The rules of colouring, ready to be asked by any thread.
///
/// `groups` are tuples of key, trusted networks and open lanes, both in the order in which they count; None:
/// nothing is known, and all baggage is taken away. Raises ValueError for what cannot be compiled.
#[pyclass(frozen, module = "meltemi.engine")]
pub(crate) struct Colouring(Plan);

#[pymethods]
impl Colouring {
    #[new]
    fn new(groups: Option<Vec<WrittenGroup>>) -> PyResult<Self> {
        let groups = groups.map(|groups| groups.into_iter().map(group).collect());
        Ok(Self(Plan::new(groups.transpose()?)))
    }

    /// What becomes of the headers of a request: pairs of place and new value (None: it goes), and
    /// the value of a further `baggage` header (empty: there is none). None: all stays.
    ///
    /// `headers` are pairs of bytes; `source` is an IP address, or anything else where there is none;
    /// `chance` any number below 2**64.
    #[expect(clippy::too_many_arguments, reason = "they are what a request is")]
    fn changes<'py>(
        &self,
        py: Python<'py>,
        headers: &Bound<'py, PyAny>,
        method: &str,
        path: &[u8],
        query: &[u8],
        source: &str,
        chance: u64,
    ) -> PyResult<Option<Changed<'py>>> {
        let mut held: Vec<(PyBackedBytes, PyBackedBytes)> = Vec::with_capacity(32);
        for pair in headers.try_iter()? {
            let pair = pair?;
            held.push((pair.get_item(0)?.extract()?, pair.get_item(1)?.extract()?));
        }
        let headers: Vec<(&[u8], &[u8])> = held
            .iter()
            .map(|(name, value)| (&name[..], &value[..]))
            .collect();
        let address = source.split('%').next().unwrap_or_default();
        let request = Request {
            method: method.as_bytes(),
            path,
            query,
            source: address.parse().ok(),
            chance,
        };
        Ok(self
            .0
            .changes(&headers, &request)
            .map(|changes| changed(py, changes)))
    }
}

fn changed(py: Python<'_>, changes: Changes) -> Changed<'_> {
    let values = changes.values.into_iter();
    let values = values.map(|(place, value)| (place, value.map(|value| PyBytes::new(py, &value))));
    (values.collect(), PyBytes::new(py, &changes.added))
}

fn group((key, trusted, lanes): WrittenGroup) -> PyResult<Group> {
    let lanes = lanes.into_iter().map(|(name, entries)| {
        let entries = entries.into_iter().map(entry).collect::<PyResult<_>>()?;
        Ok(Lane { name, entries })
    });
    Ok(Group {
        key,
        trusted: networks(&trusted)?,
        lanes: lanes.collect::<PyResult<_>>()?,
    })
}

fn entry(written: Written) -> PyResult<Entry> {
    let (headers, cookies, parameters, path, method, sources, share) = written;
    let mut conditions = Vec::new();
    for (name, text) in headers {
        conditions.push(Condition::Header(name.into_bytes(), test(text)?));
    }
    if let Some(text) = method {
        conditions.push(Condition::Method(test(text)?));
    }
    if let Some(text) = path {
        conditions.push(Condition::Path(test(text)?));
    }
    for (name, text) in cookies {
        conditions.push(Condition::Cookie(name.into_bytes(), test(text)?));
    }
    for (name, text) in parameters {
        conditions.push(Condition::Parameter(name.into_bytes(), test(text)?));
    }
    if !sources.is_empty() {
        conditions.push(Condition::Source(networks(&sources)?));
    }
    let share = share.map(|(percent, by, name)| {
        Ok::<_, PyErr>(Share {
            percent,
            by: share_by(&by, name)?,
        })
    });
    Ok(Entry {
        conditions,
        share: share.transpose()?,
    })
}

fn share_by(by: &str, name: String) -> PyResult<ShareBy> {
    Ok(match by {
        "request" => ShareBy::Request,
        "header" => ShareBy::Header(name.into_bytes()),
        "cookie" => ShareBy::Cookie(name.into_bytes()),
        "baggage" => ShareBy::Member(name.into_bytes()),
        "source-address" => ShareBy::Source,
        other => return Err(PyValueError::new_err(format!("no share is by {other}"))),
    })
}

fn test((kind, text): Match) -> PyResult<Test> {
    Ok(match kind.as_str() {
        "exact" => Test::Exact(text.into_bytes()),
        "prefix" => Test::Prefix(text.into_bytes()),
        "regex" => Test::Regex(FullMatch::new(&text).map_err(PyValueError::new_err)?),
        "present" => Test::Present,
        other => return Err(PyValueError::new_err(format!("no condition is {other}"))),
    })
}

fn networks(texts: &[String]) -> PyResult<Vec<Network>> {
    let read = |text: &String| {
        Network::parse(text).ok_or_else(|| PyValueError::new_err(format!("{text:?} is no network")))
    };
    texts.iter().map(read).collect()
}
