"""Writes messages.jsonl: Thrift messages as other implementations write them.

    python tests/golden/make_golden.py [--check]

Apache thrift and thriftpy2 write theirs; TTHeader has no Python library, so those come from the
worked example of the format's documentation and from `ttheader`, a transcription of it. Nothing
here comes from Meltemi's own encoder. The output is the same in every run.
"""

# mypy: allow-untyped-calls
# thriftpy2 says that it is typed, and in part it is.

from __future__ import annotations

import json
import struct
import sys
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import thriftpy2
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.THeaderProtocol import THeaderProtocol
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.THeaderTransport import THeaderClientType, THeaderTransformID
from thrift.transport.TTransport import TFramedTransport, TMemoryBuffer
from thriftpy2.protocol.binary import TBinaryProtocol as Thriftpy2Binary
from thriftpy2.protocol.compact import TCompactProtocol as Thriftpy2Compact
from thriftpy2.thrift import TClient
from thriftpy2.transport.framed import TFramedTransport as Thriftpy2Framed
from thriftpy2.transport.memory import TMemoryBuffer as Thriftpy2Memory

OUT = Path(__file__).with_name("messages.jsonl")
APACHE = f"Apache thrift {version('thrift')}"
THRIFTPY2 = f"thriftpy2 {version('thriftpy2')}"
KITEX = "cloudwego/gopkg protocol/ttheader"

IDL = """
struct Address { 1: string street, 2: list<i32> numbers, 3: map<string, bool> flags }
struct Person { 1: string name, 2: i64 born, 3: list<Address> addresses, 4: set<i16> tags,
                5: map<i32, list<Address>> by_year, 6: double height, 7: bool alive, 8: byte sex,
                40: binary picture }
exception Unknown { 1: string name }
service Sample {
  string sayHello(1: string name),
  Person marry(1: Person one, 2: Person other) throws (1: Unknown unknown),
  oneway void note(1: list<bool> bits),
  void ping()
}
"""

Record = dict[str, Any]
Body = Callable[[Any], None]

CALLS = {
    "call": (TMessageType.CALL, "request"),
    "oneway": (TMessageType.ONEWAY, "request"),
    "reply": (TMessageType.REPLY, "response"),
    "exception": (TMessageType.EXCEPTION, "response"),
}
# What a sequence id looks like at its edges.
SEQ_IDS = {"call": 7, "oneway": 2**31 - 1, "reply": -1, "exception": 300}


def hello(protocol: Any) -> None:
    """The arguments of sayHello, by hand: no generated code is needed to write fields."""
    protocol.writeStructBegin("args")
    protocol.writeFieldBegin("name", TType.STRING, 1)
    protocol.writeString("Meltemi")
    protocol.writeFieldEnd()
    protocol.writeFieldStop()
    protocol.writeStructEnd()


def nothing(protocol: Any) -> None:
    protocol.writeStructBegin("args")
    protocol.writeFieldStop()
    protocol.writeStructEnd()


def failure(protocol: Any) -> None:
    TApplicationException(TApplicationException.UNKNOWN_METHOD, "no such method").write(protocol)


