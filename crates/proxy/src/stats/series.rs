//! Series of one worker: a number for each combination that was seen, found without comparing text.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::histogram::Histogram;
use super::labels::Labels;

/// What makes a series, as numbers of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SeriesKey {
    pub(crate) listener: u32,
    pub(crate) cluster: u32,
    /// The other side, as [`super::super::peers::Peers`] numbers it.
    pub(crate) peer: u32,
    pub(crate) outcome: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct RequestSeries {
    pub(crate) labels: Labels,
    pub(crate) duration: Histogram,
    pub(crate) request_bytes: Histogram,
    pub(crate) response_bytes: Histogram,
}

#[derive(Clone, Debug)]
pub(crate) struct TcpSeries {
    pub(crate) labels: Labels,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

pub(crate) struct SeriesSet<S> {
    index: HashMap<SeriesKey, u32, BuildHasherDefault<Mix>>,
    entries: Vec<S>,
    last: Option<(SeriesKey, u32)>,
}

impl<S> SeriesSet<S> {
    pub(crate) fn new() -> Self {
        Self {
            index: HashMap::default(),
            entries: Vec::new(),
            last: None,
        }
    }

    /// The series of `key`, made by `make` when it is seen for the first time.
    #[inline]
    pub(crate) fn entry(&mut self, key: SeriesKey, make: impl FnOnce() -> S) -> &mut S {
        let at = match self.last {
            Some((last, at)) if last == key => at,
            _ => {
                let entries = &mut self.entries;
                let at = *self.index.entry(key).or_insert_with(|| {
                    entries.push(make());
                    (entries.len() - 1) as u32
                });
                self.last = Some((key, at));
                at
            }
        };
        &mut self.entries[at as usize]
    }

    pub(crate) fn all(&self) -> &[S] {
        &self.entries
    }
}

/// Mixes a few integers; the keys are our own, so nobody can choose them to collide.
#[derive(Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}
