"""Route tables of 10,000 routes put in force while requests pass (G13).

Effective is a table once a call of a method that only it knows is answered. Ours arrives as the
control plane's bytes in the process of the engine, Envoy's as a file that it watches (TRDS), both
serialized before the clock starts."""

from __future__ import annotations

import itertools
import socket
import struct
import subprocess
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner import envoy, targets
from runner.machine import cores, free_ports
from runner.measurements import steered
from runner.measurements.finding import Finding, Lab, Pairs
from runner.points import MANY_ROUTES
from runner.processes import Processes, StartError
from runner.rows import Target

SWAPS: Final = 5
"""Of one round; the median counts."""
SWAPS_UNDER_LOAD: Final = 30
CONNECTIONS: Final = 16
RATE: Final = 5000
"""Requests a second during swaps: what a busy sidecar has, on a machine that is not full."""
PAUSE_S: Final = 0.1
PATIENCE_S: Final = 20.0
ROUNDS: Final = 3


def measure(lab: Lab) -> Finding:
    """Every number of G13: milliseconds of a swap and of an edit, and p999 in microseconds during
    swaps and without. Raises StartError."""
    numbers: dict[str, Pairs] = {"swap": [], "edit": [], "p999": []}
    own = cores()
    with Processes(lab.logs) as processes:
        backends = targets.start_backends(processes, own[:1], "thrift")
        ends = (("127.0.0.1", backends.port), ("127.0.0.1", backends.port + 1))
        place = targets.Place(processes, own[-1:], "thrift", ends)
        peer = _Envoy.start(place)
        with steered.steered(place, Target("meltemi pool")) as engine:
            ours = _Ours(engine)
            for number in range(min(lab.rounds, ROUNDS)):
                lab.say(f"swaps of {MANY_ROUTES} routes, round {number + 1}")
                ours_ms, peer_ms = _median(ours.swap_ms), _median(peer.swap_ms)
                numbers["swap"].append((ours_ms, peer_ms))
                numbers["edit"].append((_median(ours.edit_ms), peer_ms))
        # Where requests are timed, the engine has the whole machine, as a sidecar has.
        place = targets.Place(processes, own, "thrift", ends)
        with steered.steered(place, Target("meltemi pool")) as engine:
            for number in range(min(lab.rounds, ROUNDS)):
                lab.say(f"requests during swaps, round {number + 1}")
                record = lab.logs / f"swaps-{number}.record"
                numbers["p999"].append(_p999_us(_Ours(engine), own[:1], record))
    names = {"swap": "envoy thrift by TRDS", "edit": "envoy thrift by TRDS"}
    return Finding(numbers, {**names, "p999": "the same engine between swaps"})