def everything(protocol: Any) -> None:
    """Every type, field ids near and far, containers empty, short, long and nested."""
    scalars: list[tuple[int, str, Any]] = [
        (TType.BOOL, "Bool", True),
        (TType.BOOL, "Bool", False),
        (TType.BYTE, "Byte", -3),
        (TType.I16, "I16", -30_000),
        (TType.I32, "I32", 2**31 - 1),
        (TType.I64, "I64", -(2**63)),
        (TType.DOUBLE, "Double", 1.5),
        (TType.STRING, "Binary", b"\x00\xff text"),
        (TType.STRING, "Binary", b""),
        (TType.UUID, "Uuid", uuid.UUID(int=1)),
    ]
    protocol.writeStructBegin("args")
    for i, (ttype, name, value) in enumerate(scalars):
        field_id = 1 + i if i % 3 else 20 * i + 1
        protocol.writeFieldBegin(name, ttype, field_id)
        getattr(protocol, f"write{name}")(value)
        protocol.writeFieldEnd()
    for i, (ttype, name, value) in enumerate(scalars):
        for size in (0, 3, 14, 15, 130)[: 5 if ttype in LONG else 4]:
            protocol.writeFieldBegin("list", TType.LIST, 300 + 10 * i)
            protocol.writeListBegin(ttype, size)
            for _ in range(size):
                getattr(protocol, f"write{name}")(value)
            protocol.writeListEnd()
            protocol.writeFieldEnd()
        protocol.writeFieldBegin("map", TType.MAP, 301 + 10 * i)
        protocol.writeMapBegin(ttype, TType.STRING, 2 * (i % 2))
        for _ in range(2 * (i % 2)):
            getattr(protocol, f"write{name}")(value)
            protocol.writeString("value")
        protocol.writeMapEnd()
        protocol.writeFieldEnd()
    protocol.writeFieldBegin("set", TType.SET, 900)
    protocol.writeSetBegin(TType.STRUCT, 2)
    hello(protocol)
    nothing(protocol)
    protocol.writeSetEnd()
    protocol.writeFieldEnd()
    protocol.writeFieldBegin("map", TType.MAP, 901)
    protocol.writeMapBegin(TType.LIST, TType.MAP, 1)
    protocol.writeListBegin(TType.STRUCT, 1)
    hello(protocol)
    protocol.writeListEnd()
    protocol.writeMapBegin(TType.I16, TType.BOOL, 2)
    for key in (1, 2):
        protocol.writeI16(key)
        protocol.writeBool(key == 1)
    protocol.writeMapEnd()
    protocol.writeMapEnd()
    protocol.writeFieldEnd()
    protocol.writeFieldStop()
    protocol.writeStructEnd()


def record(name: str, origin: str, data: bytes, **facts: Any) -> Record:
    defaults: Record = {"service": None, "header_id": 0, "attributes": {}, "rewritable": True}
    return {"name": name, "origin": origin, **defaults, **facts, "hex": data.hex()}


def facts_of(kind: str, method: str, seq_id: int) -> Record:
    return {
        "direction": CALLS[kind][1],
        "kind": kind,
        "method": method,
        "message_id": seq_id & 0xFFFFFFFF,
    }


def write_apache(protocol: Any, kind: str, method: str, body: Body) -> None:
    protocol.writeMessageBegin(method, CALLS[kind][0], SEQ_IDS[kind])
    body(protocol)
    protocol.writeMessageEnd()
    protocol.trans.flush()


# Types with a list of more elements than a byte of a varint counts.
LONG = (TType.BOOL, TType.I64)

MESSAGES: list[tuple[str, str, Body]] = [
    ("call", "sayHello", hello),
    ("call", "everything", everything),
    ("oneway", "note", nothing),
    ("reply", "sayHello", hello),
    ("exception", "sayHello", failure),
]


def apache_plain() -> Iterator[Record]:
    encodings: dict[str, Callable[[Any], Any]] = {
        "strict": TBinaryProtocol,
        "lax": lambda trans: TBinaryProtocol(trans, strictWrite=False),
        "compact": TCompactProtocol,
    }
    for encoding, make in encodings.items():
        for transport in ("framed", "unframed"):
            for kind, method, body in MESSAGES:
                memory = TMemoryBuffer()
                write_apache(
                    make(TFramedTransport(memory) if transport == "framed" else memory),
                    kind,
                    method,
                    body,
                )
                yield record(
                    f"apache-{transport}-{encoding}-{kind}-{method}",
                    f"{APACHE}, {make(memory).__class__.__name__}, {transport}",
                    memory.getvalue(),
                    format=f"{transport} {encoding}",
                    **facts_of(kind, method, SEQ_IDS[kind]),
                )
            memory = TMemoryBuffer()
            protocol = make(TFramedTransport(memory) if transport == "framed" else memory)
            write_apache(TMultiplexedProtocol(protocol, "Sample"), "call", "sayHello", hello)
            yield record(
                f"apache-{transport}-{encoding}-multiplexed",
                f"{APACHE}, TMultiplexedProtocol, {transport}",
                memory.getvalue(),
                format=f"{transport} {encoding}",
                **facts_of("call", "sayHello", SEQ_IDS["call"]) | {"service": "Sample"},
            )


