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
from typing import Any

import apache
import httpx
import pytest
import thrift_mesh
from mesh import Mesh, eventually
from thrift.Thrift import TMessageType
from thrift.transport.TTransport import TMemoryBuffer

VARIANTS = [name for name in thrift_mesh.PORTS if name.startswith("apache-")]
SIDECAR = "hello-client-0.hello sidecar"
# Each in flight at once is a thread of the server.
PIPELINED = 200
IDS: dict[str, Callable[[int], int]] = {
    "each its own": lambda i: i + 1,
    "all the same": lambda _: 7,
    "zero": lambda _: 0,
    "negative": lambda i: -1 - i % 3,
    "the largest": lambda i: 2**31 - 1 - i,
}


class Raw:
    """A connection to the client's sidecar that sends bytes, and reads replies."""

    def __init__(self, mesh: Mesh, port_name: str, timeout_s: float = 10) -> None:
        protocol, transport = apache.VARIANTS[port_name.removeprefix("apache-")]
        host = mesh.environment(thrift_mesh.CLIENT)["HELLO_SERVER_SERVICE_HOST"]
        port = thrift_mesh.PORTS[port_name]
        self.client = apache.Client(port_name.removeprefix("apache-"), host, port, timeout_s)
        self.socket: socket.socket = self.client.socket.handle
        self.make = protocol, transport

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def encode(
        self,
        method: str,
        sequence: int,
        struct: Callable[[Any], None],
        kind: int = TMessageType.CALL,
    ) -> bytes:
        """A message as Apache's library writes it."""
        protocol, transport = self.make
        memory = TMemoryBuffer()
        writer = protocol().getProtocol(transport().getTransport(memory) if transport else memory)
        apache.write(writer, method, kind, sequence, struct)
        found: bytes = memory.getvalue()
        return found

    def hello(self, sequence: int, name: str) -> bytes:
        return self.encode("sayHello", sequence, apache.string_field(1, name))

    def reply(self) -> tuple[str, int, str]:
        """Method, id and text of the next reply."""
        name, kind, sequence = self.client.protocol.readMessageBegin()
        fields = apache.read_struct(self.client.protocol)
        self.client.protocol.readMessageEnd()
        assert kind == TMessageType.REPLY, fields
        return name, sequence, fields[0]

    def answers(self, sequence: int, name: str) -> None:
        """The next reply is the one to `hello(sequence, name)`."""
        method, answered, text = self.reply()
        assert (method, answered) == ("sayHello", sequence)
        assert text.startswith(f"Hello {name}, response from ")

    def ended(self) -> bool:
        return self.socket.recv(1) == b""


@pytest.mark.parametrize("port_name", VARIANTS)
def test_a_request_that_is_cut_at_any_byte_is_answered(hello: Mesh, port_name: str) -> None:
    with Raw(hello, port_name) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in range(1, len(raw.hello(1, "cut-000"))):
            message = raw.hello(cut, f"cut-{cut:03d}")
            raw.socket.sendall(message[:cut])
            time.sleep(0.001)
            raw.socket.sendall(message[cut:])
            raw.answers(cut, f"cut-{cut:03d}")


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("port_name", VARIANTS)
def test_what_is_pipelined_in_one_write_is_answered_in_order_under_its_own_ids(
    hello: Mesh, port_name: str, ids: str
) -> None:
    with Raw(hello, port_name) as raw:
        wanted = [(IDS[ids](i), f"{ids}-{i}") for i in range(PIPELINED)]
        raw.socket.sendall(b"".join(raw.hello(sequence, name) for sequence, name in wanted))
        for sequence, name in wanted:
            raw.answers(sequence, name)


@pytest.mark.parametrize("port_name", VARIANTS)
def test_a_half_closed_caller_gets_all_its_answers_and_then_the_end(
    hello: Mesh, port_name: str
) -> None:
    with Raw(hello, port_name) as raw:
        whole = b"".join(raw.hello(i, f"n{i}") for i in range(5))
        raw.socket.sendall(whole + raw.hello(5, "never complete")[:-3])
        raw.socket.shutdown(socket.SHUT_WR)
        for i in range(5):
            raw.answers(i, f"n{i}")
        assert raw.ended()


