//! Where marks travel in an HTTP request, and how they are taken out of it.
//!
//! A mark is a member of baggage, so it may come in all that is read as baggage: `baggage` itself,
//! `ot-baggage-KEY` and `uberctx-KEY` of older tracers, and Kitex' metainfo (`rpc-transit-`,
//! `rpc-persist-`) with any of these. Names of headers are compared with `-` for `_`, since CGI and
//! WSGI fold the two. The key of a member is compared without case, without what is around it, and
//! after one percent-decoding: as the most lenient reader behind the edge may read it.

/// What a header that may carry marks is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Its value is a list of members.
    Members,
    /// Its value is that of the member with this key, as `folded` has it.
    Member(Vec<u8>),
}

const METAINFO: [&[u8]; 2] = [b"rpc-transit-", b"rpc-persist-"];
const OTHERS: [&[u8]; 2] = [b"ot-baggage-", b"uberctx-"];

/// What a header of this name carries; None: nothing of baggage.
pub(crate) fn carrier(name: &[u8]) -> Option<Carrier> {
    if !matches!(
        name.first()?,
        b'b' | b'B' | b'o' | b'O' | b'u' | b'U' | b'r' | b'R'
    ) {
        return None;
    }
    let name = folded(name);
    let mut rest = &name[..];
    if let Some(inside) = METAINFO
        .iter()
        .find_map(|prefix| rest.strip_prefix(*prefix))
    {
        rest = inside.strip_prefix(b"upstream-").unwrap_or(inside);
    }
    if rest == b"baggage" {
        return Some(Carrier::Members);
    }
    let key = OTHERS
        .iter()
        .find_map(|prefix| rest.strip_prefix(*prefix))?;
    (!key.is_empty()).then(|| Carrier::Member(folded(&plain_key(key))))
}

/// In lower case, with `-` for `_`.
pub(crate) fn folded(name: &[u8]) -> Vec<u8> {
    let fold = |byte: &u8| {
        if *byte == b'_' {
            b'-'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    name.iter().map(fold).collect()
}

/// A key as it is compared.
pub(crate) fn plain_key(text: &[u8]) -> Vec<u8> {
    let mut key = decoded(text, true);
    let visible = |byte: &u8| byte.is_ascii_graphic();
    let end = key.iter().rposition(visible).map_or(0, |last| last + 1);
    key.truncate(end);
    let start = key.iter().position(visible).unwrap_or(0);
    key.drain(..start);
    key.make_ascii_lowercase();
    key
}

/// Percent-decoded once; what is no encoding stays. `forms`: a plus is a blank.
pub(crate) fn decoded(text: &[u8], forms: bool) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut made = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                made.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) if forms => made.push(b' '),
            _ => made.push(byte),
        }
        at += 1;
    }
    made
}

pub(crate) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',')
}

/// The key of a member, whether or not it is well formed, as it is compared.
pub(crate) fn key_of(member: &[u8]) -> Vec<u8> {
    let end = member.iter().position(|byte| matches!(byte, b'=' | b';'));
    plain_key(&member[..end.unwrap_or(member.len())])
}

/// The list without the members whose key `goes`, all else as it was. Err: as it was; Ok(None):
/// nothing is left.
pub(crate) fn without(list: &[u8], goes: impl Fn(&[u8]) -> bool) -> Result<Option<Vec<u8>>, ()> {
    let kept: Vec<&[u8]> = members(list)
        .filter(|member| !goes(&key_of(member)))
        .collect();
    if kept.len() == members(list).count() {
        return Err(());
    }
    let left = kept.join(&b","[..]);
    let something = left.iter().any(|byte| !matches!(byte, b' ' | b'\t' | b','));
    Ok(something.then_some(left))
}

/// The decoded value of the last member of the lists with this key; None where it is empty too.
pub(crate) fn value_of<'a>(lists: impl Iterator<Item = &'a [u8]>, key: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    for member in lists.flat_map(members) {
        let mut parts = member.splitn(2, |byte| *byte == b'=');
        if parts.next().map(trimmed) == Some(key) {
            let value = parts.next().unwrap_or_default();
            let value = value.split(|byte| *byte == b';').next().unwrap_or_default();
            found = Some(trimmed(value));
        }
    }
    found
        .filter(|value| !value.is_empty())
        .map(|value| decoded(value, false))
}

/// Without blanks and tabs around it.
pub(crate) fn trimmed(text: &[u8]) -> &[u8] {
    let solid = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = text.iter().position(solid).unwrap_or(text.len());
    let end = text.iter().rposition(solid).map_or(start, |last| last + 1);
    &text[start..end]
}
