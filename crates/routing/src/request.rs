//! A call as routes see it: pseudo attributes, headers, parameters of its query.

use std::borrow::Cow;
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
/// parameter `name` of the query, decoded. A header that is there more than once has its values
/// joined by commas, as in Envoy. Names of headers are compared without case.
#[derive(Debug)]
pub struct Request<'a, S> {
    method: &'a str,
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
    headers: &'a [(S, S)],
    /// Made when first asked for: nearly no request needs it.
    joined: OnceCell<Vec<(&'a str, String)>>,
    query: OnceCell<Vec<Parameter<'a>>>,
}

/// A parameter of a query, decoded.
#[derive(Debug)]
struct Parameter<'a> {
    name: Cow<'a, [u8]>,
    value: Cow<'a, [u8]>,
}

impl<'a, S: AsRef<str>> Request<'a, S> {
    /// A call of `path`, which may have a query, at `authority`.
    pub const fn new(
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
            headers,
            joined: OnceCell::new(),
            query: OnceCell::new(),
        }
    }

    fn pseudo(&self, name: &str) -> Option<&str> {
        match name {
            PATH => Some(without_query(self.path)),
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
        let mut found = self.headers.iter().filter(is_named);
        let (_, first) = found.next()?;
        if found.next().is_none() {
            return Some(first.as_ref());
        }
        let joined = self.joined.get_or_init(|| self.join());
        let same = joined
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name));
        same.map(|(_, value)| &**value)
    }

    /// Every header that is there more than once.
    fn join(&self) -> Vec<(&'a str, String)> {
        let mut all: Vec<(&str, String)> = Vec::new();
        for (name, value) in self.headers {
            let (name, value) = (name.as_ref(), value.as_ref());
            let same = all
                .iter_mut()
                .find(|(other, _)| other.eq_ignore_ascii_case(name));
            match same {
                Some((_, joined)) => {
                    joined.push(',');
                    joined.push_str(value);
                }
                None => all.push((name, value.to_owned())),
            }
        }
        all
    }

    fn parameter(&self, name: &str) -> Option<&[u8]> {
        let query = self.query.get_or_init(|| parameters(self.path));
        let mut named = query.iter();
        let first = named.find(|parameter| *parameter.name == *name.as_bytes());
        first.map(|parameter| &*parameter.value)
    }
}

impl<S: AsRef<str>> Attributes for Request<'_, S> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        match name.chars().next() {
            Some(':') => self.pseudo(name).map(str::as_bytes),
            Some(QUERY) => self.parameter(&name[QUERY.len_utf8()..]),
            _ if name == "host" => self.pseudo(":authority").map(str::as_bytes),
            _ => self.header(name).map(str::as_bytes),
        }
    }
}

fn without_query(path: &str) -> &str {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    &path[..end]
}

/// The parameters of the query of `path`, decoded as Envoy does: `+` is no space.
fn parameters(path: &str) -> Vec<Parameter<'_>> {
    let path = path.split_once('#').map_or(path, |(before, _)| before);
    let Some((_, query)) = path.split_once('?') else {
        return Vec::new();
    };
    let pair = |text| {
        let (name, value) = str::split_once(text, '=').unwrap_or((text, ""));
        Parameter {
            name: decoded(name),
            value: decoded(value),
        }
    };
    query.split('&').map(pair).collect()
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        let digits = behind.get(..2).filter(|_| *first == b'%').and_then(byte);
        match digits {
            Some(byte) => {
                out.push(byte);
                rest = &behind[2..];
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    Cow::Owned(out)
}

/// The byte that two hexadecimal digits stand for.
fn byte(digits: &[u8]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}