def _median(once: Callable[[], float]) -> float:
    return sorted(once() for _ in range(SWAPS))[SWAPS // 2]


_NUMBERS = itertools.count()


def _methods(tag: str) -> list[str]:
    """Names that no table before had, for all but the last route."""
    return [f"{tag}{number:05}" for number in range(MANY_ROUTES - 1)]


class _Ours:
    """Our engine, whose last full table is remembered so that one route of it can be edited."""

    def __init__(self, engine: steered.Steered) -> None:
        self._engine = engine
        self._methods: list[str] = []
        self.windows: list[tuple[int, int]] = []
        """From the begin of each swap until it was effective, in ns of the monotonic clock."""

    def swap_ms(self) -> float:
        """A table without one route of the last."""
        self._methods = _methods(f"m{next(_NUMBERS)}x")
        return self._put(self._methods[-1])

    def edit_ms(self) -> float:
        """The last table with another method in one route in its middle."""
        if not self._methods:
            self.swap_ms()
        middle = len(self._methods) // 2
        self._methods[middle] = f"edited{next(_NUMBERS):05}"
        return self._put(self._methods[middle])

    def _put(self, method: str) -> float:
        self._engine.tell(do="prepare", methods=self._methods)
        with Caller(self._engine.port) as caller:
            began = int(self._engine.tell(do="apply")["began_ns"])
            ended = caller.until_answered(method)
        self.windows.append((began, ended))
        return (ended - began) / 1e6


@dataclass(frozen=True, slots=True)
class _Envoy:
    port: int
    file: Path

    @classmethod
    def start(cls, place: targets.Place) -> _Envoy:
        port = free_ports(2)
        directory = place.processes.directory
        file = directory / f"routes-{port}.pb"
        envoy.place_routes(file, envoy.prepare_routes([], "0"))
        setup = envoy.Setup("thrift", route_file=file)
        bootstrap = directory / f"envoy-{port}.json"
        listen = ("127.0.0.1", port)
        envoy.write(bootstrap, setup, listen, place.backends)
        place.processes.start(f"envoy-routes-{port}", envoy.command(bootstrap), place.cores, listen)
        return cls(port, file)

    def swap_ms(self) -> float:
        number = next(_NUMBERS)
        methods = _methods(f"m{number}x")
        body = envoy.prepare_routes(methods, str(number))
        with Caller(self.port) as caller:
            began = time.monotonic_ns()
            envoy.place_routes(self.file, body)
            return (caller.until_answered(methods[-1]) - began) / 1e6


class Caller:
    """Calls one method of a framed binary Thrift server again and again, one at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def until_answered(self, method: str) -> int:
        """Calls until the answer is a result; when it came, in ns of the monotonic clock. Raises
        StartError after a while."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if self._call(method):
                    return time.monotonic_ns()
            except OSError:  # Envoy closes the connection after some errors
                self._socket.close()
                self._connect()
        raise StartError(f"routes were not in force after {PATIENCE_S:g} s")

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _call(self, method: str) -> bool:
        """Whether the answer to one call is a result, not an exception."""
        name = method.encode()
        body = struct.pack(">II", 0x80010001, len(name)) + name + struct.pack(">I", 7)
        body += b"\x0b\0\x01" + struct.pack(">I", 16) + b"0123456789abcdef\0"
        self._socket.sendall(struct.pack(">I", len(body)) + body)
        (length,) = struct.unpack(">I", self._exactly(4))
        return self._exactly(length)[3] == 2

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise ConnectionResetError
            data += part
        return data


def _p999_us(ours: _Ours, load_cores: Sequence[int], record: Path) -> tuple[float, float]:
    """p999 of the requests that swaps overlapped, and of those that none did."""
    seconds = SWAPS_UNDER_LOAD * PAUSE_S * 2
    command = steered.load_command(
        *(load_cores, ours._engine.port, "-c", CONNECTIONS, "-d", 4, "-r", RATE),
        *("-t", seconds, "-w", 0, "--record", record),
    )
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as load:
        while load.poll() is None:
            ours.swap_ms()
            time.sleep(PAUSE_S)
    if load.returncode:
        raise StartError("a reply during swaps was wrong or lost")
    requests = [tuple(map(int, line.split(" ", 2)[:2])) for line in record.open()]
    during, without = split(requests, ours.windows)
    return p999(during) / 1e3, p999(without) / 1e3


def split(
    requests: Sequence[tuple[int, ...]], windows: Sequence[tuple[int, int]]
) -> tuple[list[int], list[int]]:
    """Latencies of requests (start, end) that a window overlaps, and of the others. Windows are in
    order and do not overlap each other."""
    starts = [began for began, _ in windows]
    during: list[int] = []
    without: list[int] = []
    for began, ended in requests:
        last = (
            bisect_right(starts, ended) - 1
        )  # the last window that began before the request ended
        overlapped = last >= 0 and windows[last][1] >= began
        (during if overlapped else without).append(ended - began)
    return during, without


def p999(latencies: Sequence[int]) -> int:
    """The latency that one of a thousand exceeds. Raises StartError when there are too few."""
    if len(latencies) < 1000:
        raise StartError(f"{len(latencies)} requests are too few for a p999")
    return sorted(latencies)[len(latencies) * 999 // 1000]
