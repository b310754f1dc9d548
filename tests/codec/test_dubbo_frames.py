"""The engine reads what Apache Dubbo and others wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from meltemi.engine import decode_messages

FRAMES = Path(__file__).resolve().parents[1] / "golden" / "dubbo" / "frames.jsonl"
KINDS = {"call": "request", "reply": "response", "exception": "response"}


def golden(direction: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in FRAMES.read_text().splitlines()]
    return [record for record in records if record["direction"] == direction]


def as_java(text: str) -> bytes:
    """Characters outside of the basic plane are two of three bytes each."""
    units = text.encode("utf-16-be", "surrogatepass")
    pairs = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return b"".join(chr(unit).encode("utf-8", "surrogatepass") for unit in pairs)


@pytest.mark.parametrize("name", ["dubbo", "aeraki.meta_protocol.codec.dubbo"])
@pytest.mark.parametrize("direction", ["request", "response"])
@pytest.mark.parametrize("chunk", [0, 100])
def test_every_golden_frame_of_one_connection_is_read(
    name: str, direction: str, chunk: int
) -> None:
    records = golden(direction)
    stream = b"".join(bytes.fromhex(record["hex"]) for record in records)
    seen = decode_messages(name, direction, stream, chunk)
    assert len(seen) == len(records) > 20
    for record, message in zip(records, seen, strict=True):
        kind = record["kind"]
        assert message["kind"] == KINDS.get(kind, kind), record["name"]
        assert message["ok"] == (kind != "exception"), record["name"]
        assert str(message["id"]) == record["id"], record["name"]
        if direction == "request" and record["method"] is not None:
            attributes = message["attributes"]
            assert isinstance(attributes, dict)
            assert attributes["method"] == record["method"].encode()
            wanted = {key: as_java(value) for key, value in record["attributes"].items()}
            assert attributes.items() >= wanted.items(), record["name"]
