"""How each target is started, before the same two backends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner import envoy
from runner.machine import free_ports
from runner.processes import Processes, StartError, binary
from runner.table import Target

ENGINE: Final = Path(__file__).resolve().parent.parent / "engine.py"


@dataclass(frozen=True, slots=True)
class Running:
    """A target that listens."""

    port: int
    pid: int
    """The process whose CPU time is the target's: the backend's own for `direct`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target is started."""

    processes: Processes
    core: int
    """Of the proxies."""
    backends: tuple[int, int]
    """Ports."""


def start_backends(processes: Processes, core: int) -> tuple[tuple[int, int], int]:
    """Starts the backend that answers on two ports; returns them and its pid."""
    first = free_ports(2)
    command = [str(binary("meltemi-echo")), f"127.0.0.1:{first}", "--ports", "2"]
    pid = processes.start("backends", command, core, first)
    return (first, first + 1), pid


def start(place: Place, target: Target) -> Running:
    """Starts a target other than `direct`. Raises StartError."""
    port = free_ports(2)  # one for the admin interface of Envoy
    name = str(target).replace(" ", "-")
    command = KINDS[target.kind](place, target, port)
    return Running(port, place.processes.start(name, command, place.core, port))


def _meltemi(*options: str) -> Callable[[Place, Target, int], list[str]]:
    def command(place: Place, target: Target, port: int) -> list[str]:
        backends = ",".join(map(str, place.backends))
        own = ["--port", str(port), "--backends", backends, "--routes", str(target.routes)]
        return [sys.executable, str(ENGINE), *own, *options]

    return command


def _envoy(
    *, passthrough: bool = False, tcp: bool = False
) -> Callable[[Place, Target, int], list[str]]:
    def command(place: Place, target: Target, port: int) -> list[str]:
        path = place.processes.directory / f"envoy-{port}.json"
        envoy.write(
            path,
            port,
            port + 1,
            place.backends,
            passthrough=passthrough,
            tcp=tcp,
            routes=target.routes,
        )
        return envoy.command(path)

    return command


def _limit(mode: str) -> Callable[[Place, Target, int], list[str]]:
    def command(place: Place, target: Target, port: int) -> list[str]:
        if target.routes:
            raise StartError("the limit has no routes")
        backends = ",".join(map(str, place.backends))
        limit = os.environ["BENCH_LIMIT"]
        return [limit, "-p", str(port), "-m", mode, "-P", "thrift", "-u", backends]

    return command


KINDS: Final = {
    "meltemi pool": _meltemi(),
    "meltemi multiplexed": _meltemi("--multiplexed"),
    "envoy thrift": _envoy(),
    "envoy thrift passthrough": _envoy(passthrough=True),
    "envoy tcp": _envoy(tcp=True),
    "limit pool": _limit("pool"),
    "limit multiplexed": _limit("mux"),
}
"""`direct` is none: it is the first backend. The limit is a proxy that only forwards, which whoever
has one names with BENCH_LIMIT."""
