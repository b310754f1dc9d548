//! Spare buffers of a worker: a connection owns one only while bytes wait in it.

/// Buffers kept for later; more are given back to the allocator.
const SPARE: usize = 512;

/// A buffer that grew beyond this is not kept, so that one burst does not stay in memory.
const SPARE_BYTES: usize = 64 << 10;

/// What a fresh buffer has room for: a few small frames.
const FRESH_BYTES: usize = 2 << 10;

#[derive(Default)]
pub(crate) struct Buffers {
    spare: Vec<Vec<u8>>,
}

impl Buffers {
    /// Makes sure that `buffer` has memory of its own before it is appended to.
    #[inline]
    pub(crate) fn ready(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() == 0 {
            *buffer = self
                .spare
                .pop()
                .unwrap_or_else(|| Vec::with_capacity(FRESH_BYTES));
        }
    }

    /// Takes back the memory of a buffer that is empty now.
    #[inline]
    pub(crate) fn give(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() == 0 {
            return;
        }
        let mut buffer = std::mem::take(buffer);
        if self.spare.len() < SPARE && buffer.capacity() <= SPARE_BYTES {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}