def apache_theader() -> Iterator[Record]:
    headers = {b"x-lane": b"gray", b"Trace-Id": b"0" * 200}
    for protocol_id, encoding in ((0, "strict"), (2, "compact")):
        for kind, method, body in MESSAGES:
            for transform in (False, True):
                memory = TMemoryBuffer()
                protocol = THeaderProtocol(memory, (THeaderClientType.HEADERS,), protocol_id)
                for key, value in headers.items() if kind == "call" else ():
                    protocol.set_header(key, value)
                if transform:
                    protocol.add_transform(THeaderTransformID.ZLIB)
                write_apache(protocol, kind, method, body)
                facts = facts_of(kind, method, SEQ_IDS[kind])
                if transform:  # what is inside cannot be seen
                    facts |= {"method": None, "rewritable": False}
                    facts["kind"] = "call" if facts["direction"] == "request" else "reply"
                yield record(
                    f"apache-theader-{encoding}-{kind}-{method}{'-zlib' if transform else ''}",
                    f"{APACHE}, THeaderProtocol",
                    memory.getvalue(),
                    format=f"theader {encoding}",
                    header_id=SEQ_IDS[kind] & 0xFFFFFFFF,
                    attributes={k.decode(): v.decode() for k, v in headers.items()}
                    if kind == "call"
                    else {},
                    **facts,
                )


def thriftpy2_plain() -> Iterator[Record]:
    # thriftpy2 wants a name that ends so, of a module that does not exist yet.
    idl = thriftpy2.load_fp(StringIO(IDL), "golden_thrift")
    address = idl.Address("Main", [1, 2, 3], {"a": True, "b": False})
    person = idl.Person(
        name="Ada",
        born=-1815,
        addresses=[address] * 2,
        tags=[1, 2],
        by_year={1840: [address], 1841: []},
        height=1.65,
        alive=False,
        sex=1,
        picture=b"\xff\xd8",
    )
    calls: dict[str, tuple[Any, ...]] = {
        "sayHello": ("Meltemi",),
        "marry": (person, person),
        "note": ([True, False] * 10,),
        "ping": (),
    }
    encodings: dict[str, Callable[[Any], Any]] = {
        "strict": Thriftpy2Binary,
        "lax": lambda trans: Thriftpy2Binary(trans, strict_write=False),
        "compact": Thriftpy2Compact,
    }
    for encoding, make in encodings.items():
        for transport in ("framed", "unframed"):
            for method, arguments in calls.items():
                memory = Thriftpy2Memory()
                protocol = make(Thriftpy2Framed(memory) if transport == "framed" else memory)
                # Only what it sends is wanted, not the answer that it then waits for.
                spec = getattr(idl.Sample, f"{method}_args").thrift_spec
                names = [spec[field][1] for field in sorted(spec)]
                client: Any = TClient(idl.Sample, protocol)
                client._send(method, **dict(zip(names, arguments, strict=True)))
                kind = "oneway" if method == "note" else "call"
                yield record(
                    f"thriftpy2-{transport}-{encoding}-{method}",
                    f"{THRIFTPY2}, {protocol.__class__.__name__}, {transport}",
                    memory.getvalue(),
                    format=f"{transport} {encoding}",
                    **facts_of(kind, method, 0),
                )


# `reviews.ReviewProduct(ProductID="1")` of a Kitex client, sequence id 1, baggage env=dev.
WORKED_EXAMPLE = """
00 00 00 a8 10 00 00 00 00 00 00 01 00 1e 00 00 01 00 02 00 13 52 50 43 5f 54 52 41 4e 53 49 54
5f 62 61 67 67 61 67 65 00 07 65 6e 76 3d 64 65 76 00 03 69 73 6e 00 0e 52 65 76 69 65 77 73 53
65 72 76 69 63 65 10 00 05 00 03 00 0b 70 72 6f 64 75 63 74 70 61 67 65 00 06 00 07 72 65 76 69
65 77 73 00 09 00 0d 52 65 76 69 65 77 50 72 6f 64 75 63 74 00 16 00 01 31 00 01 00 08 75 6e 66
72 61 6d 65 64 00 80 01 00 01 00 00 00 0d 52 65 76 69 65 77 50 72 6f 64 75 63 74 00 00 00 01 0c
00 01 0b 00 01 00 00 00 01 31 00 00
"""


