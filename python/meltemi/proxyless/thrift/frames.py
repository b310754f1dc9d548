"""Frames around messages: what stands before the arguments is made once and packed in one step.

A frame is a function of a sequence id and of encoded bytes. `calls` keeps one for as long as
metadata stay the same; a connection writes what it returns with one send."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from struct import Struct

from meltemi.proxyless.thrift import theader, ttheader
from meltemi.proxyless.thrift.wire import Wire

# (sequence id, encoded bytes) → the bytes of one message on the wire.
Frame = Callable[[int, bytes], bytes]
Texts = Iterable[tuple[str, str]]
Numbers = Iterable[tuple[int, str]]


def of_bodies(wire: Wire, head: bytes, texts: Texts = (), numbers: Numbers = ()) -> Frame:
    """The frame of messages that start with `head` (`message.head`): takes an encoded struct.

    `texts` and `numbers` are written where the wire has a place for them; `WireError` where they do
    not fit."""
    if wire is Wire.UNFRAMED:
        pack = Struct(f">{len(head)}sI").pack
        return lambda seqid, body: pack(head, seqid) + body
    if wire is Wire.FRAMED:
        fixed = len(head) + 4
        pack = Struct(f">I{len(head)}sI").pack
        return lambda seqid, body: pack(fixed + len(body), head, seqid) + body
    if wire is Wire.TTHEADER_FRAMED:
        whole = of_messages(wire, texts, numbers)
        pack = Struct(f">{len(head)}sI").pack
        return lambda seqid, body: whole(seqid, pack(head, seqid) + body)
    marks, info = _header(wire, texts, numbers, 0, 0)
    rest = info + head
    fixed = len(marks) + 4 + len(rest) + 4
    pack = _packer(f">I4sI{len(rest)}sI")
    return lambda seqid, body: pack(fixed + len(body), marks, seqid, rest, seqid) + body


def of_messages(
    wire: Wire,
    texts: Texts = (),
    numbers: Numbers = (),
    *,
    protocol_id: int = 0,
    flags: int = 0,
) -> Frame:
    """The frame around whole messages: takes the id of the header, and a message with its head."""
    if wire is Wire.UNFRAMED:
        return lambda _seqid, message: message
    if wire is Wire.FRAMED:
        return lambda _seqid, message: _length(message) + message
    marks, info = _header(wire, texts, numbers, protocol_id, flags)
    fixed = len(marks) + 4 + len(info)
    pack = _packer(f">I4sI{len(info)}s")

    def frame(seqid: int, message: bytes) -> bytes:
        return pack(fixed + len(message), marks, seqid, info) + message

    if wire is Wire.TTHEADER_FRAMED:
        return lambda seqid, message: frame(seqid, _length(message) + message)
    return frame


@lru_cache(256)
def _packer(form: str) -> Callable[..., bytes]:
    """Headers have few sizes: each form is compiled once."""
    return Struct(form).pack


def _header(
    wire: Wire, texts: Texts, numbers: Numbers, protocol_id: int, flags: int
) -> tuple[bytes, bytes]:
    """What stands before the id of the header, and what stands behind it."""
    if wire is Wire.THEADER:
        magic, info = theader.MAGIC, theader.encode(texts, protocol_id)
    else:
        magic, info = ttheader.MAGIC, ttheader.encode(texts, numbers, protocol_id)
    return magic + flags.to_bytes(2, "big"), (len(info) // 4).to_bytes(2, "big") + info


def _length(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big")
