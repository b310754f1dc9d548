"""CloudWeGo's TTHeader: names and values in front of a Thrift message.

Bytes in, values out. Source: cloudwego/gopkg `protocol/ttheader`, cloudwego/kitex
`pkg/remote/codec/header_codec.go` and `pkg/remote/transmeta/metakey.go`. The crate `codec` reads
the same (`thrift/ttheader.rs`). Blocks are written in Kitex's order: token, text keys, integer
keys."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from typing import Final

from meltemi.proxyless.thrift.wire import WireError

MAGIC: Final = b"\x10\x00"
# Length, magic, flags, sequence id, size of the header in words: what stands before the header.
PRELUDE_BYTES: Final = 14
MAX_INFO_BYTES: Final = 0xFFFF * 4
MAX_TEXT_BYTES: Final = 0xFFFF

# Integer keys of Kitex.
TRANSPORT_TYPE: Final = 1
FROM_SERVICE: Final = 3
TO_SERVICE: Final = 6
TO_METHOD: Final = 9
RPC_TIMEOUT_MS: Final = 12
FROM_METHOD: Final = 20
MSG_TYPE: Final = 22

# Text keys of Kitex.
IDL_SERVICE: Final = "isn"
# A server that is about to close says so in its replies.
READY_TO_RESET: Final = "crrst"
BIZ_STATUS: Final = "biz-status"
BIZ_MESSAGE: Final = "biz-message"
BIZ_EXTRA: Final = "biz-extra"
TOKEN: Final = "RPC_TRANSIT_gdpr-token"

_PADDING: Final = 0x00
_TEXTS: Final = 0x01
_NUMBERS: Final = 0x10
_TOKEN: Final = 0x11
# Protocol ids whose payload is a Thrift message; the message says itself whether it is compact.
_THRIFT: Final = (0x00, 0x02, 0x03)
_U16 = Struct(">H")
_STREAMING: Final = 0x0002
_CUT: Final = "a header that ends inside a value"


@dataclass(frozen=True, slots=True)
class Info:
    """What a header says. Where a name comes twice, the later value holds, as in Kitex."""

    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[int, str] = field(default_factory=dict)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    if len(data) > MAX_TEXT_BYTES:
        raise WireError(
            f"{value[:40]!r}… has {len(data):,} bytes, and TTHeader has room for {MAX_TEXT_BYTES:,}"
        )
    return _U16.pack(len(data)) + data


@lru_cache(256)
def _numbers(pairs: tuple[tuple[int, str], ...]) -> bytes:
    """The block of integer keys: the same in every call of a method."""
    if not pairs:
        return b""
    texts = b"".join(_U16.pack(key) + _text(value) for key, value in pairs)
    return b"\x10" + _U16.pack(len(pairs)) + texts


def encode(
    texts: Iterable[tuple[str, str]], numbers: Iterable[tuple[int, str]] = (), protocol_id: int = 0
) -> bytes:
    """The header behind the prelude, padded. `WireError` where it has no room for a value."""
    pairs = dict(texts)
    token = pairs.pop(TOKEN, None)
    info = bytearray((protocol_id, 0))
    if token is not None:
        info += b"\x11" + _text(token)
    if pairs:
        info += b"\x01" + _U16.pack(len(pairs))
        for name, value in pairs.items():
            info += _text(name)
            info += _text(value)
    info += _numbers(tuple(numbers))
    info += bytes(-len(info) % 4)
    if len(info) > MAX_INFO_BYTES:
        raise WireError(
            f"the metadata of a call has {len(info):,} bytes, and TTHeader has room for"
            f" {MAX_INFO_BYTES:,}"
        )
    return bytes(info)


def decode(data: bytes, end: int) -> Info:
    """What the header of the frame `data` says; `end` is where its payload starts.

    `WireError` where the header is cut, streams, or has a block that TTHeader does not have."""
    if data[7] & _STREAMING:
        raise WireError("a frame of TTHeader streaming, which carries no Thrift message", 6)
    if end < PRELUDE_BYTES + 2:
        raise WireError("a TTHeader without a protocol id", PRELUDE_BYTES)
    if data[PRELUDE_BYTES] not in _THRIFT:
        raise WireError(f"TTHeader protocol {data[PRELUDE_BYTES]}, which is not Thrift", 14)
    if data[PRELUDE_BYTES + 1]:
        raise WireError("a payload behind a transform, which TTHeader's writers never use", 15)
    info = Info()
    at = PRELUDE_BYTES + 2
    while at < end:
        block = data[at]
        at += 1
        if block == _PADDING:
            continue
        if block == _TOKEN:
            info.texts[TOKEN], at = _read_text(data, at, end)
        elif block in (_TEXTS, _NUMBERS):
            at = _read_pairs(data, at, end, block, info)
        else:
            raise WireError(f"info block {block:#04x}, which TTHeader does not have", at - 1)
    return info


def _read_pairs(data: bytes, at: int, end: int, block: int, info: Info) -> int:
    count = _read_u16(data, at, end)
    at += 2
    texts = info.texts
    for _ in range(count):
        if block == _TEXTS:
            # `_read_text` twice: half of the time that it takes to read a call.
            if at + 2 > end:
                raise WireError(_CUT, at)
            name_end = at + 2 + (data[at] << 8 | data[at + 1])
            value_at = name_end + 2
            if value_at > end:
                raise WireError(_CUT, at)
            stop = value_at + (data[name_end] << 8 | data[name_end + 1])
            if stop > end:
                raise WireError(_CUT, name_end)
            name = data[at + 2 : name_end].decode("utf-8", "surrogateescape")
            texts[name] = data[value_at:stop].decode("utf-8", "surrogateescape")
            at = stop
        else:
            key = _read_u16(data, at, end)
            info.numbers[key], at = _read_text(data, at + 2, end)
    return at


def _read_u16(data: bytes, at: int, end: int) -> int:
    if at + 2 > end:
        raise WireError(_CUT, at)
    return data[at] << 8 | data[at + 1]


def _read_text(data: bytes, at: int, end: int) -> tuple[str, int]:
    stop = at + 2 + _read_u16(data, at, end)
    if stop > end:
        raise WireError(_CUT, at)
    return data[at + 2 : stop].decode("utf-8", "surrogateescape"), stop
