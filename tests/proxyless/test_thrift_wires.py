"""TTHeader and THeader, byte for byte as Kitex and Apache write and read them."""

from __future__ import annotations

import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from meltemi.proxyless.thrift import frames, message, theader, ttheader
from meltemi.proxyless.thrift.request import parse
from meltemi.proxyless.thrift.wire import Wire, WireError
from thrift.transport.THeaderTransport import THeaderClientType, THeaderTransport
from thrift.transport.TTransport import TMemoryBuffer

GOLDEN_FILES = Path(__file__).parent.parent / "golden"
GOLDEN = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "golden" / "messages.jsonl")
    .read_text()
    .splitlines()
]
BOOKINFO_REQUEST = bytes.fromhex("0c00010b00010000000131" + "0000")
HEADED = ("ttheader", "theader")


def golden(name: str) -> bytes:
    return bytes.fromhex(next(each["hex"] for each in GOLDEN if each["name"] == name))


def test_a_call_is_the_worked_example_of_kitexs_documentation() -> None:
    head = message.head(b"ReviewProduct", message.CALL)
    frame = frames.of_bodies(
        Wire.TTHEADER,
        head,
        [("RPC_TRANSIT_baggage", "env=dev"), ("isn", "ReviewsService")],
        [(3, "productpage"), (6, "reviews"), (9, "ReviewProduct"), (22, "1"), (1, "unframed")],
    )
    written = frame(1, BOOKINFO_REQUEST)
    assert len(written) == 172
    assert written == golden("ttheader-worked-example")


@pytest.mark.parametrize(
    "sample",
    [each for each in GOLDEN if each["format"].startswith(HEADED)],
    ids=lambda s: s["name"],
)
def test_headers_that_others_wrote_are_read_as_they_meant_them(sample: dict[str, Any]) -> None:
    data = bytes.fromhex(sample["hex"])
    if "transform" in sample["name"]:
        with pytest.raises(WireError):
            parse(data)
        return
    request = parse(data)
    assert request.wire.value == sample["format"].split()[0]
    assert request.header_seqid == sample["header_id"]
    assert request.is_compact == sample["format"].endswith("compact")
    if not request.is_compact and "zlib" not in sample["name"]:
        assert request.method == sample["method"]
        assert message.read_head(request.payload, 0).seqid == sample["message_id"]
    texts = {name.lower(): value for name, value in request.texts.items()}
    for name, value in sample["attributes"].items():
        if name.lower() in texts:
            assert texts[name.lower()] == value
        else:
            assert request.wire is not Wire.THEADER, f"{name} is a text there"


@pytest.mark.parametrize(
    "sample",
    [each for each in GOLDEN if each["format"].startswith(("ttheader", "framed strict"))],
    ids=lambda sample: sample["name"],
)
def test_a_message_in_the_frame_of_its_call_is_read_back(sample: dict[str, Any]) -> None:
    if "transform" in sample["name"]:
        return
    request = parse(bytes.fromhex(sample["hex"]))
    again = parse(request.framed(request.payload, {"x": "y"}))
    assert (again.wire, again.payload) == (request.wire, request.payload)
    assert again.header_seqid == request.header_seqid
    assert again.texts == ({"x": "y"} if request.wire.has_metadata else {})


def test_apache_reads_our_theader() -> None:
    body = b"\x0b\x00\x01\x00\x00\x00\x01x\x00"
    head = message.head(b"echo", message.CALL)
    frame = frames.of_bodies(Wire.THEADER, head, [("baggage", "env=dev"), ("long", "x" * 300)])
    reader = THeaderTransport(TMemoryBuffer(frame(9, body)), [THeaderClientType.HEADERS])
    reader.readFrame(0)
    assert reader.get_headers() == {b"baggage": b"env=dev", b"long": b"x" * 300}
    assert reader.sequence_id == 9
    whole = head + struct.pack(">I", 9) + body
    assert reader.read(len(whole)) == whole


def test_we_read_what_apache_compressed_twice() -> None:
    payload = message.head(b"echo", message.CALL) + b"\0\0\0\1\0"
    info = b"\x00\x02\x01\x01"
    data = b"\x0f\xff\0\0\0\0\0\1\0\1" + info + zlib.compress(zlib.compress(payload))
    request = parse(struct.pack(">I", len(data)) + data)
    assert request.payload == payload


