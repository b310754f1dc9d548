"""The head of a Thrift message, and where a frame has it.

Bytes in, values out: strict binary as `TBinaryProtocol` writes it, in every frame of `wire`. Heads
of calls are made here once a method and kept; `frames` puts what changes around them."""

from struct import Struct
from typing import Final, NamedTuple

from meltemi.proxyless.thrift import theader, ttheader
from meltemi.proxyless.thrift.wire import MAX_FRAME_BYTES, Wire, WireError

CALL: Final = 1
REPLY: Final = 2
EXCEPTION: Final = 3
ONEWAY: Final = 4

# First byte of a compact message.
COMPACT_ID: Final = 0x82

_VERSION: Final = 0x80010000
_U32 = Struct(">I")
_HEAD = Struct(">II")
_HEADER_MAGICS: Final = (ttheader.MAGIC, theader.MAGIC)


def head(name: bytes, kind: int) -> bytes:
    """A message up to its sequence id (which is not in it)."""
    return _HEAD.pack(_VERSION | kind, len(name)) + name


class Head(NamedTuple):
    """How a message starts."""

    name: bytes
    kind: int
    seqid: int
    body_at: int


def read_head(data: bytes, at: int) -> Head:
    """The head of the strict binary message at `at`. `WireError` where there is none."""
    try:
        word, size = _HEAD.unpack_from(data, at)
        name_end = at + 8 + size
        seqid = _U32.unpack_from(data, name_end)[0]
    except Exception:
        raise WireError("a message that ends inside its head", at) from None
    if word & 0xFFFF0000 != _VERSION:
        raise WireError("neither a binary Thrift message with its version nor a known header", at)
    return Head(data[at + 8 : name_end], word & 0xFF, seqid, name_end + 4)


def frame_bytes(start: bytes | bytearray) -> int | None:
    """Size of the frame whose first bytes are `start`, with its length. None: 4 bytes are needed.

    `WireError` where a message has no length in front (`Wire.UNFRAMED`), or a frame is too
    large."""
    if len(start) < 4:
        return None
    size: int = _U32.unpack_from(start)[0]
    if size > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {size:,} bytes, or a message without a frame", 0)
    return size + 4


class Place(NamedTuple):
    """Where a frame has its message."""

    wire: Wire
    # Where the header ends (bytes from the start of the frame).
    header_end: int
    message_at: int
    # The id of the header, where the wire has one.
    header_seqid: int


def place(data: bytes) -> Place:
    """Where the complete frame `data` has its message. `WireError` where it cannot be read."""
    magic = data[4:6]
    if magic not in _HEADER_MAGICS:
        return Place(Wire.FRAMED, 4, 4, 0)
    if len(data) < 14:
        raise WireError("a header that ends inside its first 14 bytes", len(data))
    end = 14 + (data[12] << 8 | data[13]) * 4
    if end >= len(data):
        raise WireError("a header longer than its frame", 12)
    seqid = _U32.unpack_from(data, 8)[0]
    if magic == theader.MAGIC:
        return Place(Wire.THEADER, end, end, seqid)
    # A binary message starts with 0x80, a compact one with 0x82: anything less is a length.
    if data[end] < 0x80:
        if len(data) < end + 4 or _U32.unpack_from(data, end)[0] != len(data) - end - 4:
            raise WireError("a payload with a length that is not its own", end)
        return Place(Wire.TTHEADER_FRAMED, end, end + 4, seqid)
    return Place(Wire.TTHEADER, end, end, seqid)
