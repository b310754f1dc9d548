//! Numbers as Thrift writes them: big-endian, and ULEB128 varints.

use crate::DecodeError;

/// Bytes of the longest varint of 32 bits.
pub(super) const VARINT32_BYTES: usize = 5;
/// Bytes of the longest varint of 64 bits; Apache Thrift's readers refuse longer ones.
pub(super) const VARINT64_BYTES: usize = 10;

pub(super) const fn invalid(at: usize, reason: &'static str) -> DecodeError {
    DecodeError::Invalid { at, reason }
}

/// The big-endian u16 at `at`, if it is there.
pub(super) fn u16_at(buf: &[u8], at: usize) -> Option<u16> {
    let bytes = buf.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

/// The big-endian u32 at `at`, if it is there.
pub(super) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    let bytes = buf.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// Reads the varint of at most 32 bits at `at`: its value, and where it ends. None: more bytes are needed.
///
/// More than 32 bits are an error: readers differ in what they make of them (Apache's C++ cuts
/// them off, its Python does not), and a length that two readers read differently is a hole.
pub(super) fn varint32(buf: &[u8], at: usize) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0u64;
    for (i, byte) in buf.iter().skip(at).take(VARINT32_BYTES).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let value =
                u32::try_from(value).map_err(|_| invalid(at, "a number of more than 32 bits"))?;
            return Ok(Some((value, at + i + 1)));
        }
    }
    if buf.len() >= at + VARINT32_BYTES {
        return Err(invalid(at, "a number of more than 32 bits"));
    }
    Ok(None)
}

/// Where the varint of at most 64 bits at `at` ends. None: more bytes are needed.
pub(super) fn varint64_end(buf: &[u8], at: usize) -> Result<Option<usize>, DecodeError> {
    for (i, byte) in buf.iter().skip(at).take(VARINT64_BYTES).enumerate() {
        if byte & 0x80 == 0 {
            return Ok(Some(at + i + 1));
        }
    }
    if buf.len() >= at + VARINT64_BYTES {
        return Err(invalid(at, "a number of more than 64 bits"));
    }
    Ok(None)
}

/// Appends `value` as a varint.
pub(super) fn put_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Overwrites the four bytes at `at` with `value`, big-endian.
pub(super) fn set_u32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_that_was_put_is_read_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 0x7fff_ffff, u32::MAX] {
            let mut out = vec![0xff];
            put_varint(value, &mut out);
            assert_eq!(varint32(&out, 1), Ok(Some((value, out.len()))));
            assert_eq!(varint64_end(&out, 1), Ok(Some(out.len())));
            for cut in 1..out.len() {
                assert_eq!(varint32(&out[..cut], 1), Ok(None));
            }
        }
    }

    #[test]
    fn a_varint_of_more_bits_is_refused_as_soon_as_it_is_seen() {
        assert!(varint32(&[0xff, 0xff, 0xff, 0xff, 0x1f], 0).is_err());
        assert!(varint32(&[0x80; 5], 0).is_err());
        assert_eq!(varint32(&[0x80; 4], 0), Ok(None));
        assert!(varint64_end(&[0x80; 10], 0).is_err());
        assert_eq!(varint64_end(&[0x80; 9], 0), Ok(None));
    }
}