def short(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


def ttheader(
    seq_id: int,
    texts: dict[bytes, bytes],
    numbers: dict[int, bytes],
    payload: bytes,
    *,
    flags: int = 0,
    token: bytes | None = None,
    transforms: bytes = b"",
) -> bytes:
    """A TTHeader frame, blocks in the order in which cloudwego/gopkg writes them."""
    header = b"\0" + bytes([len(transforms)]) + transforms
    if token is not None:
        header += b"\x11" + short(token)
    if texts:
        header += b"\x01" + struct.pack(">H", len(texts))
        header += b"".join(short(key) + short(value) for key, value in texts.items())
    if numbers:
        header += b"\x10" + struct.pack(">H", len(numbers))
        header += b"".join(struct.pack(">H", key) + short(value) for key, value in numbers.items())
    header += b"\0" * (-len(header) % 4)
    body = struct.pack(">HHiH", 0x1000, flags, seq_id, len(header) // 4) + header + payload
    return struct.pack(">I", len(body)) + body


def kitex_ttheader() -> Iterator[Record]:
    yield record(
        "ttheader-worked-example",
        "the bytes of a Kitex client's call, after cloudwego's documentation of TTHeader",
        bytes.fromhex(WORKED_EXAMPLE),
        format="ttheader strict",
        header_id=1,
        attributes={
            "RPC_TRANSIT_baggage": "env=dev",
            "isn": "ReviewsService",
            "FromService": "productpage",
            "ToService": "reviews",
            "to_method": "ReviewProduct",
            "22": "1",
            "transport-type": "unframed",
        },
        **facts_of("call", "ReviewProduct", 1),
    )
    for kind, method, body in MESSAGES:
        for encoding, make in (("strict", TBinaryProtocol), ("compact", TCompactProtocol)):
            for framed in (False, True):
                memory = TMemoryBuffer()
                write_apache(
                    make(TFramedTransport(memory) if framed else memory), kind, method, body
                )
                yield record(
                    f"ttheader{'framed' if framed else ''}-{encoding}-{kind}-{method}",
                    f"the header after {KITEX}, the payload by {APACHE}",
                    ttheader(
                        SEQ_IDS[kind],
                        {b"isn": b"Sample", b"RPC_PERSIST_user": b"ada"},
                        {6: b"reviews", 22: b"1", 99: b"own"},
                        memory.getvalue(),
                        flags=1,
                        token=b"secret",
                    ),
                    format=f"ttheader{'framed' if framed else ''} {encoding}",
                    header_id=SEQ_IDS[kind] & 0xFFFFFFFF,
                    any_order=True,
                    attributes={
                        "isn": "Sample",
                        "rpc_persist_user": "ada",
                        "toservice": "reviews",
                        "99": "own",
                        "rpc_transit_gdpr-token": "secret",
                    },
                    **facts_of(kind, method, SEQ_IDS[kind]),
                )
    yield record(
        "ttheader-transform",
        f"the header after {KITEX}, a payload that nobody reads",
        ttheader(5, {}, {9: b"Get"}, b"\x01\x02\x03", transforms=b"\x01"),
        format="ttheader strict",
        header_id=5,
        attributes={"tomethod": "Get"},
        **facts_of("call", "Get", 5) | {"rewritable": False},
    )
    memory = TMemoryBuffer()
    write_apache(TBinaryProtocol(memory), "call", "sayHello", hello)
    yield record(
        "ttheader-checksum",
        f"the header after {KITEX}, the payload by {APACHE}",
        ttheader(7, {b"crc32c": b"0badf00d"}, {}, memory.getvalue()),
        format="ttheader strict",
        header_id=7,
        attributes={"crc32c": "0badf00d"},
        **facts_of("call", "sayHello", 7) | {"rewritable": False},
    )


def main() -> None:
    records = [*apache_plain(), *apache_theader(), *thriftpy2_plain(), *kitex_ttheader()]
    text = "".join(json.dumps(record) + "\n" for record in records)
    if sys.argv[1:] == ["--check"]:
        if OUT.read_text() != text:
            sys.exit(f"{OUT} is not what this script writes: run it without --check")
        return
    OUT.write_text(text)
    print(f"{OUT}: {len(records)} messages")


if __name__ == "__main__":
    main()