@pytest.mark.parametrize("wire", list(Wire))
@pytest.mark.parametrize("size", [0, 1, 3, 65_535])
def test_what_is_written_is_read_back(wire: Wire, size: int) -> None:
    texts = {"RPC_TRANSIT_baggage": "env=dev", "größe": "Ω" * (size // 2), "empty": ""}
    numbers = [(22, "1"), (999, "own")]
    written = frames.of_bodies(wire, message.head(b"m", message.CALL), texts.items(), numbers)(
        0x7FFFFFFF, b"\0"
    )
    if wire is Wire.UNFRAMED:
        assert message.read_head(written, 0).seqid == 0x7FFFFFFF
        return
    request = parse(written)
    assert request.wire is wire
    assert message.read_head(request.payload, 0).seqid == 0x7FFFFFFF
    assert request.payload[-1:] == b"\0"
    if wire.has_metadata:
        assert request.texts == texts
        assert request.header_seqid == 0x7FFFFFFF
    if wire in (Wire.TTHEADER, Wire.TTHEADER_FRAMED):
        end = message.place(written).header_end
        assert ttheader.decode(written, end).numbers == {22: "1", 999: "own"}
        assert (end - 14) % 4 == 0


def test_the_token_has_its_block_as_in_kitex() -> None:
    info = ttheader.encode([("a", "b"), (ttheader.TOKEN, "secret")])
    assert info[2:11] == b"\x11\x00\x06secret"
    data = bytes(12) + (len(info) // 4).to_bytes(2, "big") + info
    assert ttheader.decode(data, len(data)).texts == {"a": "b", ttheader.TOKEN: "secret"}


def test_values_without_room_are_refused_in_words() -> None:
    with pytest.raises(WireError, match=r"'big….*' has 65,536 bytes|has 65,536 bytes"):
        ttheader.encode([("k", "x" * 65_536)])
    with pytest.raises(WireError, match="262,140"):
        ttheader.encode([(f"k{i}", "x" * 60_000) for i in range(5)])
    with pytest.raises(WireError, match="262,140"):
        theader.encode([("k", "x" * 300_000)])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\0\0\0\x05\x10\0\0\0\0", "header that ends inside its first 14 bytes"),
        (b"\0\0\0\x0b\x10\0\0\0\0\0\0\1\0\1\0", "longer than its frame"),
        (b"\0\0\0\x0f\x10\0\0\2\0\0\0\1\0\1\0\0\0\0\x80", "streaming"),
        (b"\0\0\0\x0f\x10\0\0\0\0\0\0\1\0\1\4\0\0\0\x80", "protocol 4"),
        (b"\0\0\0\x0f\x10\0\0\0\0\0\0\1\0\1\0\0\x22\0\x80", "info block 0x22"),
        (b"\0\0\0\x0f\x10\0\0\0\0\0\0\1\0\1\0\0\x11\0\x80", "ends inside a value"),
        (b"\0\0\0\x0f\x0f\xff\0\0\0\0\0\1\0\1\5\0\0\0\x80", "THeader protocol 5"),
        (b"\0\0\0\x0f\x0f\xff\0\0\0\0\0\1\0\1\0\1\2\0\x80", "transform 2"),
        (b"\0\0\0\x04\0\0\0\x01", "neither a binary Thrift message"),
    ],
)
def test_a_frame_that_cannot_be_read_says_why(data: bytes, says: str) -> None:
    with pytest.raises(WireError, match=says):
        parse(data + b"\0" * 8 if says.startswith("neither") else data)


def test_no_bytes_make_the_readers_fail_otherwise() -> None:
    rng = random.Random(5)
    for sample in GOLDEN:
        data = bytearray.fromhex(sample["hex"])[:400]
        for _ in range(60):
            broken = bytearray(data)
            for _ in range(rng.randint(1, 4)):
                broken[rng.randrange(len(broken))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
            broken[:4] = (len(broken) - 4).to_bytes(4, "big")
            try:
                parse(bytes(broken))
            except WireError:
                continue
