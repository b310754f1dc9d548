//! The routes of a configuration as bytes: where each stands, and which of them were there before.

use std::ops::Range;
use std::sync::Arc;

use meltemi_routing::CompiledRoute;
use prost::bytes::Bytes;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
use prost::{DecodeError, decode_length_delimiter};

use crate::field::decode;
use crate::fingerprint::ByBytes;
use crate::invalid::Invalid;
use crate::messages::envoy::config::route::v3 as envoy;

/// The routes of a virtual host as they came.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    host: Bytes,
    /// Where each route stands in it.
    pub(crate) ranges: Vec<Range<usize>>,
}

impl Raw {
    /// Finds the routes of a serialized virtual host without decoding them; the other fields, decoded.
    pub(crate) fn new(host: Bytes) -> Result<(Self, envoy::VirtualHost), Invalid> {
        let mut ranges = Vec::new();
        let mut others = Vec::new();
        let found = split(&host, &mut ranges, &mut others);
        found.map_err(|error| Invalid::undecodable(VIRTUAL_HOST, &error))?;
        Ok((Self { host, ranges }, decode(VIRTUAL_HOST, &*others)?))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.ranges.iter().map(|range| &self.host[range.clone()])
    }
}

const VIRTUAL_HOST: &str = "envoy.config.route.v3.VirtualHost";

/// The number of `envoy.config.route.v3.VirtualHost.routes`.
const ROUTES: u32 = 3;

/// Notes where the routes of a serialized virtual host stand, and copies its other fields.
fn split(
    host: &[u8],
    ranges: &mut Vec<Range<usize>>,
    others: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut rest = host;
    while !rest.is_empty() {
        let start = host.len() - rest.len();
        let (number, kind) = decode_key(&mut rest)?;
        if (number, kind) == (ROUTES, WireType::LengthDelimited) {
            let length = decode_length_delimiter(&mut rest)?;
            let begin = host.len() - rest.len();
            // What is too short is found by the decoder, which says so.
            let Some((_, behind)) = rest.split_at_checked(length) else {
                others.extend_from_slice(&host[start..]);
                return Ok(());
            };
            rest = behind;
            ranges.push(begin..begin + length);
        } else {
            skip_field(kind, number, &mut rest, DecodeContext::default())?;
            others.extend_from_slice(&host[start..host.len() - rest.len()]);
        }
    }
    Ok(())
}

/// Finds routes of the version before: most stand where they stood, counted from the front or from
/// the back, and the few between are looked up by their bytes.
pub(crate) struct Known<'b> {
    before: &'b [Arc<CompiledRoute>],
    /// Where the ones end that are the same from the front, and where those from the back begin.
    front: usize,
    back: usize,
    /// What to add to the place of one at the back.
    shift: isize,
    between: ByBytes<'b, usize>,
}

impl<'b> Known<'b> {
    /// `before` are the routes that `old` was compiled to.
    pub(crate) fn new(before: &'b [Arc<CompiledRoute>], old: &'b Raw, new: &Raw) -> Self {
        let (count, old_count) = (new.ranges.len(), old.ranges.len());
        let same = |(a, b): &(&[u8], &[u8])| a == b;
        let front = new.iter().zip(old.iter()).take_while(same).count();
        let rest = new.iter().rev().zip(old.iter().rev());
        let back = rest.take(count.min(old_count) - front);
        let back = back.take_while(same).count();
        let mut between = ByBytes::with_capacity(old_count - back - front);
        for (place, bytes) in old.iter().enumerate().take(old_count - back).skip(front) {
            between.insert(bytes, place);
        }
        Self {
            before,
            front,
            back: count - back,
            shift: old_count as isize - count as isize,
            between,
        }
    }

    /// The route of the same bytes as that at `place`.
    pub(crate) fn route(&self, place: usize, bytes: &[u8]) -> Option<&'b Arc<CompiledRoute>> {
        let old = if place < self.front {
            place
        } else if place >= self.back {
            place.checked_add_signed(self.shift)?
        } else {
            *self.between.get(bytes)?
        };
        self.before.get(old)
    }
}
