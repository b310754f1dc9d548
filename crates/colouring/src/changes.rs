//! What becomes of the headers of a request.

/// What colouring changes. Headers that it does not name stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// By place of the header: its new value, or None where it goes.
    pub values: Vec<(usize, Option<Vec<u8>>)>,
    /// The value of a further `baggage` header; empty: there is none.
    pub added: Vec<u8>,
}

/// Of all `baggage` headers together, joined by commas: what every reader lets through.
/// Source: <https://www.w3.org/TR/baggage/#limits>
const MAX_MEMBERS: usize = 180;
const MAX_BYTES: usize = 8192;

/// Those of the marks that fit beside what is there, joined by commas.
pub(crate) fn fitting(marks: &[&[u8]], baggage: &[&[u8]]) -> Vec<u8> {
    let mut fitting = Vec::new();
    for mark in marks {
        let mut more = fitting.clone();
        if !more.is_empty() {
            more.push(b',');
        }
        more.extend_from_slice(mark);
        let whole = match baggage {
            [] => more.clone(),
            there => joined(&there.join(&b","[..]), &more),
        };
        if whole.len() <= MAX_BYTES && count(&whole) <= MAX_MEMBERS {
            fitting = more;
        }
    }
    fitting
}

fn count(list: &[u8]) -> usize {
    let there = |member: &&[u8]| member.iter().any(|byte| !matches!(byte, b' ' | b'\t'));
    crate::carriers::members(list).filter(there).count()
}

/// A list with a member behind it.
pub(crate) fn joined(list: &[u8], mark: &[u8]) -> Vec<u8> {
    let last = list.iter().rev().find(|byte| !matches!(byte, b' ' | b'\t'));
    let comma: &[u8] = if matches!(last, None | Some(b',')) {
        b""
    } else {
        b","
    };
    [list, comma, mark].concat()
}
