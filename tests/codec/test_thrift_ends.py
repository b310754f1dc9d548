"""Where the codec finds the end of an unframed message, Apache's own reader finds it too.

Another end would be request smuggling: what one side takes for the rest of a request, the other
would take for the next one.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer
from thrift_looker import apache_end, golden, looker

SCALARS: dict[int, tuple[str, st.SearchStrategy[Any]]] = {
    TType.BOOL: ("Bool", st.booleans()),
    TType.BYTE: ("Byte", st.integers(-128, 127)),
    TType.I16: ("I16", st.integers(-(2**15), 2**15 - 1)),
    TType.I32: ("I32", st.integers(-(2**31), 2**31 - 1)),
    TType.I64: ("I64", st.integers(-(2**63), 2**63 - 1)),
    TType.DOUBLE: ("Double", st.floats()),
    TType.STRING: ("Binary", st.binary(max_size=20)),
    TType.UUID: ("Uuid", st.uuids()),
}
UNFRAMED = [m for m in golden() if m["format"].startswith("unframed")]
# A decoder that allows a level more than Apache's Python is not a different end.
HARMLESS = (TProtocolException.DEPTH_LIMIT,)


# How long an example takes says something of the machine only.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


MOST = 3000
"""Scalars of one value: containers within containers, each of 130, would be millions of them."""


class Value:
    """A value of any type, as (type, content); containers hold values of one type."""

    def __init__(self, ttype: int, content: Any, scalars: int = 1) -> None:
        self.ttype = ttype
        self.content = content
        self.scalars = scalars

    def __repr__(self) -> str:
        return f"{TType._VALUES_TO_NAMES[self.ttype]}:{self.content!r}"


def scalar(ttype: int) -> st.SearchStrategy[Value]:
    return SCALARS[ttype][1].map(lambda content: Value(ttype, content))


def containers(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    # An element repeated is a container of one type, whatever the element is.
    sizes = st.sampled_from([0, 1, 2, 3, 14, 15, 16, 127, 130])
    lists = st.tuples(st.sampled_from([TType.LIST, TType.SET]), values, sizes).map(
        lambda drawn: repeated(drawn[0], (drawn[1],), drawn[2])
    )
    maps = st.tuples(values, values, st.integers(0, 5)).map(
        lambda drawn: repeated(TType.MAP, drawn[:2], drawn[2])
    )
    fields = st.lists(st.tuples(st.integers(-(2**15), 2**15 - 1), values), max_size=4)
    return lists | maps | fields.map(structure)


def repeated(ttype: int, elements: tuple[Value, ...], size: int) -> Value:
    scalars = sum(element.scalars for element in elements)
    size = min(size, max(1, MOST // scalars))
    return Value(ttype, (*elements, size), 1 + size * scalars)


def structure(fields: list[tuple[int, Value]]) -> Value:
    return Value(TType.STRUCT, fields, 1 + sum(field.scalars for _, field in fields))


VALUES = st.recursive(st.sampled_from(sorted(SCALARS)).flatmap(scalar), containers, max_leaves=8)
ARGUMENTS = st.lists(st.tuples(st.integers(1, 40), VALUES), max_size=5).map(
    lambda fields: Value(TType.STRUCT, fields)
)


def write(protocol: Any, value: Value) -> None:
    if value.ttype in SCALARS:
        getattr(protocol, f"write{SCALARS[value.ttype][0]}")(value.content)
    elif value.ttype == TType.STRUCT:
        protocol.writeStructBegin("struct")
        for field_id, field in value.content:
            protocol.writeFieldBegin("field", field.ttype, field_id)
            write(protocol, field)
            protocol.writeFieldEnd()
        protocol.writeFieldStop()
        protocol.writeStructEnd()
    elif value.ttype == TType.MAP:
        key, item, size = value.content
        protocol.writeMapBegin(key.ttype, item.ttype, size)
        for _ in range(size):
            write(protocol, key)
            write(protocol, item)
        protocol.writeMapEnd()
    else:
        element, size = value.content
        kind = "List" if value.ttype == TType.LIST else "Set"
        getattr(protocol, f"write{kind}Begin")(element.ttype, size)
        for _ in range(size):
            write(protocol, element)
        getattr(protocol, f"write{kind}End")()


def message(encoding: str, name: str, seq_id: int, arguments: Value) -> bytes:
    memory = TMemoryBuffer()
    protocol = {
        "strict": TBinaryProtocol,
        "lax": lambda trans: TBinaryProtocol(trans, strictWrite=False),
        "compact": TCompactProtocol,
    }[encoding](memory)
    protocol.writeMessageBegin(name, TMessageType.CALL, seq_id)
    write(protocol, arguments)
    protocol.writeMessageEnd()
    written: bytes = memory.getvalue()
    return written


ENCODINGS = st.sampled_from(["strict", "lax", "compact"])
NAMES = st.text("abcXYZ:_", min_size=1, max_size=12)
SEQ_IDS = st.integers(-(2**31), 2**31 - 1)


@settings(PATIENT, max_examples=300)
@given(ENCODINGS, st.lists(st.tuples(NAMES, SEQ_IDS, ARGUMENTS), min_size=1, max_size=3))
def test_every_message_ends_where_the_next_one_starts(
    encoding: str, calls: list[tuple[str, int, Value]]
) -> None:
    messages = [message(encoding, *call) for call in calls]
    seen = looker()(b"".join(messages))
    assert seen["error"] is None
    ends = [sum(map(len, messages[: i + 1])) for i in range(len(messages))]
    assert [frame["end"] for frame in seen["frames"]] == ends
    for frame, (name, seq_id, _) in zip(seen["frames"], calls, strict=True):
        assert frame["method"] == name.partition(":")[2] if ":" in name else name
        assert frame["message_id"] == seq_id & 0xFFFFFFFF


def agree(data: bytes) -> None:
    """Fails where Apache finds another end of the first message than the codec does."""
    seen = looker()(data)
    frames = [frame for frame in seen["frames"] if frame["format"].startswith("unframed")]
    try:
        end = apache_end(data)
    except EOFError:
        assert not frames, f"Apache wants more bytes, we ended at {frames[0]['end']}"
        return
    except UnicodeDecodeError:  # the method's name; no other language looks at that
        return
    except TProtocolException as refused:
        assert not frames or refused.type in HARMLESS, f"{refused}: {frames[0]}"
        return
    except Exception as refused:
        assert not frames, f"{refused!r}: {frames[0]}"
        return
    if frames:
        assert frames[0]["end"] == end
    else:
        assert seen["error"] is not None or seen["frames"], "Apache ended, we wait for more"


CHANGE = st.tuples(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from("xidb"))


@settings(PATIENT, max_examples=1000)
@given(
    ENCODINGS,
    ARGUMENTS,
    st.lists(CHANGE, min_size=1, max_size=4),
)
@example(
    "compact", Value(TType.STRUCT, [(1, Value(TType.LIST, (Value(TType.BOOL, True), 15)))]), []
)
def test_a_mutated_message_ends_where_apache_ends_it_or_is_refused(
    encoding: str, arguments: Value, changes: list[tuple[int, int, str]]
) -> None:
    data = bytearray(message(encoding, "hi", 1, arguments))
    start = len(data) - len(message(encoding, "hi", 1, Value(TType.STRUCT, []))) + 1
    fields = len(data) - start
    for at, value, how in changes:
        at = min(len(data) - 1, fields + at % max(1, len(data) - fields))
        if how == "x":
            data[at] ^= 1 << value % 8
        elif how == "i":
            data.insert(at, value)
        elif how == "d" and len(data) > 1:
            del data[at]
        else:
            data[at] = value
    agree(bytes(data) + b"\0" * 8)


@settings(PATIENT, max_examples=1000)
@given(ENCODINGS, st.binary(max_size=60))
def test_random_fields_end_where_apache_ends_them_or_are_refused(
    encoding: str, fields: bytes
) -> None:
    head = message(encoding, "hi", 1, Value(TType.STRUCT, []))[:-1]
    agree(head + fields)


# Bytes that are likely to mean something: types, small lengths, continued varints, stops.
TELLING = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 8, 10, 11, 12, 13, 14, 15, 16, 0x15, 0x18, 0x19])
SHARP = TELLING | st.sampled_from([0x1B, 0x1C, 0x29, 0x80, 0x81, 0xF1, 0xF5, 0xFF, 0x7F])


@settings(PATIENT, max_examples=4000)
@given(ENCODINGS, st.lists(SHARP, max_size=30).map(bytes))
@example("compact", bytes.fromhex("19 0e 00"))
@example("compact", bytes.fromhex("1b 00 00"))
@example("compact", bytes.fromhex("18 8000 00"))
@example("compact", bytes.fromhex("18 ffffffff7f 00"))
@example("compact", bytes.fromhex("16 80808080808080808000 00"))
@example("compact", bytes.fromhex("16 8080808080808080808000 00"))
@example("strict", bytes.fromhex("0f0001 00 00000000 00"))
@example("strict", bytes.fromhex("0d0001 0000 00000000 00"))
@example("strict", bytes.fromhex("0f0001 0b 80000000 00"))
def test_telling_fields_end_where_apache_ends_them_or_are_refused(
    encoding: str, fields: bytes
) -> None:
    head = message(encoding, "hi", 1, Value(TType.STRUCT, []))[:-1]
    agree(head + fields)


@pytest.mark.parametrize("sample", UNFRAMED, ids=lambda sample: sample["name"])
def test_golden_messages_end_where_apache_ends_them(sample: dict[str, Any]) -> None:
    data = bytes.fromhex(sample["hex"])
    assert apache_end(data + data) == len(data)
    seen = looker()(data + data, sample["direction"])
    assert [frame["end"] for frame in seen["frames"]] == [len(data), 2 * len(data)]
