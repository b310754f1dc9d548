"""Meltemi's own answers are read by Apache thrift and by thriftpy2 in every format they know."""

# mypy: allow-untyped-calls
# thriftpy2 says that it is typed, and in part it is.

from __future__ import annotations

import struct
from typing import Any

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.THeaderProtocol import THeaderProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.THeaderTransport import THeaderClientType
from thrift.transport.TTransport import TFramedTransport, TMemoryBuffer
from thrift_looker import golden, looker
from thriftpy2.protocol.binary import TBinaryProtocol as Thriftpy2Binary
from thriftpy2.protocol.compact import TCompactProtocol as Thriftpy2Compact
from thriftpy2.thrift import TApplicationException as Thriftpy2Exception
from thriftpy2.transport.framed import TFramedTransport as Thriftpy2Framed
from thriftpy2.transport.memory import TMemoryBuffer as Thriftpy2Memory

MESSAGE = "no matched route: “∅”"
REQUESTS = [m for m in golden() if m["direction"] == "request"]


def requests(*formats: str) -> list[Any]:
    """The golden requests whose transport is one of `formats`."""
    chosen = [m for m in REQUESTS if m["format"].split()[0] in formats]
    assert chosen
    return [pytest.param(m, id=m["name"]) for m in chosen]


def reply_to(sample: dict[str, Any]) -> bytes:
    [frame] = looker()(bytes.fromhex(sample["hex"]))["frames"]
    return bytes.fromhex(frame["reply"])


def signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number


def check_apache(protocol: Any, sample: dict[str, Any], rest: TMemoryBuffer) -> None:
    method, kind, seq_id = protocol.readMessageBegin()
    error = TApplicationException()
    error.read(protocol)
    protocol.readMessageEnd()
    assert method == (sample["method"] or "")
    assert (kind, seq_id) == (TMessageType.EXCEPTION, signed(sample["message_id"]))
    assert (error.type, error.message) == (TApplicationException.UNKNOWN_METHOD, MESSAGE)
    assert rest.cstringio_buf.read() == b"", "nothing is left over"


def apache_protocol(encoding: str, transport: Any) -> Any:
    return (TCompactProtocol if encoding == "compact" else TBinaryProtocol)(transport)


@pytest.mark.parametrize("sample", requests("framed", "unframed"))
def test_apache_thrift_reads_the_answer(sample: dict[str, Any]) -> None:
    transport, encoding = sample["format"].split()
    memory = TMemoryBuffer(reply_to(sample))
    wrapped = TFramedTransport(memory) if transport == "framed" else memory
    check_apache(apache_protocol(encoding, wrapped), sample, memory)


@pytest.mark.parametrize("sample", requests("theader"))
def test_apache_thrift_reads_the_answer_behind_a_theader(sample: dict[str, Any]) -> None:
    memory = TMemoryBuffer(reply_to(sample))
    protocol = THeaderProtocol(memory, (THeaderClientType.HEADERS,))
    if sample["method"] is None:  # a transformed request: the header's id is all that is known
        sample = {**sample, "message_id": sample["header_id"]}
    check_apache(protocol, sample, memory)
    assert protocol.trans.sequence_id == signed(sample["header_id"])
    assert protocol.trans.protocol_id == (2 if "compact" in sample["format"] else 0)


@pytest.mark.parametrize("sample", requests("framed", "unframed"))
def test_thriftpy2_reads_the_answer(sample: dict[str, Any]) -> None:
    transport, encoding = sample["format"].split()
    memory = Thriftpy2Memory(reply_to(sample))
    wrapped = Thriftpy2Framed(memory) if transport == "framed" else memory
    protocol: Any
    if encoding == "compact":
        protocol = Thriftpy2Compact(wrapped)
    else:
        protocol = Thriftpy2Binary(wrapped, strict_read=encoding == "strict")
    method, kind, seq_id = protocol.read_message_begin()
    error = Thriftpy2Exception()
    error.read(protocol)
    protocol.read_message_end()
    assert (method, kind) == (sample["method"], 3)
    assert seq_id & 0xFFFFFFFF == sample["message_id"]
    assert (error.type, error.message) == (Thriftpy2Exception.UNKNOWN_METHOD, MESSAGE)


@pytest.mark.parametrize("sample", requests("ttheader", "ttheaderframed"))
def test_the_answer_behind_a_ttheader_is_as_kitex_reads_it(sample: dict[str, Any]) -> None:
    reply = reply_to(sample)
    length, magic, flags, seq_id, words = struct.unpack_from(">IHHIH", reply)
    assert (length, magic, flags) == (len(reply) - 4, 0x1000, 0)
    assert seq_id == sample["header_id"]
    # Protocol id, no transforms, then one block of integer keys: MsgType is "3", an exception.
    header = reply[14 : 14 + words * 4]
    assert header == b"\0\0\x10\0\x01\0\x16\0\x01" + b"3" + b"\0\0"
    payload = TMemoryBuffer(reply[14 + words * 4 :])
    wrapped = TFramedTransport(payload) if "framed" in sample["format"] else payload
    if sample["name"] == "ttheader-transform":
        sample = {**sample, "method": ""}
    check_apache(apache_protocol(sample["format"].split()[1], wrapped), sample, payload)
