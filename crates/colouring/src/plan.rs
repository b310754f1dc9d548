//! The groups, compiled, and a request through them.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::carriers::{Carrier, carrier, folded, key_of, members, plain_key, without};
use crate::changes::{Changes, fitting, joined};
use crate::entries::{Asked, Chance, Condition, Entry, ShareBy, within};
use crate::network::Network;

/// A lane that is open.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The value of its mark.
    pub name: String,
    /// Each lets in requests of its own.
    pub entries: Vec<Entry>,
}

/// Lanes with one key.
#[derive(Clone, Debug)]
pub struct Group {
    /// Key of its marks.
    pub key: String,
    /// Callers who keep their marks.
    pub trusted: Vec<Network>,
    /// The first one that lets a request in gives its mark.
    pub lanes: Vec<Lane>,
}

/// A request at the edge.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// As it was sent.
    pub method: &'a [u8],
    /// Without the query, not decoded.
    pub path: &'a [u8],
    /// What is behind the first `?`, not decoded.
    pub query: &'a [u8],
    /// Of the connection's other end.
    pub source: Option<IpAddr>,
    /// Any number, another one for each request: what is decided by chance follows from it.
    pub chance: u64,
}

/// All groups, ready to be asked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// None: nothing is known, so that any baggage may be a mark.
    groups: Option<Vec<Compiled>>,
    /// Names of headers that entries look at, in lower case.
    read: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Compiled {
    /// As it is compared.
    key: Vec<u8>,
    trusted: Vec<Network>,
    lanes: Vec<(Vec<u8>, Vec<Entry>)>,
}

impl Plan {
    /// The groups in the order in which they give marks. None: nothing is known of them, and all
    /// baggage is taken away.
    #[must_use]
    pub fn new(groups: Option<Vec<Group>>) -> Self {
        let mut read: Vec<Vec<u8>> = Vec::new();
        for group in groups.iter().flatten() {
            for entry in group.lanes.iter().flat_map(|lane| &lane.entries) {
                read.extend(names(entry));
            }
        }
        read.sort();
        read.dedup();
        let groups = groups.map(|groups| groups.into_iter().map(Compiled::new).collect());
        Self { groups, read }
    }

    /// What colouring does to the headers of a request; None: nothing.
    #[must_use]
    pub fn changes(&self, headers: &[(&[u8], &[u8])], request: &Request<'_>) -> Option<Changes> {
        let mut changes = Changes::default();
        let mut left = Vec::new();
        let mut own: Vec<Vec<u8>> = Vec::new();
        let mut last = None;
        for (place, &(name, value)) in headers.iter().enumerate() {
            let kind = carrier(name);
            let is_baggage = name.eq_ignore_ascii_case(b"baggage");
            let now = match &kind {
                Some(kind) => self.stripped(kind, value, request, &mut own),
                None => Kept::Same,
            };
            let now = match now {
                Kept::Same => Cow::Borrowed(value),
                Kept::Less(less) => {
                    changes.values.push((place, Some(less.clone())));
                    Cow::Owned(less)
                }
                Kept::Nothing => {
                    changes.values.push((place, None));
                    continue;
                }
            };
            if is_baggage
                || self
                    .read
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(name))
            {
                last = if is_baggage { Some(place) } else { last };
                left.push((name, now));
            }
        }
        self.colour(&left, last, request, &own, &mut changes);
        (!changes.values.is_empty() || !changes.added.is_empty()).then_some(changes)
    }

    fn stripped(
        &self,
        kind: &Carrier,
        value: &[u8],
        request: &Request<'_>,
        own: &mut Vec<Vec<u8>>,
    ) -> Kept {
        let Some(groups) = &self.groups else {
            return Kept::Nothing;
        };
        let goes = |group: &Compiled| {
            !request
                .source
                .is_some_and(|source| within(&group.trusted, source))
        };
        match kind {
            Carrier::Member(key) => {
                let mut named = groups.iter().filter(|group| folded(&group.key) == *key);
                if named.clone().any(goes) {
                    return Kept::Nothing;
                }
                own.extend(named.by_ref().map(|group| group.key.clone()));
                Kept::Same
            }
            Carrier::Members => {
                let stranger =
                    |key: &[u8]| groups.iter().any(|group| group.key == key && goes(group));
                let less = without(value, stranger);
                let kept = match &less {
                    Err(()) => value,
                    Ok(left) => left.as_deref().unwrap_or_default(),
                };
                let keys = members(kept).map(key_of);
                own.extend(keys.filter(|key| groups.iter().any(|group| group.key == *key)));
                match less {
                    Err(()) => Kept::Same,
                    Ok(Some(less)) => Kept::Less(less),
                    Ok(None) => Kept::Nothing,
                }
            }
        }
    }

    fn colour(
        &self,
        left: &[(&[u8], Cow<'_, [u8]>)],
        last: Option<usize>,
        request: &Request<'_>,
        own: &[Vec<u8>],
        changes: &mut Changes,
    ) {
        let mut asked = Asked {
            method: request.method,
            path: request.path,
            query: request.query,
            source: request.source,
            headers: left,
            chance: Chance(request.chance),
        };
        let marks = self.marks(&mut asked, own);
        if marks.is_empty() {
            return;
        }
        let baggage = left
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"baggage"));
        let baggage: Vec<&[u8]> = baggage.map(|(_, value)| &**value).collect();
        let given = fitting(&marks, &baggage);
        match (baggage.last(), last) {
            (Some(list), Some(place)) if !given.is_empty() => {
                let value = Some(joined(list, &given));
                changes.values.retain(|(changed, _)| *changed != place);
                changes.values.push((place, value));
            }
            _ => changes.added = given,
        }
    }

    /// One a key, none of a key that the request has its own of.
    fn marks<'a>(&'a self, asked: &mut Asked<'_>, own: &[Vec<u8>]) -> Vec<&'a [u8]> {
        let mut taken: Vec<&[u8]> = Vec::new();
        let mut marks: Vec<&[u8]> = Vec::new();
        for group in self.groups.iter().flatten() {
            if own.contains(&group.key) || taken.contains(&&group.key[..]) {
                continue;
            }
            let mut lets_in = |(_, entries): &&(Vec<u8>, Vec<Entry>)| {
                entries.iter().any(|entry| entry.holds(asked))
            };
            if let Some((mark, _)) = group.lanes.iter().find(&mut lets_in) {
                marks.push(mark);
                taken.push(&group.key);
            }
        }
        marks
    }
}

/// What is left of a header.
enum Kept {
    Same,
    Less(Vec<u8>),
    Nothing,
}

impl Compiled {
    fn new(group: Group) -> Self {
        let mark = |lane: Lane| {
            (
                format!("{}={}", group.key, lane.name).into_bytes(),
                lane.entries,
            )
        };
        Self {
            key: plain_key(group.key.as_bytes()),
            trusted: group.trusted,
            lanes: group.lanes.into_iter().map(mark).collect(),
        }
    }
}

/// The headers that an entry looks at.
fn names(entry: &Entry) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for condition in &entry.conditions {
        match condition {
            Condition::Header(name, _) => found.push(name.clone()),
            Condition::Cookie(..) => found.push(b"cookie".to_vec()),
            _ => {}
        }
    }
    match entry.share.as_ref().map(|share| &share.by) {
        Some(ShareBy::Header(name)) => found.push(name.clone()),
        Some(ShareBy::Cookie(_)) => found.push(b"cookie".to_vec()),
        _ => {}
    }
    found
}
