//! Marks of lanes: the attributes that carry baggage, and what stays of them without the marks.
//!
//! A mark is a member `KEY=LANE` of baggage. Baggage travels as a list (`baggage`, and the metainfo of
//! Kitex made of it), or a member an attribute (`ot-baggage-KEY` of OpenTracing, `uberctx-KEY` of Jaeger).
//! What somebody sends to get a mark past a rule is read as the most lenient of its readers would read it:
//! names in any case, `_` and `-` as one, keys in any case and percent-encoded. What is no mark stays byte for
//! byte.

use std::borrow::Cow;

use crate::Mutation;

/// What metainfo puts before a name, on any of its ways (Kitex; Hertz and gRPC in lower case).
const METAINFO: [&[u8]; 4] = [
    b"rpc-transit-",
    b"rpc-persist-",
    b"rpc-backward-",
    b"upstream-",
];
const LIST: &[u8] = b"baggage";
/// What comes before the key of a member that is an attribute by itself.
const MEMBERS: [&[u8]; 2] = [b"ot-baggage-", b"uberctx-"];

/// Keys whose members of baggage are marks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Marks {
    /// In lower case.
    keys: Box<[Box<str>]>,
}

/// What stays of an attribute without the marks in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmarked {
    /// All of it.
    Same,
    /// This value.
    Less(Vec<u8>),
    /// Nothing.
    Gone,
}

/// How an attribute carries baggage.
enum Carrier<'n> {
    List,
    /// One member, by its key.
    Member(&'n [u8]),
}

impl Marks {
    /// The marks of lane groups with these keys; None where there are none.
    pub fn new<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Option<Self> {
        let lower = |key: K| key.as_ref().to_lowercase().into_boxed_str();
        let mut keys: Vec<_> = keys.into_iter().map(lower).collect();
        keys.sort_unstable();
        keys.dedup();
        (!keys.is_empty()).then(|| Self { keys: keys.into() })
    }

    /// The keys, in lower case, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| &**key)
    }

    /// What stays of the attribute `name`. A value that is not at hand (None) may hold anything.
    #[must_use]
    pub fn unmarked(&self, name: &[u8], value: Option<&[u8]>) -> Unmarked {
        if name.is_ascii() {
            return self.of_carrier(name, value);
        }
        // Some letters have a lower case that is ASCII (the sign of Kelvin's unit).
        self.of_carrier(lower(name).as_bytes(), value)
    }

    fn of_carrier(&self, name: &[u8], value: Option<&[u8]>) -> Unmarked {
        match (carrier(name), value) {
            (None, _) => Unmarked::Same,
            (Some(Carrier::List), Some(list)) => self.of_list(list),
            (Some(Carrier::List), None) => Unmarked::Gone,
            (Some(Carrier::Member(key)), _) if self.is_key(key, same_in_header) => Unmarked::Gone,
            (Some(Carrier::Member(_)), _) => Unmarked::Same,
        }
    }

    fn of_list(&self, list: &[u8]) -> Unmarked {
        let is_mark = |member: &&[u8]| self.is_key(key_of(member), <[u8]>::eq_ignore_ascii_case);
        let members = || list.split(|byte| *byte == b',');
        if !members().any(|member| is_mark(&member)) {
            return Unmarked::Same;
        }
        let left: Vec<&[u8]> = members().filter(|member| !is_mark(member)).collect();
        if left.iter().all(|member| member.trim_ascii().is_empty()) {
            return Unmarked::Gone;
        }
        Unmarked::Less(left.join(&b','))
    }

    /// Whether `text`, as it was written, is one of the keys to any reader.
    fn is_key(&self, text: &[u8], same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        let decoded = percent_decoded(text);
        let folded = if decoded.is_ascii() {
            decoded
        } else {
            Cow::Owned(lower(&decoded).into_bytes())
        };
        let key = trimmed(&folded);
        // A plus is a blank to some: OpenTelemetry's propagator for Python.
        let blank = |byte: &u8| *byte != b'+';
        let start = key.iter().position(blank).unwrap_or(key.len());
        let end = key.iter().rposition(blank).map_or(start, |last| last + 1);
        let is_one = |key: &[u8]| self.keys.iter().any(|own| same(own.as_bytes(), key));
        is_one(key) || is_one(&key[start..end])
    }

    /// The changes after which the headers of a request hold no marks; mostly none. A header that is there
    /// several times becomes one.
    pub fn changes<'h>(
        &self,
        headers: impl Iterator<Item = (&'h str, &'h str)> + Clone,
    ) -> Vec<Mutation> {
        let mut changes: Vec<Mutation> = Vec::new();
        let left = |name: &str, value: &str| self.unmarked(name.as_bytes(), Some(value.as_bytes()));
        for (name, value) in headers.clone() {
            let known = |change: &Mutation| match change {
                Mutation::Set(other, _) | Mutation::Remove(other) => {
                    other.eq_ignore_ascii_case(name)
                }
                _ => false,
            };
            if left(name, value) == Unmarked::Same || changes.iter().any(known) {
                continue;
            }
            let mut rest = Vec::new();
            for (other, value) in headers.clone() {
                if !other.eq_ignore_ascii_case(name) {
                    continue;
                }
                match left(other, value) {
                    Unmarked::Same => rest.push(value.to_owned()),
                    // What was cut at commas is as much UTF-8 as it was.
                    Unmarked::Less(part) => {
                        rest.push(String::from_utf8_lossy(&part).into_owned());
                    }
                    Unmarked::Gone => {}
                }
            }
            changes.push(if rest.is_empty() {
                Mutation::Remove(name.into())
            } else {
                Mutation::Set(name.into(), rest.join(",").into())
            });
        }
        changes
    }
}

fn carrier(name: &[u8]) -> Option<Carrier<'_>> {
    let mut name = name.trim_ascii();
    while let Some(rest) = METAINFO.iter().find_map(|prefix| behind(name, prefix)) {
        name = rest;
    }
    if same_in_header(name, LIST) {
        return Some(Carrier::List);
    }
    let member = MEMBERS.iter().find_map(|prefix| behind(name, prefix));
    member.map(Carrier::Member)
}

fn behind<'n>(name: &'n [u8], prefix: &[u8]) -> Option<&'n [u8]> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    same_in_header(start, prefix).then_some(rest)
}

/// Whether two names are one to somebody who takes `_` for `-` (CGI, WSGI, Kitex).
fn same_in_header(one: &[u8], other: &[u8]) -> bool {
    let folded = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.iter().map(folded).eq(other.iter().map(folded))
}

/// The part of a member before its value and its properties.
fn key_of(member: &[u8]) -> &[u8] {
    let ends = |byte: &u8| matches!(byte, b'=' | b';');
    member.split(ends).next().unwrap_or_default()
}

/// Without what cannot be in a key at its ends: blanks, quotes, control characters.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let start = text.iter().position(is_token).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(is_token)
        .map_or(start, |last| last + 1);
    &text[start..end]
}

fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let digit = |at: usize| {
        let digit = char::from(*text.get(at)?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    let (mut decoded, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}

fn lower(text: &[u8]) -> String {
    String::from_utf8_lossy(text).to_lowercase()
}
