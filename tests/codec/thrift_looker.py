"""Asks the Rust codec what it sees in bytes, and Apache thrift where a message ends.

The codec runs as a process of its own (crates/codec/examples/thrift_messages.rs): a line in, a
line out.
"""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
from pathlib import Path
from typing import Any

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TType
from thrift.transport.TTransport import TMemoryBuffer

ROOT = Path(__file__).resolve().parents[2]
BUILD = ["cargo", "build", "--quiet", "--locked", "--message-format=json-render-diagnostics"]
GOLDEN = ROOT / "tests" / "golden" / "messages.jsonl"


class Looker:
    """The running example program."""

    def __init__(self) -> None:
        built = subprocess.run(
            [*BUILD, "-p", "meltemi-codec", "--example", "thrift_messages"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        artifacts = (json.loads(line) for line in built.stdout.splitlines())
        program = next(a["executable"] for a in artifacts if a.get("executable"))
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, data: bytes, direction: str = "request") -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{direction} {data.hex()}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert answer["given"] == len(data)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@functools.cache
def looker() -> Looker:
    """The one program of this test run; ends with it."""
    started = Looker()
    atexit.register(started.close)
    return started


class Binary(TBinaryProtocol):  # type: ignore[misc]
    """Apache's reader, which does not mind text that is not UTF-8 (as its C++ and Java do not)."""

    def readString(self) -> bytes:
        data: bytes = self.readBinary()
        return data


class Compact(TCompactProtocol):  # type: ignore[misc]
    """The same for the compact protocol."""

    def readString(self) -> bytes:
        data: bytes = self.readBinary()
        return data


def apache_end(data: bytes) -> int:
    """Where Apache's reader finds the end of the unframed message that `data` starts with.

    Raises what Apache raises: EOFError where it wants more bytes.
    """
    memory = TMemoryBuffer(data)
    protocol = (Compact if data[:1] == b"\x82" else Binary)(memory)
    protocol.readMessageBegin()
    protocol.skip(TType.STRUCT)
    protocol.readMessageEnd()
    end: int = memory.cstringio_buf.tell()
    return end


def golden() -> list[dict[str, Any]]:
    """The messages that other implementations wrote."""
    return [json.loads(line) for line in GOLDEN.read_text().splitlines()]
