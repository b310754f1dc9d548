"""The load generator sees what is wrong: each kind of bad reply, from a server that gives them."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import backend

pytestmark = pytest.mark.load

FORMATS = [
    f"{transport}-{encoding}"
    for transport in ("framed", "unframed", "header", "ttheader")
    for encoding in ("binary", "compact")
]
PROTOCOLS = [*(("thrift", format_) for format_ in FORMATS), ("dubbo", "hessian2")]


def run(tools: Path, port: int, *options: object) -> tuple[int, dict[str, Any]]:
    command = [str(tools / "meltemi-load"), f"127.0.0.1:{port}", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


@pytest.mark.parametrize(("protocol", "format_"), PROTOCOLS)
def test_every_reply_is_verified_in_every_format(
    protocol: str, format_: str, tools: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    with backend(tools, port, 1, "-P", protocol) as served:
        options = [
            "-P",
            protocol,
            "-f",
            format_,
            "-c",
            3,
            "-d",
            7,
            "-n",
            2000,
            "-s",
            3000,
            "-M",
            5,
            "-t",
            9,
        ]
        code, result = run(tools, port, *options)
    assert (code, result["answers"], result["errors"]) == (0, 2000, {})
    assert result["backends"] == {str(port): 2000}
    assert served.calls == {port: 2000}


def right(requests: list[bytes]) -> list[bytes]:
    return [reply(request) for request in requests]


def crossed(requests: list[bytes]) -> list[bytes]:
    """The texts of the first two are swapped; their ids are right."""
    first, second, *rest = requests
    texts = argument(second), argument(first)
    swapped = [reply(first, text=texts[0]), reply(second, text=texts[1])]
    return [*swapped, *right(rest)]


def corrupt(requests: list[bytes]) -> list[bytes]:
    text = argument(requests[0])
    return [reply(requests[0], text=text[:-1] + b"?"), *right(requests[1:])]


def twice(requests: list[bytes]) -> list[bytes]:
    return [reply(requests[0]), *right(requests)]


def missing(requests: list[bytes]) -> list[bytes]:
    return right(requests[1:])


def other_method(requests: list[bytes]) -> list[bytes]:
    return [reply(requests[0]).replace(b"sayHello", b"sayHallo"), *right(requests[1:])]


def refused(requests: list[bytes]) -> list[bytes]:
    return [reply(requests[0], exception=b"no, thank you"), *right(requests[1:])]


def garbage(_: list[bytes]) -> list[bytes]:
    return [b"HTTP/1.1 400 Bad Request\r\n\r\n"]


def closed(requests: list[bytes]) -> list[bytes]:
    return [*right(requests[1:]), b""]


@pytest.mark.parametrize(
    ("answer", "errors"),
    [
        (crossed, {"another_requests_reply": 2}),
        (corrupt, {"corrupt_reply": 1}),
        (twice, {"unknown_id": 1}),
        (missing, {"no_reply": 1}),
        (other_method, {"broken_reply": 1}),
        (refused, {"exception": 1}),
        (garbage, {"undecodable": 1, "connection_lost": 4}),
        (closed, {"connection_lost": 1}),
    ],
)
def test_each_kind_of_bad_reply_is_named_and_fails_the_run(
    answer: Callable[[list[bytes]], list[bytes]],
    errors: dict[str, int],
    tools: Path,
    free_port: Callable[[], int],
) -> None:
    port = free_port()
    with serving(port, answer):
        code, result = run(tools, port, "-d", 4, "-n", 4, "-t", 0.3, "-w", 0, "-g", 0.5)
    assert (code, result["errors"]) == (3, errors)
    assert result["first_error"].partition(":")[0] in errors


def test_an_exception_that_is_expected_is_counted_with_its_message(
    tools: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    with serving(port, refused):
        options = ["-d", 4, "-n", 4, "-t", 0.3, "-w", 0, "--expect-errors"]
        code, result = run(tools, port, *options)
    assert (code, result["answers"], result["exceptions"]) == (0, 3, 1)
    assert result["exception_messages"] == {"no, thank you": 1}


def test_a_stall_counts_for_every_request_that_was_due_meanwhile(
    tools: Path, free_port: Callable[[], int]
) -> None:
    """Two closed-loop requests would see it; at 100 a second over 1 s, 40 of them have to."""
    port = free_port()
    stalled = threading.Event()

    def stall_once(requests: list[bytes]) -> list[bytes]:
        if not stalled.is_set():
            stalled.set()
            time.sleep(0.4)
        return right(requests)

    with serving(port, stall_once):
        code, result = run(tools, port, "-r", 100, "-t", 1, "-w", 0)
    assert code == 0
    assert result["answers"] == pytest.approx(100, abs=5)
    assert result["max_us"] > 380_000
    assert result["p90_us"] > 250_000  # due in the first quarter of the stall


def test_the_rate_of_the_open_loop_is_kept(tools: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    with backend(tools, port):
        code, result = run(tools, port, "-c", 8, "-r", 2000, "-t", 2, "-w", 0.2)
    assert code == 0
    assert result["rps"] == pytest.approx(2000, rel=0.05)


def test_nothing_to_connect_to_is_wrong_usage(tools: Path, free_port: Callable[[], int]) -> None:
    for words in ([f"127.0.0.1:{free_port()}"], ["-c", "0", "127.0.0.1:1"], ["--no-such"], []):
        command = [str(tools / "meltemi-load"), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("meltemi-load: ")
        assert done.stderr.count("\n") == 1


@contextlib.contextmanager
def serving(port: int, answer: Callable[[list[bytes]], list[bytes]]) -> Iterator[None]:
    """A server of one connection: gives all frames that are there to `answer` and sends what it
    returns; an empty answer closes the connection."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=_serve, args=(listening, answer))
        thread.start()
        try:
            yield
        finally:
            thread.join(10)


def _serve(listening: socket.socket, answer: Callable[[list[bytes]], list[bytes]]) -> None:
    connection, _ = listening.accept()
    with connection:
        data = b""
        while piece := connection.recv(65536):
            data += piece
            requests, data = _frames(data)
            if not requests:
                continue
            for one in answer(requests):
                if not one:
                    return
                connection.sendall(one)


def _frames(data: bytes) -> tuple[list[bytes], bytes]:
    frames = []
    while len(data) >= 4:
        length = 4 + struct.unpack_from("!i", data)[0]
        if len(data) < length:
            break
        frames.append(data[:length])
        data = data[length:]
    return frames, data


ARGUMENT_AT = 4 + 4 + 4 + len("sayHello") + 4 + 3 + 4
"""Length, version, name, id, field, length of the string."""


def argument(request: bytes) -> bytes:
    return request[ARGUMENT_AT:-1]


def reply(request: bytes, *, text: bytes | None = None, exception: bytes | None = None) -> bytes:
    """Framed binary."""
    id_ = request[20:24]
    if exception is None:
        kind, field, body = 2, 0, argument(request) if text is None else text
    else:
        kind, field, body = 3, 1, exception
    message = struct.pack("!HBBi", 0x8001, 0, kind, 8) + b"sayHello" + id_
    message += struct.pack("!bhi", 11, field, len(body)) + body + b"\0"
    return struct.pack("!i", len(message)) + message
