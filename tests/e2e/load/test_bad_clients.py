"""Clients that are slow, deaf or talk nonsense: the others notice nothing, memory stays bounded."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dubbo_wire
import pytest
from engines import Mode, backend, engine, load
from runner import resources

pytestmark = pytest.mark.load

BUFFER = 1 << 20
DEAF = 20
ATTEMPTS = 3
"""Other load on the machine only adds latency; an engine that stalls does so each time."""
LOAD = ("-c", 16, "-r", 1000, "-t", 2)
SECONDS = 3
"""What a bad client does goes on beyond the load."""
MIB_EACH = 6
"""Resident memory that a deaf client may take: its buffer limit, and as much on the way to it."""


@contextlib.contextmanager
def slow(port: int, frame: bytes) -> Iterator[Callable[[], int]]:
    """100 clients that send one byte of a request a second."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]

    def send() -> int:
        sent = 0
        for place in range(SECONDS):
            for one in sockets:
                sent += one.send(frame[place : place + 1])
            time.sleep(1)
        return sent

    with contextlib.ExitStack() as stack:
        for one in sockets:
            stack.enter_context(one)
        with meanwhile(send) as count:
            yield count


@contextlib.contextmanager
def deaf(port: int, frame: bytes) -> Iterator[Callable[[], int]]:
    """Clients that send as many requests of 32 KiB as are taken, and never read a reply."""

    def send() -> int:
        end, taken = time.monotonic() + SECONDS, 0
        with contextlib.ExitStack() as stack:
            sockets = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                for _ in range(DEAF)
            ]
            rest = dict.fromkeys(sockets, b"")
            for one in sockets:
                one.setblocking(False)
            while time.monotonic() < end:
                for one in sockets:
                    with contextlib.suppress(BlockingIOError, ConnectionError):
                        rest[one] = rest[one] or frame
                        sent = one.send(rest[one])
                        rest[one] = rest[one][sent:]
                        taken += sent
                time.sleep(0.01)
        return taken

    with meanwhile(send) as count:
        yield count


@contextlib.contextmanager
def nonsense(port: int, _: bytes) -> Iterator[Callable[[], int]]:
    """100 clients a second that send what is no frame, and wait until they are thrown out."""
    chance = random.Random(1)

    def send() -> int:
        end, closed = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            with socket.create_connection(("127.0.0.1", port)) as one:
                one.settimeout(2)
                # The first bit is set: no length of a frame, no message of any protocol.
                one.send(b"\xff" + chance.randbytes(chance.randrange(40, 400)))
                with contextlib.suppress(ConnectionError):
                    assert one.recv(100) == b""
                closed += 1
            time.sleep(0.01)
        return closed

    with meanwhile(send) as count:
        yield count


BAD: dict[str, Any] = {"slow": slow, "deaf": deaf, "nonsense": nonsense}
LEAST = {"slow": 100 * SECONDS, "deaf": 2 * DEAF * BUFFER, "nonsense": 60}
"""Bytes sent, bytes taken, connections: less would have been no trouble for anybody."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(BAD))
def test_others_keep_their_latency_beside_bad_clients(
    kind: str, mode: Mode, tools: Path, free_port: Callable[[], int]
) -> None:
    limits = {"max_connection_buffer_bytes": BUFFER}
    frame = FRAMES[mode.protocol](b"x" * (32 << 10))
    with backend(tools, free_port(), mode=mode) as served, engine(limits=limits) as running:
        port = free_port()
        running.serve(port, {"one": served.ports}, [resources.route("all", {"one": 1})], mode)
        before = running.resident_mib()
        measured = []
        for _ in range(ATTEMPTS):
            alone = load(tools, port, *mode.words, *LOAD).result()
            with BAD[kind](port, frame) as did:
                beside = load(tools, port, *mode.words, *LOAD).result()
                after = running.resident_mib()
                assert did() >= LEAST[kind]
            assert after - before < DEAF * MIB_EACH
            measured.append((alone, beside))
            if is_unnoticed(alone, beside):
                break

    latencies = [{k: run[k] for k in ("p50_us", "p99_us", "p999_us")} for run in measured[-1]]
    assert is_unnoticed(*measured[-1]), latencies


def is_unnoticed(alone: dict[str, Any], beside: dict[str, Any]) -> bool:
    """A stall of the loop would be of the order of the bad client's own pace: 10 ms to 1 s."""
    return bool(
        beside["requests"] >= alone["requests"] * 0.99
        and beside["p99_us"] < 1.5 * alone["p99_us"] + 4000
        and beside["p999_us"] < 2 * alone["p999_us"] + 10_000
    )


@contextlib.contextmanager
def meanwhile(work: Callable[[], int]) -> Iterator[Callable[[], int]]:
    """Does the work in a thread; what is yielded waits for it and gives its outcome."""
    outcome: list[int] = []
    thread = threading.Thread(target=lambda: outcome.append(work()))
    thread.start()

    def count() -> int:
        thread.join(30)
        assert outcome, "the bad client itself failed"
        return outcome[0]

    try:
        yield count
    finally:
        thread.join(30)


def thrift(argument: bytes) -> bytes:
    """A framed binary call of sayHello."""
    body = struct.pack("!HBBi8si", 0x8001, 0, 1, 8, b"sayHello", 1)
    body += struct.pack("!bhi", 11, 1, len(argument)) + argument + b"\0"
    return struct.pack("!i", len(body)) + body


def dubbo(argument: bytes) -> bytes:
    request = dubbo_wire.Request("bench.Echo", "sayHello", (argument.decode(),), id=1)
    return dubbo_wire.encode_request(request)


FRAMES: dict[str, Callable[[bytes], bytes]] = {"thrift": thrift, "dubbo": dubbo}
