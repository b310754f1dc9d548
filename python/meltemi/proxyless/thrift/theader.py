"""Apache's THeader: names and values in front of a Thrift message, in varints.

Bytes in, values out. Source: apache/thrift `doc/specs/HeaderFormat.md`, and what
`THeaderTransport` of Apache's Python library reads and writes. The crate `codec` reads the same
(`thrift/theader.rs`)."""

import zlib
from collections.abc import Iterable
from typing import Final

from meltemi.proxyless.thrift.wire import MAX_FRAME_BYTES, WireError

MAGIC: Final = b"\x0f\xff"
# Length, magic, flags, sequence id, size of the header in words: what stands before the header.
PRELUDE_BYTES: Final = 14
MAX_INFO_BYTES: Final = 0xFFFF * 4

BINARY: Final = 0
COMPACT: Final = 2
_ZLIB: Final = 1
_MAX_TRANSFORMS: Final = 16
_KEY_VALUE: Final = 1
_CUT: Final = "a header that ends inside a value"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    return _varint(len(data)) + data


def encode(texts: Iterable[tuple[str, str]], protocol_id: int = BINARY) -> bytes:
    """The header behind the prelude, padded. `WireError` where it has no room."""
    pairs = dict(texts)
    info = _varint(protocol_id) + b"\x00"
    if pairs:
        info += _varint(_KEY_VALUE) + _varint(len(pairs))
        info += b"".join(_text(name) + _text(value) for name, value in pairs.items())
    info += bytes(-len(info) % 4)
    if len(info) > MAX_INFO_BYTES:
        raise WireError(
            f"the metadata of a call has {len(info):,} bytes, and THeader has room for"
            f" {MAX_INFO_BYTES:,}"
        )
    return info


def decode(data: bytes, end: int) -> tuple[dict[str, str], int, int]:
    """Names and values of the frame `data`, whose payload starts at `end`; its protocol id; and
    how many times its payload is to be `decompressed`. `WireError` where it cannot be read."""
    protocol_id, at = _read_varint(data, PRELUDE_BYTES, end)
    if protocol_id not in (BINARY, COMPACT):
        raise WireError(f"THeader protocol {protocol_id}, neither binary nor compact", 14)
    transforms, at = _read_varint(data, at, end)
    if transforms > _MAX_TRANSFORMS:
        raise WireError(f"{transforms} transforms", at)
    for _ in range(transforms):
        transform, at = _read_varint(data, at, end)
        if transform != _ZLIB:
            raise WireError(f"transform {transform}, and only zlib ({_ZLIB}) can be undone", at)
    texts: dict[str, str] = {}
    while at < end:
        block, at = _read_varint(data, at, end)
        if block != _KEY_VALUE:  # padding, or a block of a later version: the payload is next
            break
        count, at = _read_varint(data, at, end)
        for _ in range(count):
            name, at = _read_text(data, at, end)
            texts[name], at = _read_text(data, at, end)
    return texts, protocol_id, transforms


def decompressed(payload: bytes) -> bytes:
    """A payload with one zlib transform undone; `WireError` where it is damaged."""
    undo = zlib.decompressobj()
    try:
        plain = undo.decompress(payload, MAX_FRAME_BYTES)
    except zlib.error as broken:
        raise WireError(f"a compressed payload that is damaged ({broken})") from None
    if undo.unconsumed_tail or not undo.eof:
        raise WireError("a compressed payload that is cut, or larger than a frame may be")
    return plain


def _read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > 0xFFFFFFFF:
                break
            return value, at
        shift += 7
        if shift > 28:
            raise WireError("a number of more than 32 bits", at)
    raise WireError(_CUT, at)


def _read_text(data: bytes, at: int, end: int) -> tuple[str, int]:
    size, at = _read_varint(data, at, end)
    if at + size > end:
        raise WireError(_CUT, at)
    return data[at : at + size].decode("utf-8", "surrogateescape"), at + size
