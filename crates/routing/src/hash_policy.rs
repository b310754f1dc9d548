//! What of a request decides who serves it, where its cluster balances by hash.

use std::io::{Cursor, Write};
use std::net::IpAddr;
use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

use crate::Attributes;

/// One part of the hash of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// Where there is a hash after this part, the ones behind it do not count.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashSource {
    /// The value of this attribute; its name is lower case.
    Attribute(Arc<str>),
    /// The address of the caller, without its port.
    SourceIp,
}

/// Longer than any IP address in words.
const ADDRESS_LEN: usize = 48;

impl HashPolicy {
    /// The hash of a request, the same as Envoy's: xxHash64 of each part, earlier ones rotated by one
    /// bit. None when the request has none of the parts. Allocates nothing.
    pub fn hash(all: &[Self], attributes: &impl Attributes, caller: Option<IpAddr>) -> Option<u64> {
        let mut hash: Option<u64> = None;
        for policy in all {
            let part = match &policy.source {
                HashSource::Attribute(name) => attributes.get(name).map(|value| xxh64(value, 0)),
                HashSource::SourceIp => caller.map(hash_of_address),
            };
            if let Some(part) = part {
                hash = Some(hash.map_or(0, |earlier| earlier.rotate_left(1)) ^ part);
            }
            if policy.terminal && hash.is_some() {
                break;
            }
        }
        hash
    }
}

/// The hash of a value: xxHash64 with seed 0.
#[must_use]
pub fn hash_of(value: &[u8]) -> u64 {
    xxh64(value, 0)
}

/// The hash of a caller by its address, without its port.
#[must_use]
pub fn hash_of_address(address: IpAddr) -> u64 {
    let mut words = Cursor::new([0; ADDRESS_LEN]);
    let _ = write!(words, "{}", address.to_canonical());
    let len = words.position() as usize;
    xxh64(&words.get_ref()[..len], 0)
}
