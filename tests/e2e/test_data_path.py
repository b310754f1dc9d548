"""Raw bytes against the sidecars of a mesh: cut, pipelined, half-closed, with odd ids and names."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import hello_mesh
import httpx
import pytest
from hello_mesh import route, router
from mesh import Mesh, eventually
from protocols import NO_SUCH_METHOD, Connection, Wire

SIDECAR = "hello-client-0.hello sidecar"
# Each in flight at once is a thread of the server.
PIPELINED = 200
IDS: dict[str, Callable[[int, int], int]] = {
    "each its own": lambda i, _: i + 1,
    "all the same": lambda _, __: 7,
    "zero": lambda _, __: 0,
    "negative": lambda i, _: -1 - i % 3,
    "the largest": lambda i, largest: largest - i,
}
LOGGED = re.compile(r'\[\d{4}-\d\d-\d\dT[\d:.]+Z\] (?:thrift|dubbo) "([^"\\]|\\.)*" \d .*')
"""A whole line of the access log."""


def asks(connection: Connection, number: int, name: str) -> bytes:
    return connection.encode("sayHello", number, name)


def is_answered(connection: Connection, number: int, name: str) -> None:
    """The next reply is the one to `asks(number, name)`."""
    answer = connection.read()
    assert (answer.id, answer.code, answer.refused) == (number, None, False)
    assert answer.text.startswith(f"Hello {name}, response from ")


def are_answered(connection: Connection, wire: Wire, wanted: Sequence[tuple[int, str]]) -> None:
    """In the order of the requests; where a protocol does not promise that, those of one id are."""
    if wire.in_order:
        for number, name in wanted:
            is_answered(connection, number, name)
        return
    left: dict[int, list[str]] = {}
    for number, name in wanted:
        left.setdefault(number, []).append(name)
    for _ in wanted:
        answer = connection.read()
        name = left[answer.id].pop(0)
        assert answer.text.startswith(f"Hello {name}, response from ")


def test_a_request_that_is_cut_at_any_byte_is_answered(hello: Mesh, wire: Wire) -> None:
    with wire.connect(hello) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in range(1, len(asks(raw, 1, "cut-000"))):
            message = asks(raw, cut, f"cut-{cut:03d}")
            raw.socket.sendall(message[:cut])
            time.sleep(0.001)
            raw.socket.sendall(message[cut:])
            is_answered(raw, cut, f"cut-{cut:03d}")


@pytest.mark.parametrize("ids", IDS)
def test_what_is_pipelined_in_one_write_is_answered_under_its_own_ids(
    hello: Mesh, wire: Wire, ids: str
) -> None:
    with wire.connect(hello) as raw:
        wanted = [(IDS[ids](i, wire.largest_id), f"{ids}-{i}") for i in range(PIPELINED)]
        raw.socket.sendall(b"".join(asks(raw, number, name) for number, name in wanted))
        are_answered(raw, wire, wanted)


def test_a_half_closed_caller_gets_all_its_answers_and_then_the_end(
    hello: Mesh, wire: Wire
) -> None:
    with wire.connect(hello) as raw:
        whole = b"".join(asks(raw, i, f"n{i}") for i in range(5))
        raw.socket.sendall(whole + asks(raw, 5, "never complete")[:-3])
        raw.socket.shutdown(socket.SHUT_WR)
        are_answered(raw, wire, [(i, f"n{i}") for i in range(5)])
        assert raw.has_ended()


def test_oneway_calls_arrive_though_their_caller_closes_at_once(hello: Mesh, mode: Wire) -> None:
    mark = f"left-{time.monotonic_ns()}"
    for i in range(10):
        with mode.connect(hello) as raw:
            raw.note(f"{mark}-{i} " + "n" * (50_000 if i % 2 else 10))
    notes = hello.directory.parent / "notes"
    eventually(lambda: notes.read_text().count(mark) == 10)


def test_a_caller_that_resets_in_the_middle_disturbs_nobody(hello: Mesh, mode: Wire) -> None:
    with mode.connect(hello) as other:
        for i in range(40):
            with mode.connect(hello) as raw:
                message = asks(raw, i, "reset")
                raw.socket.sendall(message * 2 + message[: i % len(message)])
                raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            other.hello(f"other-{i}")


def test_large_and_small_requests_of_one_connection_do_not_mix(hello: Mesh, wire: Wire) -> None:
    with wire.connect(hello, 20) as raw:
        sizes = [300_000 if i % 7 == 0 else 70_000 if i % 5 == 0 else 10 for i in range(40)]
        wanted = [(1 + i % 4, f"{i}-" + "y" * size) for i, size in enumerate(sizes)]
        data = b"".join(asks(raw, number, name) for number, name in wanted)
        writer = threading.Thread(target=raw.socket.sendall, args=(data,))
        writer.start()
        are_answered(raw, wire, wanted)
        writer.join()


def test_a_caller_that_never_reads_costs_bounded_memory_and_nobody_elses_time(
    hello: Mesh, mode: Wire
) -> None:
    before = resident_kib(sidecar(hello))
    with mode.connect(hello, 0.5) as deaf, mode.connect(hello) as other:
        message = asks(deaf, 1, "x" * 20_000)
        sent = 0
        with pytest.raises(TimeoutError):  # back-pressure reaches the writer
            while sent < 256 << 20:
                sent += deaf.socket.send(message)
        slowest = 0.0
        for i in range(100):
            began = time.monotonic()
            other.hello(f"other-{i}")
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1
    assert resident_kib(sidecar(hello)) - before < 96 << 10


def test_a_sidecar_that_stood_still_loses_nothing(hello: Mesh, mode: Wire) -> None:
    with mode.connect(hello) as raw:
        pid = sidecar(hello)
        os.kill(pid, signal.SIGSTOP)
        try:
            raw.socket.sendall(b"".join(asks(raw, i, f"s{i}") for i in range(20)))
            time.sleep(0.2)
        finally:
            os.kill(pid, signal.SIGCONT)
        are_answered(raw, mode, [(i, f"s{i}") for i in range(20)])


def test_every_request_is_counted_once_by_both_sides_and_logged_as_one_line(
    hello: Mesh, protocol: Wire
) -> None:
    """However its method is called: names from the wire are escaped."""
    mark = f"odd{time.monotonic_ns()}"
    names = [
        f"{mark}{odd}" for odd in ("", "\n[x] line", '"q"\\', "%REQ(method)%", "\x1b[31m", "é")
    ]
    settled(hello)
    before = counted(hello)
    for name in names:
        with protocol.connect(hello) as raw:
            raw.socket.sendall(raw.encode(name, 3, "x"))
            answer = raw.read()
            assert (answer.id, answer.code) == (3, protocol.errors[NO_SUCH_METHOD])
    eventually(lambda: sum(mark in line for line in access_lines(hello)) >= len(names))
    settled(hello)
    after = counted(hello)
    assert {side: after[side] - before[side] for side in after} == {
        "source": len(names),
        "destination": len(names),
    }
    lines = access_lines(hello)
    assert sum(mark in line for line in lines) == len(names)
    assert [line for line in lines if not LOGGED.fullmatch(line)] == []
    assert all("\x1b" not in line for line in lines)


def test_requests_are_those_answered_failed_and_given_up(
    clean: Mesh, connection: Connection
) -> None:
    """Over all that this mesh has served, and a oneway call that goes nowhere."""
    clean.apply(
        router(route("lost", {"v3": 100}, {"method": {"exact": "note"}}), route("rest", {"": 0}))
    )
    connection.note("lost")
    for _ in range(4):
        connection.hello("a")
    settled(clean)
    for address in addresses(clean):
        found = protocol_counters(address)
        ended = ("response", "local_response_error", "request_canceled", "request_oneway")
        assert found["request"] > 0
        assert found["request"] == sum(found[name] for name in ended)


def sidecar(mesh: Mesh) -> int:
    """The process of the client's sidecar."""
    pid = mesh.processes()[SIDECAR]["pid"]
    assert isinstance(pid, int)
    return pid


def resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


def addresses(mesh: Mesh) -> list[str]:
    """Of the client's sidecar, then of those of the servers."""
    names: Sequence[str] = (
        hello_mesh.CLIENT,
        "hello-server-v1.hello",
        "hello-server-v2.hello",
    )
    workloads = mesh.workloads()
    return [workloads[name]["instances"][0]["address"] for name in names]


def protocol_counters(address: str) -> dict[str, int]:
    """Of all listeners together, by the last word of their names."""
    found: dict[str, int] = {}
    for line in httpx.get(f"http://{address}:15000/stats", timeout=5).text.splitlines():
        name, _, value = line.rpartition(": ")
        if name.startswith("meta_protocol."):
            word = name.rpartition(".")[2]
            found[word] = found.get(word, 0) + int(value)
    return found


def settled(mesh: Mesh) -> None:
    """Waits until nothing is in flight."""
    eventually(
        lambda: all(protocol_counters(a)["request_active"] == 0 for a in addresses(mesh)), 20
    )


def counted(mesh: Mesh) -> dict[str, int]:
    """`istio_requests_total` by reporter, of all sidecars."""
    found = {"source": 0, "destination": 0}
    for address in addresses(mesh):
        page = httpx.get(f"http://{address}:15000/stats/prometheus", timeout=5).text
        for side, value in re.findall(
            r'^istio_requests_total\{reporter="(\w+)".*\} (\d+)$', page, re.MULTILINE
        ):
            found[side] += int(value)
    return found


def access_lines(mesh: Mesh) -> list[str]:
    """Lines of the access log of the client's sidecar."""
    text = mesh.log("hello-client-0.hello.sidecar")
    return [line for line in text.splitlines() if line.startswith("[")]