def test_oneway_calls_arrive_though_their_caller_closes_at_once(hello: Mesh) -> None:
    mark = f"left-{time.monotonic_ns()}"
    for i in range(10):
        with Raw(hello, "apache-framed-binary") as raw:
            note = apache.string_field(1, f"{mark}-{i} " + "n" * (50_000 if i % 2 else 10))
            raw.socket.sendall(raw.encode("note", 0, note, TMessageType.ONEWAY))
    notes = hello.directory.parent / "notes"
    eventually(lambda: notes.read_text().count(mark) == 10)


def test_a_caller_that_resets_in_the_middle_disturbs_nobody(hello: Mesh) -> None:
    with Raw(hello, "apache-framed-binary") as other:
        for i in range(40):
            with Raw(hello, "apache-framed-binary") as raw:
                message = raw.hello(i, "reset")
                raw.socket.sendall(message * 2 + message[: i % len(message)])
                raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            other.socket.sendall(other.hello(i, f"other-{i}"))
            other.answers(i, f"other-{i}")


def test_large_and_small_requests_of_one_connection_do_not_mix(hello: Mesh) -> None:
    with Raw(hello, "apache-unframed-compact", 20) as raw:
        sizes = [300_000 if i % 7 == 0 else 70_000 if i % 5 == 0 else 10 for i in range(40)]
        names = [f"{i}-" + "y" * size for i, size in enumerate(sizes)]
        data = b"".join(raw.hello(1 + i % 4, name) for i, name in enumerate(names))
        writer = threading.Thread(target=raw.socket.sendall, args=(data,))
        writer.start()
        for i, name in enumerate(names):
            raw.answers(1 + i % 4, name)
        writer.join()


def test_a_caller_that_never_reads_costs_bounded_memory_and_nobody_elses_time(
    hello: Mesh,
) -> None:
    before = resident_kib(sidecar(hello))
    with (
        Raw(hello, "apache-framed-binary", 0.5) as deaf,
        Raw(hello, "apache-framed-binary") as other,
    ):
        message = deaf.hello(1, "x" * 20_000)
        sent = 0
        with pytest.raises(TimeoutError):  # back-pressure reaches the writer
            while sent < 256 << 20:
                sent += deaf.socket.send(message)
        slowest = 0.0
        for i in range(100):
            began = time.monotonic()
            other.socket.sendall(other.hello(i, f"other-{i}"))
            other.answers(i, f"other-{i}")
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1
    assert resident_kib(sidecar(hello)) - before < 96 << 10


def test_a_sidecar_that_stood_still_loses_nothing(hello: Mesh) -> None:
    with Raw(hello, "apache-framed-binary") as raw:
        pid = sidecar(hello)
        os.kill(pid, signal.SIGSTOP)
        try:
            raw.socket.sendall(b"".join(raw.hello(i, f"s{i}") for i in range(20)))
            time.sleep(0.2)
        finally:
            os.kill(pid, signal.SIGCONT)
        for i in range(20):
            raw.answers(i, f"s{i}")


def test_every_request_is_counted_once_by_both_sides_and_logged_as_one_line(hello: Mesh) -> None:
    """However its method is called: names from the wire are escaped."""
    mark = f"odd{time.monotonic_ns()}"
    names = [
        f"{mark}{odd}" for odd in ("", "\n[x] line", '"q"\\', "%REQ(method)%", "\x1b[31m", "é")
    ]
    settled(hello)
    before, lines = counted(hello), access_lines(hello)
    for name in names:
        with Raw(hello, "apache-framed-binary") as raw:
            raw.socket.sendall(raw.encode(name, 3, apache.string_field(1, "x")))
            answered, kind, sequence = raw.client.protocol.readMessageBegin()
            assert (answered, kind, sequence) == (name, TMessageType.EXCEPTION, 3)
    eventually(lambda: len(access_lines(hello)) - len(lines) >= len(names))
    settled(hello)
    after = counted(hello)
    assert {side: after[side] - before[side] for side in after} == {
        "source": len(names),
        "destination": len(names),
    }
    new = access_lines(hello)[len(lines) :]
    assert [line for line in new if mark not in line] == []
    assert all("\x1b" not in line for line in new)


def test_requests_are_those_answered_failed_and_given_up(hello: Mesh) -> None:
    """Over all that this mesh has served, whatever came before."""
    with Raw(hello, "apache-framed-binary") as raw:
        raw.socket.sendall(raw.hello(1, "a"))
        raw.answers(1, "a")
    settled(hello)
    for address in addresses(hello):
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
        thrift_mesh.CLIENT,
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
