//! The routes that large configurations consist of, read from their bytes in one pass.
//!
//! A plain route has a name, conditions on values or their beginnings, and a destination, each once.
//! Everything else, and everything that is wrong, is left to the decoder of the whole message and what
//! it says of it. A destination is decoded once: many routes have the same.

use std::sync::Arc;

use meltemi_routing::{AttributeMatch, HashPolicy, Matcher, Route, WeightedClusters};
use prost::Message;

use crate::fingerprint::ByBytes;
use crate::messages::envoy::config::route::v3::RouteAction;
use crate::routes::destination;

/// Numbers of fields.
mod number {
    pub(super) mod route {
        pub(crate) const MATCH: u32 = 1;
        pub(crate) const ROUTE: u32 = 2;
        pub(crate) const NAME: u32 = 14;
    }
    pub(super) mod route_match {
        pub(crate) const PREFIX: u32 = 1;
        pub(crate) const HEADERS: u32 = 6;
    }
    pub(super) mod header_matcher {
        pub(crate) const NAME: u32 = 1;
        pub(crate) const EXACT: u32 = 4;
        pub(crate) const PREFIX: u32 = 9;
        pub(crate) const STRING: u32 = 13;
    }
    pub(super) mod string_matcher {
        pub(crate) const EXACT: u32 = 1;
        pub(crate) const PREFIX: u32 = 2;
    }
}

/// Names of attributes that are remembered; more are rare.
const ATTRIBUTES: usize = 8;

/// Reads the routes of one configuration, which share what is the same in them.
#[derive(Debug)]
pub(crate) struct PlainRoutes<'b> {
    attributes: Vec<Arc<str>>,
    destinations: ByBytes<'b, (WeightedClusters, Vec<HashPolicy>)>,
}

impl Default for PlainRoutes<'_> {
    fn default() -> Self {
        Self {
            attributes: Vec::new(),
            destinations: ByBytes::with_capacity(0),
        }
    }
}

impl<'b> PlainRoutes<'b> {
    /// The route that a serialized `envoy.config.route.v3.Route` is; None where it is not plain.
    pub(crate) fn read(&mut self, bytes: &'b [u8]) -> Option<Route> {
        use number::route::{MATCH, NAME, ROUTE};
        let [mut name, mut wanted, mut action] = [None; 3];
        for field in Fields(bytes) {
            let (number, value) = field?;
            match number {
                NAME => once(&mut name, value)?,
                MATCH => once(&mut wanted, value)?,
                ROUTE => once(&mut action, value)?,
                _ => return None,
            }
        }
        let matches = self.conditions(wanted.unwrap_or_default())?;
        let (clusters, hash_policy) = self.destination(action?)?;
        Some(Route {
            name: text(name.unwrap_or_default())?.into(),
            matches,
            clusters,
            hash_policy,
            request_mutation: Vec::new(),
            response_mutation: Vec::new(),
            http: None,
        })
    }

    fn conditions(&mut self, bytes: &[u8]) -> Option<Vec<AttributeMatch>> {
        use number::route_match::{HEADERS, PREFIX};
        let mut conditions = Vec::new();
        for field in Fields(bytes) {
            match field? {
                (PREFIX, b"" | b"/") => {}
                (HEADERS, header) => conditions.push(self.condition(header)?),
                _ => return None,
            }
        }
        Some(conditions)
    }

    fn condition(&mut self, bytes: &[u8]) -> Option<AttributeMatch> {
        use number::header_matcher::{EXACT, NAME, PREFIX, STRING};
        let (mut name, mut value) = (None, None);
        for field in Fields(bytes) {
            match field? {
                (NAME, text) => once(&mut name, text)?,
                (EXACT, text) => once(&mut value, Pattern::Exact(text))?,
                (PREFIX, text) => once(&mut value, Pattern::Prefix(text))?,
                (STRING, pattern) => once(&mut value, Pattern::of_string(pattern)?)?,
                _ => return None,
            }
        }
        Some(AttributeMatch {
            name: self.attribute(text(name?)?)?,
            matcher: value?.matcher()?,
            invert: false,
            missing_is_empty: false,
        })
    }

    /// The attribute's name, the same for all conditions on it; None where it is empty.
    fn attribute(&mut self, name: &str) -> Option<Arc<str>> {
        if let Some(known) = self.attributes.iter().find(|known| ***known == *name) {
            return Some(Arc::clone(known));
        }
        let new: Arc<str> = (!name.is_empty()).then(|| name.into())?;
        if self.attributes.len() < ATTRIBUTES {
            self.attributes.push(Arc::clone(&new));
        }
        Some(new)
    }

    fn destination(&mut self, bytes: &'b [u8]) -> Option<(WeightedClusters, Vec<HashPolicy>)> {
        if let Some(known) = self.destinations.get(bytes) {
            return Some(known.clone());
        }
        let new = destination(&RouteAction::decode(bytes).ok()?).ok()?;
        self.destinations.insert(bytes, new.clone());
        Some(new)
    }
}

#[derive(Clone, Copy)]
enum Pattern<'b> {
    Exact(&'b [u8]),
    Prefix(&'b [u8]),
}

impl<'b> Pattern<'b> {
    /// Of a serialized `envoy.type.matcher.v3.StringMatcher`.
    fn of_string(bytes: &'b [u8]) -> Option<Self> {
        use number::string_matcher::{EXACT, PREFIX};
        let mut pattern = None;
        for field in Fields(bytes) {
            match field? {
                (EXACT, text) => once(&mut pattern, Self::Exact(text))?,
                (PREFIX, text) => once(&mut pattern, Self::Prefix(text))?,
                _ => return None,
            }
        }
        pattern
    }

    fn matcher(self) -> Option<Matcher> {
        Some(match self {
            Self::Exact(value) => Matcher::Exact(text(value)?.as_bytes().into()),
            Self::Prefix(value) => Matcher::Prefix(text(value)?.as_bytes().into()),
        })
    }
}

/// None where there is a value already: which of the two counts is the decoder's to say.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The fields of a serialized message: number and value. None is a field whose value has no length, or
/// what is no field, and the last.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn field(&mut self) -> Option<(u32, &'b [u8])> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0)?;
        if key & 7 != LENGTH_DELIMITED {
            return None;
        }
        let length = usize::try_from(self.varint()?).ok()?;
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((number, value))
    }

    /// Nearly all keys and lengths are of one byte.
    fn varint(&mut self) -> Option<u64> {
        match self.0 {
            [one @ 0..0x80, rest @ ..] => {
                self.0 = rest;
                Some(u64::from(*one))
            }
            _ => prost::encoding::decode_varint(&mut self.0).ok(),
        }
    }
}

const LENGTH_DELIMITED: u64 = 2;

impl<'b> Iterator for Fields<'b> {
    type Item = Option<(u32, &'b [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.field())
    }
}
