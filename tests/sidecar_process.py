"""A real sidecar as a subprocess, a backend for its calls, and a client of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from control_plane_process import HOST, Running

CALL, REPLY = 1, 2


@dataclass
class Sidecar:
    """A sidecar that runs."""

    node_id: str
    address: str
    log: Path
    process: subprocess.Popen[Any] = field(repr=False)

    def ask(self, path: str, method: str = "GET", **call: Any) -> httpx.Response:
        return httpx.request(method, f"http://{self.address}:15000{path}", timeout=5, **call)

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.ask("/ready").status_code == 200
        return False

    def until(self, holds: Callable[[], object], within_s: float = 10) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)


@contextlib.contextmanager
def sidecar(
    control_plane: Running,
    node_id: str,
    *options: str,
    token: str | None = None,
    ready: bool = True,
) -> Iterator[Sidecar]:
    """Runs the sidecar of a node; with its right token where none is given."""
    environment = {**os.environ, "MELTEMI_XDS_TOKEN": token or control_plane.token(node_id)}
    log = control_plane.directory.parent / f"{node_id.split('~')[2]}.sidecar.log"
    arguments = ["--xds", control_plane.xds, "--node", node_id, *options]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "meltemi", "sidecar", *arguments],
            stdout=output,
            stderr=output,
            env=environment,
        )
    started = Sidecar(node_id, node_id.split("~")[1], log, process)
    try:
        if ready:
            started.until(started.is_ready)
        yield started
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(15)
    assert "Traceback" not in log.read_text(), log.read_text()


class Backend:
    """Answers framed binary Thrift calls with its own name, when `go` is set."""

    def __init__(self, address: str, name: str) -> None:
        self.name = name.encode()
        self.go = threading.Event()
        self.go.set()
        self.calls = 0
        self._listener = socket.create_server((address, 9090))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Closing alone leaves it to the thread that waits in accept(): the port would stay taken.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, EOFError):
            while True:
                _, name, ordinal, _ = read_message(connection)
                self.calls += 1
                self.go.wait(30)
                connection.sendall(message(REPLY, name, ordinal, self.name))


@contextlib.contextmanager
def backend(control_plane: Running, ordinal: int = 0) -> Iterator[Backend]:
    """In the place of a replica of `echo-v1` and its sidecar."""
    instance = control_plane.workloads()["echo-v1"]["instances"][ordinal]
    started = Backend(instance["address"], instance["pod"])
    try:
        yield started
    finally:
        started.close()


@contextlib.contextmanager
def connected(control_plane: Running) -> Iterator[socket.socket]:
    """The caller's connection to its sidecar's listener for the service."""
    instance = control_plane.workloads()["caller"]["instances"][0]
    address = dict(instance["service_addresses"])[HOST]
    with socket.create_connection((address, 9090), timeout=10) as connection:
        yield connection


def call(connection: socket.socket, ordinal: int = 1, method: bytes = b"sayHello") -> str:
    """Who answers."""
    connection.sendall(message(CALL, method, ordinal, b"x"))
    return answer(connection, ordinal)


def answer(connection: socket.socket, ordinal: int) -> str:
    kind, _, answered, text = read_message(connection)
    assert (kind, answered) == (REPLY, ordinal), text
    return text.decode()


def message(kind: int, name: bytes, ordinal: int, text: bytes) -> bytes:
    """A framed message of the strict binary protocol with one string field (id 0)."""
    head = struct.pack(">HBBi", 0x8001, 0, kind, len(name)) + name + struct.pack(">i", ordinal)
    body = struct.pack(">bhi", 11, 0, len(text)) + text + b"\0"
    return struct.pack(">i", len(head + body)) + head + body


def read_message(connection: socket.socket) -> tuple[int, bytes, int, bytes]:
    """(kind, name, ordinal, first string). Raises EOFError."""
    frame = _exactly(connection, struct.unpack(">i", _exactly(connection, 4))[0])
    _, _, kind, size = struct.unpack_from(">HBBi", frame)
    name = frame[8 : 8 + size]
    (ordinal,) = struct.unpack_from(">i", frame, 8 + size)
    (length,) = struct.unpack_from(">i", frame, 8 + size + 7)
    start = 8 + size + 11
    return kind, name, ordinal, frame[start : start + length]


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data
