"""Golden Dubbo frames: their bytes, and a provider that answers with them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import socket
import socketserver
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "dubbo" / "frames.jsonl"
HEADER_BYTES = 16
FLAGS, STATUS, ID = 2, 3, slice(4, 12)
TWO_WAY, EVENT = 0x40, 0x20
OK = 20


@functools.cache
def records() -> dict[str, dict[str, Any]]:
    """The golden frames by their names."""
    lines = GOLDEN.read_text().splitlines()
    return {record["name"]: record for record in map(json.loads, lines)}


def golden(name: str) -> bytes:
    return bytes.fromhex(records()[name]["hex"])


def with_id(frame: bytes, number: int) -> bytes:
    return frame[:4] + number.to_bytes(8, "big") + frame[12:]


def id_of(frame: bytes) -> int:
    return int.from_bytes(frame[ID], "big")


def read_frame(sock: socket.socket) -> bytes:
    """The next frame; empty where the peer has closed."""
    frame = b""
    want = HEADER_BYTES
    while len(frame) < want:
        more = sock.recv(want - len(frame))
        if not more:
            return b""
        frame += more
        if len(frame) == HEADER_BYTES:
            want += int.from_bytes(frame[12:16], "big")
    return frame


class Provider(socketserver.ThreadingTCPServer):
    """Answers the calls with the replies in turn; keeps what came, byte for byte."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, replies: Sequence[bytes]) -> None:
        self.seen: list[bytes] = []
        self.replies = itertools.cycle(replies)
        super().__init__(("127.0.0.1", port), _Calls)


class _Calls(socketserver.BaseRequestHandler):
    server: Provider

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while frame := read_frame(self.request):
                self.server.seen.append(frame)
                if frame[FLAGS] & TWO_WAY:
                    self.request.sendall(with_id(next(self.server.replies), id_of(frame)))


@contextlib.contextmanager
def provider(port: int, *replies: bytes) -> Iterator[Provider]:
    server = Provider(port, replies)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
