//! A number for bytes: what tells versions of a resource apart, and finds the same route in two of them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Tells the bytes of two versions apart without keeping them. Not a defence against a server that
/// forges a collision: it could as well send the resource that it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(usize, u64);

impl Fingerprint {
    /// Four sums side by side, so that a processor multiplies four words at a time: large route
    /// configurations are compared as fast as they are read.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut lanes = SEEDS;
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            mix(&mut lanes, block);
        }
        let mut last = [0; 32];
        last[..rest.len()].copy_from_slice(rest);
        mix(&mut lanes, &last);
        let sum = lanes.iter().fold(0, |sum, lane| fold(sum ^ lane, SEEDS[0]));
        Self(bytes.len(), sum)
    }
}

/// Digits of pi: odd numbers with bits all over.
const SEEDS: [u64; 4] = [
    0x2436_6c3f_6a88_85a3,
    0x1319_8a2e_0370_7345,
    0xa409_3822_299f_31d1,
    0x082e_fa98_ec4e_6c89,
];

fn mix(lanes: &mut [u64; 4], block: &[u8; 32]) {
    let (words, _) = block.as_chunks::<8>();
    for ((lane, word), seed) in lanes.iter_mut().zip(words).zip(SEEDS) {
        *lane = fold(*lane ^ u64::from_le_bytes(*word), seed).wrapping_add(seed);
    }
}

/// Multiplies to 128 bits and folds, so that every bit reaches every other.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Values by bytes, which their fingerprint stands for.
#[derive(Debug)]
pub(crate) struct ByBytes<'b, V>(HashMap<Fingerprint, (&'b [u8], V), BuildHasherDefault<AsItIs>>);

impl<'b, V> ByBytes<'b, V> {
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(count, Default::default()))
    }

    /// The value of the same bytes.
    pub(crate) fn get(&self, bytes: &[u8]) -> Option<&V> {
        let (found, value) = self.0.get(&Fingerprint::of(bytes))?;
        (*found == bytes).then_some(value)
    }

    pub(crate) fn insert(&mut self, bytes: &'b [u8], value: V) {
        self.0.insert(Fingerprint::of(bytes), (bytes, value));
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.1);
    }
}

/// A fingerprint's bits are spread already.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = Fingerprint::of(bytes).1;
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
