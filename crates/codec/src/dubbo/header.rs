//! The 16 bytes that every message starts with, all numbers big-endian.

use crate::{DecodeError, Format, Limits};

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 16;
/// The first two bytes.
pub(super) const MAGIC: [u8; 2] = [0xda, 0xbb];
/// Where the flags stand.
pub(super) const FLAGS_AT: usize = 2;
/// Where the id stands, 8 bytes.
pub(super) const ID_AT: usize = 4;
/// Where the length of the body stands, 4 bytes.
pub(super) const LENGTH_AT: usize = 12;

/// A request, else a response.
pub(super) const REQUEST: u8 = 0x80;
/// An answer is wanted.
pub(super) const TWO_WAY: u8 = 0x40;
/// Not for a service: a heartbeat, or a notice about the connection.
pub(super) const EVENT: u8 = 0x20;
/// The bits of the flags that number the serialization.
const SERIALIZATION: u8 = 0x1f;
/// The serialization that is read.
pub(super) const HESSIAN2: u8 = 2;
/// The status of a reply that holds a result, or an exception of the service's own.
pub(super) const OK: u8 = 20;

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) flags: u8,
    pub(super) status: u8,
    pub(super) id: u64,
    /// Bytes of the whole frame.
    pub(super) len: usize,
}

impl Header {
    pub(super) const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) const fn serialization(&self) -> u8 {
        self.flags & SERIALIZATION
    }

    /// The format that stands for the serialization.
    pub(super) const fn format(&self) -> Format {
        Format(self.serialization() as u16 + 1)
    }
}

/// The serialization that a format stands for.
pub(super) const fn serialization(format: Format) -> Option<u8> {
    match format.0 {
        1..=32 => Some((format.0 - 1) as u8),
        _ => None,
    }
}

/// What Apache Dubbo calls the serializations, by their numbers (its `Constants`, and the names of its
/// extensions); a number where it has none.
const NAMES: [&str; 32] = [
    "0",
    "1",
    "hessian2",
    "java",
    "compactedjava",
    "5",
    "fastjson",
    "nativejava",
    "kryo",
    "fst",
    "native-hessian",
    "avro",
    "protostuff",
    "13",
    "14",
    "15",
    "gson",
    "17",
    "18",
    "19",
    "20",
    "protobuf-json",
    "protobuf",
    "fastjson2",
    "24",
    "kryo2",
    "26",
    "27",
    "28",
    "29",
    "30",
    "msgpack",
];

/// The name of the serialization that a format stands for, where it is not the one that is read.
pub(super) fn other_serialization(format: Format) -> Option<&'static str> {
    let number = serialization(format).filter(|number| *number != HESSIAN2)?;
    NAMES.get(usize::from(number)).copied()
}

/// Reads the header at `buf[0]`. None: more bytes are needed. What is wrong is said as soon as it is seen.
pub(super) fn read(buf: &[u8], limits: &Limits) -> Result<Option<Header>, DecodeError> {
    if buf.iter().zip(&MAGIC).any(|(byte, magic)| byte != magic) {
        let at = usize::from(buf[0] == MAGIC[0]);
        let reason = "no Dubbo message starts like this";
        return Err(DecodeError::Invalid { at, reason });
    }
    let Some(header) = buf.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [
        _,
        _,
        flags,
        status,
        i0,
        i1,
        i2,
        i3,
        i4,
        i5,
        i6,
        i7,
        length @ ..,
    ] = *header;
    let Ok(body) = usize::try_from(i32::from_be_bytes(length)) else {
        let reason = "a body of a negative length";
        return Err(DecodeError::Invalid {
            at: LENGTH_AT,
            reason,
        });
    };
    let len = HEADER_BYTES + body;
    if len > limits.max_frame_bytes {
        return Err(DecodeError::TooLarge {
            bytes: len,
            limit: limits.max_frame_bytes,
        });
    }
    Ok(Some(Header {
        flags,
        status,
        id: u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
        len,
    }))
}

/// Appends a header; the length of its body is set by [`set_length`].
pub(super) fn put(flags: u8, status: u8, id: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[flags, status]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
}

/// Writes into the header at `base` that its body goes to the end of `out`.
pub(super) fn set_length(out: &mut [u8], base: usize) {
    let length = (out.len() - base - HEADER_BYTES) as u32;
    out[base + LENGTH_AT..base + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
}
