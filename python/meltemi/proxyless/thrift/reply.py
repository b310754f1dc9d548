"""What came back: the reply's message is held against the call, its header read where there is one.

Used by `blocking` and `aio` for framed replies. Metadata of a reply (Kitex: backward) are given to
whoever listens with `received_metadata`."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from struct import Struct
from typing import Any, Final

from thriftpy2.thrift import TApplicationException

from meltemi.proxyless.calls import applies
from meltemi.proxyless.thrift import message, theader, ttheader
from meltemi.proxyless.thrift.codec import Codec
from meltemi.proxyless.thrift.errors import BizStatusError
from meltemi.proxyless.thrift.service import Method
from meltemi.proxyless.thrift.wire import Wire, WireError

_RECEIVED: Final[ContextVar[dict[str, str] | None]] = ContextVar(
    "meltemi_thrift_received", default=None
)
_U32: Final = Struct(">I")
# As it stands in a header: the name behind its length.
_READY_TO_RESET: Final = b"\0\5" + ttheader.READY_TO_RESET.encode()
_BIZ_STATUS: Final = ttheader.BIZ_STATUS.encode()
# The TTHeader of a reply that says nothing beside its result, from the size on: the common case.
_INFO: Final = ttheader.encode((), [(ttheader.MSG_TYPE, str(message.REPLY))])
_ONLY_ITS_TYPE: Final = (len(_INFO) // 4).to_bytes(2, "big") + _INFO
_BEHIND_ITS_TYPE: Final = 12 + len(_ONLY_ITS_TYPE)
# What a TApplicationException blames on the endpoint, and not on the call.
_FAULTS_OF_THE_ENDPOINT: Final = (
    TApplicationException.UNKNOWN,
    TApplicationException.INTERNAL_ERROR,
    TApplicationException.PROTOCOL_ERROR,
)


@contextmanager
def received_metadata() -> Iterator[dict[str, str]]:
    """Collects what replies say beside their result (Kitex's backward metadata), by their own
    names.

    Of several calls in the block, the later value of a name holds. Only TTHeader and THeader carry
    any."""
    collected: dict[str, str] = {}
    token = _RECEIVED.set(collected)
    try:
        yield collected
    finally:
        _RECEIVED.reset(token)


def change_received(changes: Iterable[tuple[str, str, str]]) -> None:
    """What the route changes in the metadata of a reply, as `Call.response_changes` has it; the
    case of names does not matter."""
    collected = _RECEIVED.get()
    if collected is None:
        return
    for action, name, value in changes:
        found = [each for each in collected if each.lower() == name.lower()]
        if not applies(action, there=bool(found)):
            continue
        for each in found:
            if action == "remove":
                del collected[each]
            else:
                collected[each] = f"{collected[each]},{value}" if action == "add" else value
        if not found and action != "remove":
            collected[name] = value


def says_it_closes(data: bytes) -> bool:
    """Whether the endpoint asks, in a reply with TTHeader, that nothing more be sent over the
    connection."""
    if data.startswith(_ONLY_ITS_TYPE, 12):
        return False
    return data.find(_READY_TO_RESET, 14, 14 + (data[12] << 8 | data[13]) * 4) > 0


def is_fault_of_endpoint(error: TApplicationException) -> bool:
    """Whether an endpoint that answers so is counted as failing."""
    return error.type in _FAULTS_OF_THE_ENDPOINT


def read(method: Method, seqid: int, data: bytes, codec: Codec) -> Any:
    """The decoded result of the frame `data`, or the `TApplicationException` that it holds,
    returned.

    Raises `BizStatusError` where the header has one, `WireError` where this is no reply to the
    call."""
    at = 4
    if data[4] < 0x80:  # a header
        if data.startswith(_ONLY_ITS_TYPE, 12) and data.startswith(ttheader.MAGIC, 4):
            at = _BEHIND_ITS_TYPE
        elif _RECEIVED.get() is None and _is_plain_ttheader(data):
            at = 14 + (data[12] << 8 | data[13]) * 4
        else:
            data, at = _behind_header(data)
    expected = method.reply_head
    body_at = at + len(expected) + 4
    if (
        data.startswith(expected, at)
        and len(data) > body_at
        and _U32.unpack_from(data, body_at - 4)[0] == seqid
    ):
        return codec.decode(method.result(), data, body_at)
    head = message.read_head(data, at)
    _check(method, seqid, head)
    if head.kind == message.EXCEPTION:
        return codec.decode(TApplicationException(), data, head.body_at)
    return codec.decode(method.result(), data, head.body_at)


def _is_plain_ttheader(data: bytes) -> bool:
    """Whether nothing in the header of a TTHeader frame needs to be read: the common case."""
    if data[4:6] != ttheader.MAGIC or len(data) < 16:
        return False
    end = 14 + (data[12] << 8 | data[13]) * 4
    return end < len(data) and data[end] >= 0x80 and data.find(_BIZ_STATUS, 14, end) < 0


def read_unframed(method: Method, seqid: int, reader: Any) -> Any:
    """As `read`, for a reply whose end is where its fields end: it is read as it comes."""
    name, kind, came = reader.read_message_begin()
    _check(method, seqid, message.Head(name.encode(), kind, came, 0))
    result = TApplicationException() if kind == message.EXCEPTION else method.result()
    reader.read_struct(result)
    return result


async def read_unframed_async(method: Method, seqid: int, reader: Any) -> Any:
    """As `read_unframed`, with thriftpy2's protocol for asyncio."""
    name, kind, came = await reader.read_message_begin()
    _check(method, seqid, message.Head(name.encode(), kind, came, 0))
    result = TApplicationException() if kind == message.EXCEPTION else method.result()
    await reader.read_struct(result)
    return result


def _check(method: Method, seqid: int, head: message.Head) -> None:
    if head.seqid != seqid:
        raise WireError(f"the reply to call {head.seqid} came for call {seqid}")
    if head.name != method.wire_name and head.name != method.name.encode():
        raise WireError(f"a reply of {head.name.decode(errors='replace')} came for {method.name}")
    if head.kind not in (message.REPLY, message.EXCEPTION):
        raise WireError(f"a message of type {head.kind} came for a reply")


def _behind_header(data: bytes) -> tuple[bytes, int]:
    """The payload's bytes, and where the message starts in them."""
    place = message.place(data)
    collected = _RECEIVED.get()
    if place.wire is Wire.THEADER:
        texts, _, compressed = theader.decode(data, place.header_end)
        if collected is not None:
            collected |= texts
        if compressed:
            data = data[place.message_at :]
            for _ in range(compressed):
                data = theader.decompressed(data)
            return data, 0
    elif place.wire.has_metadata and (
        collected is not None or data.find(_BIZ_STATUS, 14, place.header_end) >= 0
    ):
        texts = ttheader.decode(data, place.header_end).texts
        if collected is not None:
            collected |= texts
        if texts.get(ttheader.BIZ_STATUS, "0") != "0":
            raise _business_error(texts)
    return data, place.message_at


def _business_error(texts: dict[str, str]) -> BizStatusError:
    try:
        status = int(texts[ttheader.BIZ_STATUS])
        extra = json.loads(texts.get(ttheader.BIZ_EXTRA) or "{}")
    except ValueError as broken:
        raise WireError(f"a business status that cannot be read ({broken})") from None
    return BizStatusError(status, texts.get(ttheader.BIZ_MESSAGE, ""), extra)
