"""One call as a server got it, and the frame that its answer goes into: the caller's own.

Bytes in, bytes out; `server` and `aio_server` read and write them. What a handler adds to its
answer beside the result is collected here."""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from meltemi.proxyless.thrift import frames, message, theader, ttheader
from meltemi.proxyless.thrift.errors import BizStatusError
from meltemi.proxyless.thrift.wire import Wire, WireError

# What the handler that runs now adds to its answer.
ANSWERING: Final[ContextVar[dict[str, str] | None]] = ContextVar(
    "meltemi_thrift_answering", default=None
)


def answer_with(name: str, value: str) -> None:
    """Says `name` = `value` beside the result of the method that is being served (Kitex: backward).

    It reaches callers that speak TTHeader or THeader, and ends there. RuntimeError outside of a
    handler of a server that was wrapped."""
    answering = ANSWERING.get()
    if answering is None:
        raise RuntimeError("answer_with() is for handlers of a server that mesh_server() wrapped")
    answering[name] = value


@dataclass(slots=True)
class Request:
    """A call and how it was written."""

    wire: Wire
    payload: bytes
    header_seqid: int = 0
    protocol_id: int = 0
    flags: int = 0
    # What came beside the arguments, by its own names.
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_compact(self) -> bool:
        """Whether the message is written in the compact protocol."""
        return self.payload[0] == message.COMPACT_ID

    @property
    def method(self) -> str | None:
        """The method's name without its service's; None for a compact message, which is not
        read."""
        if self.is_compact:
            return None
        return method_of(message.read_head(self.payload, 0).name.decode(errors="replace"))

    def framed(self, reply: bytes, added: Mapping[str, str]) -> bytes:
        """`reply` (a whole message) in the caller's frame, with what the handler added."""
        numbers = [(ttheader.MSG_TYPE, str(_kind(reply)))]
        make = frames.of_messages(
            self.wire,
            added.items(),
            numbers,
            protocol_id=self.protocol_id,
            flags=self.flags if self.wire is Wire.THEADER else 0,
        )
        return make(self.header_seqid, reply)

    @property
    def carries_business_errors(self) -> bool:
        """Whether the caller reads a status beside the reply."""
        return self.wire in (Wire.TTHEADER, Wire.TTHEADER_FRAMED) and not self.is_compact

    def business_error(self, error: BizStatusError, added: Mapping[str, str]) -> bytes:
        """The answer that has a business status: an empty result, and the status in the header."""
        head = message.read_head(self.payload, 0)
        texts = {**added, ttheader.BIZ_STATUS: str(error.status)}
        if error.message:
            texts[ttheader.BIZ_MESSAGE] = error.message
        if error.extra:
            texts[ttheader.BIZ_EXTRA] = json.dumps(error.extra, ensure_ascii=False)
        reply = message.head(head.name, message.REPLY) + head.seqid.to_bytes(4, "big") + b"\0"
        return self.framed(reply, texts)


def _kind(reply: bytes) -> int:
    """The type of a message: in the compact protocol it shares a byte with the version."""
    if reply[0] == message.COMPACT_ID:
        return reply[1] >> 5
    return reply[3]


def method_of(name: str) -> str:
    """The method in the name of a message, which may have its service in front."""
    return name.rpartition(":")[2]


def parse(data: bytes) -> Request:
    """The call in a complete frame. `WireError` where it is none."""
    place = message.place(data)
    payload = data[place.message_at :]
    if place.wire is Wire.FRAMED:
        request = Request(Wire.FRAMED, payload)
    else:
        flags = int.from_bytes(data[6:8], "big")
        if place.wire is Wire.THEADER:
            texts, protocol_id, compressed = theader.decode(data, place.header_end)
            for _ in range(compressed):
                payload = theader.decompressed(payload)
        else:
            texts = ttheader.decode(data, place.header_end).texts
            protocol_id = data[ttheader.PRELUDE_BYTES]
        request = Request(place.wire, payload, place.header_seqid, protocol_id, flags, texts)
    if not payload:
        raise WireError("a frame without a message", place.message_at)
    if not request.is_compact:
        message.read_head(payload, 0)
    return request


def is_unframed(start: bytes) -> bool:
    """Whether a connection that begins with `start` has messages without frames: a length has no
    high bit, a message always has."""
    return start[0] >= 0x80
