//! A call as routes see it: pseudo attributes, headers, parameters of its query.

use std::cell::OnceCell;

use crate::Attributes;
use crate::matcher::QUERY;

/// The attribute that conditions on the path look at: the path without query and fragment.
pub const PATH: &str = ":path";

/// The attribute that a header condition on `:path` looks at: the path with everything behind it.
pub const FULL_PATH: &str = ":path?";

/// A call as matchers see it.
///
/// `:path`, `:method`, `:scheme` and `:authority` (also as `host`) are attributes; `?name` is the first
/// parameter `name` of the query, as it stands there. Names of headers are compared without
/// case.
#[derive(Debug)]
pub struct Request<'a, S> {
    method: &'a str,
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
    /// The path without its query: each route looks at it.
    plain_path: &'a str,
    headers: &'a [(S, S)],
    /// Made when first asked for: nearly no request needs it.
    repeated: OnceCell<Vec<Repeated<'a>>>,
    query: OnceCell<Vec<(&'a str, &'a str)>>,
}

/// A header that is there more than once, and its values but the first.
#[derive(Debug)]
struct Repeated<'a> {
    name: &'a str,
    later: Vec<&'a [u8]>,
}

impl<'a, S: AsRef<str>> Request<'a, S> {
    /// A call of `path`, which may have a query, at `authority`.
    pub fn new(
        method: &'a str,
        scheme: &'a str,
        authority: &'a str,
        path: &'a str,
        headers: &'a [(S, S)],
    ) -> Self {
        Self {
            method,
            scheme,
            authority,
            path,
            plain_path: without_query(path),
            headers,
            repeated: OnceCell::new(),
            query: OnceCell::new(),
        }
    }

    fn pseudo(&self, name: &str) -> Option<&str> {
        match name {
            PATH => Some(self.plain_path),
            FULL_PATH => Some(self.path),
            ":method" => Some(self.method),
            ":scheme" => Some(self.scheme),
            ":authority" => Some(self.authority),
            _ => None,
        }
        .filter(|value| !value.is_empty())
    }

    fn header(&self, name: &str) -> Option<&str> {
        let is_named = |(other, _): &&(S, S)| other.as_ref().eq_ignore_ascii_case(name);
        let first = self.headers.iter().find(is_named);
        first.map(|(_, value)| value.as_ref())
    }

    fn repeated(&self) -> Vec<Repeated<'a>> {
        let mut all: Vec<Repeated<'_>> = Vec::new();
        for (place, (name, value)) in self.headers.iter().enumerate() {
            let name = name.as_ref();
            let is_named = |other: &str| other.eq_ignore_ascii_case(name);
            let mut before = self.headers[..place].iter();
            if !before.any(|(other, _)| is_named(other.as_ref())) {
                continue;
            }
            let value = value.as_ref().as_bytes();
            match all.iter_mut().find(|other| is_named(other.name)) {
                Some(same) => same.later.push(value),
                None => all.push(Repeated {
                    name,
                    later: vec![value],
                }),
            }
        }
        all
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let query = self.query.get_or_init(|| parameters(self.path));
        let first = query.iter().find(|(other, _)| *other == name);
        first.map(|(_, value)| *value)
    }
}

impl<S: AsRef<str>> Attributes for Request<'_, S> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        match name.chars().next() {
            Some(':') => self.pseudo(name).map(str::as_bytes),
            Some(QUERY) => {
                let name = &name[QUERY.len_utf8()..];
                self.parameter(name).map(str::as_bytes)
            }
            _ if name == "host" => self.pseudo(":authority").map(str::as_bytes),
            _ => self.header(name).map(str::as_bytes),
        }
    }

    fn more(&self, name: &str) -> &[&[u8]] {
        let is_named = |(other, _): &&(S, S)| other.as_ref().eq_ignore_ascii_case(name);
        if self.headers.iter().filter(is_named).nth(1).is_none() {
            return &[];
        }
        let repeated = self.repeated.get_or_init(|| self.repeated());
        let mut named = repeated.iter();
        let found = named.find(|header| header.name.eq_ignore_ascii_case(name));
        found.map_or(&[], |header| &header.later)
    }
}

fn without_query(path: &str) -> &str {
    let end = path.bytes().position(|byte| matches!(byte, b'?' | b'#'));
    &path[..end.unwrap_or(path.len())]
}

/// The parameters of the query of `path`, as they stand there: Envoy routes by them without decoding.
fn parameters(path: &str) -> Vec<(&str, &str)> {
    let path = path.split_once('#').map_or(path, |(before, _)| before);
    let Some((_, query)) = path.split_once('?') else {
        return Vec::new();
    };
    let pairs = query.split('&');
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect()
}
