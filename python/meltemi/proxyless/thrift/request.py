"""One call as a server got it, and the frame that its answer goes into: the caller's own.

Bytes in, bytes out; `server` and `aio_server` read and write them. What a handler adds to its
answer beside the result is collected here."""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from opentelemetry.context import Context, get_current

from meltemi.proxyless.context import incoming
from meltemi.proxyless.guard import NOTHING, Keys, unmarked
from meltemi.proxyless.thrift import frames, message, theader, ttheader
from meltemi.proxyless.thrift.errors import BizStatusError
from meltemi.proxyless.thrift.wire import Wire, WireError

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

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


class Manner:
    """How a caller wrote a call, all but its id and arguments. Its next calls are mostly written
    alike: what was found out of one is kept here for them."""

    __slots__ = (
        "_base",
        "_context",
        "flags",
        "header",
        "marks",
        "message_at",
        "message_head",
        "method",
        "protocol_id",
        "texts",
        "wire",
    )

    def __init__(
        self, wire: Wire, texts: Mapping[str, str], protocol_id: int = 0, flags: int = 0
    ) -> None:
        self.wire = wire
        # What came beside the arguments, by its own names.
        self.texts = texts
        self.protocol_id = protocol_id
        self.flags = flags
        # The method's name without its service's; None for a compact message, which is not read.
        self.method: str | None = None
        # The bytes that say all this, around the ids; `message_head` is None where they are no
        # sign: what was transformed.
        self.marks = self.header = b""
        self.message_at = 0
        self.message_head: bytes | None = None
        self._base: Context | None = None
        self._context: Context | None = None

    def context(self) -> Context:
        """OpenTelemetry's for the handler, by what came with the call."""
        base = get_current()
        if self._context is None or self._base is not base:
            self._base, self._context = base, incoming(self.texts, context=base)
        return self._context

    def context_without(self, keys: Keys) -> Context:
        """The same of a caller whose marks with these keys do not count."""
        if keys == NOTHING:
            return self.context()
        return incoming(unmarked(self.texts.items(), keys))

    def frame(self, kind: int) -> frames.Frame:
        """For answers of a type to which the handler added nothing."""
        return _frame_of_answers(self.wire, kind, self.protocol_id, self._flags)

    def frame_with(self, kind: int, added: Mapping[str, str]) -> frames.Frame:
        """For an answer with what the handler added."""
        numbers = [(ttheader.MSG_TYPE, str(kind))]
        return frames.of_messages(
            self.wire,
            added.items(),
            numbers,
            protocol_id=self.protocol_id,
            flags=self._flags,
        )

    @property
    def _flags(self) -> int:
        """Of answers."""
        return self.flags if self.wire is Wire.THEADER else 0

    def again(self, data: bytes) -> "Request | None":
        """The call in a frame that says all that the last one said; None: it has to be read."""
        head, at = self.message_head, self.message_at
        if (
            head is not None
            and data.startswith(head, at)
            and data.startswith(self.header, 12)
            and data.startswith(self.marks, 4)
            and len(data) >= at + len(head) + 4
        ):
            seqid = int.from_bytes(data[8:12], "big") if self.header else 0
            return Request(self, data[at:], seqid)
        return None


@dataclass(slots=True)
class Request:
    """A call and how it was written."""

    manner: Manner
    payload: bytes
    header_seqid: int = 0

    @property
    def wire(self) -> Wire:
        """What stands around the message."""
        return self.manner.wire

    @property
    def texts(self) -> Mapping[str, str]:
        """What came beside the arguments, by its own names."""
        return self.manner.texts

    @property
    def is_compact(self) -> bool:
        """Whether the message is written in the compact protocol."""
        return self.payload[0] == message.COMPACT_ID

    @property
    def method(self) -> str | None:
        """The method's name without its service's; None for a compact message, which is not
        read."""
        return self.manner.method

    def framed(self, reply: bytes, added: Mapping[str, str]) -> bytes:
        """`reply` (a whole message) in the caller's frame, with what the handler added."""
        kind = _kind(reply)
        make = self.manner.frame_with(kind, added) if added else self.manner.frame(kind)
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


@lru_cache(64)
def _frame_of_answers(wire: Wire, kind: int, protocol_id: int, flags: int) -> frames.Frame:
    manner = Manner(wire, _NOTHING, protocol_id, flags)
    return manner.frame_with(kind, _NOTHING)


def _kind(reply: bytes) -> int:
    """The type of a message: in the compact protocol it shares a byte with the version."""
    if reply[0] == message.COMPACT_ID:
        return reply[1] >> 5
    return reply[3]


def method_of(name: str) -> str:
    """The method in the name of a message, which may have its service in front."""
    return name.rpartition(":")[2]


def parse(data: bytes, last: Manner | None = None) -> Request:
    """The call in a complete frame; `last`: how the one before it on its connection was written.
    `WireError` where it is none."""
    if last is not None and (found := last.again(data)) is not None:
        return found
    place = message.place(data)
    payload = data[place.message_at :]
    transforms = 0
    if place.wire is Wire.FRAMED:
        manner = Manner(Wire.FRAMED, _NOTHING)
    else:
        flags = int.from_bytes(data[6:8], "big")
        if place.wire is Wire.THEADER:
            texts, protocol_id, transforms = theader.decode(data, place.header_end)
            for _ in range(transforms):
                payload = theader.decompressed(payload)
        else:
            texts = ttheader.decode(data, place.header_end).texts
            protocol_id = data[ttheader.PRELUDE_BYTES]
        manner = Manner(place.wire, texts, protocol_id, flags)
        manner.marks, manner.header = data[4:8], data[12 : place.header_end]
    if not payload:
        raise WireError("a frame without a message", place.message_at)
    if payload[0] != message.COMPACT_ID:
        head = message.read_head(payload, 0)
        manner.method = method_of(head.name.decode(errors="replace"))
        if not transforms and place.wire is not Wire.TTHEADER_FRAMED:
            manner.message_at = place.message_at
            manner.message_head = payload[: head.body_at - 4]
    return Request(manner, payload, place.header_seqid)


def is_unframed(start: bytes) -> bool:
    """Whether a connection that begins with `start` has messages without frames: a length has no
    high bit, a message always has."""
    return start[0] >= 0x80
