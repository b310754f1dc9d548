//! The entries of lanes: does this request get the mark?
//!
//! Conditions are Envoy's: of a header that came several times the values are joined by commas,
//! parameters of a query are not percent-decoded, an expression has to match the whole value.

use std::borrow::Cow;
use std::net::IpAddr;

use meltemi_routing::{FullMatch, hash_of, hash_of_address};

use crate::carriers::{trimmed, value_of};
use crate::network::Network;

/// A condition on a text.
#[derive(Clone, Debug)]
pub enum Test {
    /// The whole of it.
    Exact(Vec<u8>),
    /// Its beginning.
    Prefix(Vec<u8>),
    /// The whole of it, by an expression.
    Regex(FullMatch),
    /// It is there.
    Present,
}

impl Test {
    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => value == wanted,
            Self::Prefix(wanted) => value.starts_with(wanted),
            Self::Regex(expression) => expression.accepts(value),
            Self::Present => true,
        }
    }
}

/// What of a request is tested.
#[derive(Clone, Debug)]
pub enum Condition {
    /// A header, by its name in lower case.
    Header(Vec<u8>, Test),
    /// A cookie.
    Cookie(Vec<u8>, Test),
    /// A parameter of the query.
    Parameter(Vec<u8>, Test),
    /// The path without the query.
    Path(Test),
    /// The method.
    Method(Test),
    /// Where the caller is, in one of these.
    Source(Vec<Network>),
}

/// What of a request stays the same, and so stays in a share.
#[derive(Clone, Debug)]
pub enum ShareBy {
    /// Nothing: each request is for itself.
    Request,
    /// The first header of this name, in lower case.
    Header(Vec<u8>),
    /// A cookie.
    Cookie(Vec<u8>),
    /// A member of baggage.
    Member(Vec<u8>),
    /// The caller's address.
    Source,
}

/// A percentage of requests.
#[derive(Clone, Debug)]
pub struct Share {
    /// From 0 to 100.
    pub percent: u8,
    /// By what it is decided.
    pub by: ShareBy,
}

/// All conditions hold together, and the share.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// None: all requests.
    pub conditions: Vec<Condition>,
    /// None: all of them.
    pub share: Option<Share>,
}

/// What entries look at.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) query: &'a [u8],
    pub(crate) source: Option<IpAddr>,
    /// Names in any case, and values as they are after stripping.
    pub(crate) headers: &'a [(&'a [u8], Cow<'a, [u8]>)],
    pub(crate) chance: Chance,
}

/// Numbers that follow from one that is drawn for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// From 0 to 99. Source: SplitMix64, <https://prng.di.unimi.it/splitmix64.c>
    fn percent(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % BUCKETS
    }
}

const BUCKETS: u64 = 100;

impl Entry {
    pub(crate) fn holds(&self, asked: &mut Asked<'_>) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.holds(asked))
            && self.share.as_ref().is_none_or(|share| share.holds(asked))
    }
}

impl Condition {
    fn holds(&self, asked: &Asked<'_>) -> bool {
        match self {
            Self::Header(name, test) => {
                asked.joined(name).is_some_and(|value| test.accepts(&value))
            }
            Self::Cookie(name, test) => asked.cookie(name).is_some_and(|value| test.accepts(value)),
            Self::Parameter(name, test) => {
                parameter(asked.query, name).is_some_and(|value| test.accepts(value))
            }
            Self::Path(test) => test.accepts(asked.path),
            Self::Method(test) => test.accepts(asked.method),
            Self::Source(networks) => asked.source.is_some_and(|source| within(networks, source)),
        }
    }
}

impl Share {
    fn holds(&self, asked: &mut Asked<'_>) -> bool {
        let hash = match &self.by {
            ShareBy::Request => return asked.chance.percent() < self.percent.into(),
            ShareBy::Header(name) => asked.values(name).next().and_then(hash_of_some),
            ShareBy::Cookie(name) => asked.cookie(name).and_then(hash_of_some),
            ShareBy::Member(key) => {
                value_of(asked.values(b"baggage"), key).and_then(|value| hash_of_some(&value))
            }
            ShareBy::Source => asked.source.map(hash_of_address),
        };
        hash.is_some_and(|hash| hash % BUCKETS < self.percent.into())
    }
}

pub(crate) fn within(networks: &[Network], source: IpAddr) -> bool {
    networks.iter().any(|network| network.holds(source))
}

fn hash_of_some(value: &[u8]) -> Option<u64> {
    (!value.is_empty()).then(|| hash_of(value))
}

impl Asked<'_> {
    fn values<'b>(&'b self, name: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let named = move |header: &&(&[u8], Cow<'_, [u8]>)| header.0.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|header| &*header.1)
    }

    /// All values of a header; None where it is not there.
    fn joined(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        let mut values = self
            .headers
            .iter()
            .filter(|header| header.0.eq_ignore_ascii_case(name));
        let first = values.next()?;
        let mut all = Cow::Borrowed(&*first.1);
        for (_, value) in values {
            let all = all.to_mut();
            all.push(b',');
            all.extend_from_slice(value);
        }
        Some(all)
    }

    /// The value of the first cookie of that name (RFC 6265, 5.4), as it was sent.
    fn cookie(&self, name: &[u8]) -> Option<&[u8]> {
        let headers = self
            .headers
            .iter()
            .filter(|header| header.0.eq_ignore_ascii_case(b"cookie"));
        headers
            .flat_map(|header| header.1.split(|byte| *byte == b';'))
            .find_map(|pair| {
                let equals = pair.iter().position(|byte| *byte == b'=')?;
                (trimmed(&pair[..equals]) == name).then(|| trimmed(&pair[equals + 1..]))
            })
    }
}

/// The value of the first parameter of that name, as it was sent.
fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let equals = pair
            .iter()
            .position(|byte| *byte == b'=')
            .unwrap_or(pair.len());
        (&pair[..equals] == name).then(|| pair.get(equals + 1..).unwrap_or_default())
    })
}
