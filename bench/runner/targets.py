"""How each target is started, before the same two backends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runner import envoy
from runner.machine import free_ports
from runner.processes import Processes, StartError, binary
from runner.rows import Protocol, Target

ENGINE: Final = Path(__file__).resolve().parent.parent / "engine.py"


@dataclass(frozen=True, slots=True)
class Running:
    """A target that listens."""

    host: str
    port: int
    pid: int
    """The process whose CPU time is the target's: the backend's own for `direct`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target is started."""

    processes: Processes
    cores: Sequence[int]
    """Of the proxies."""
    protocol: Protocol
    backends: tuple[tuple[str, int], tuple[str, int]]
    host: str = "127.0.0.1"
    """Where it listens."""
    namespace: str = ""
    """The network namespace that it runs in; "": our own."""


def start_backends(
    processes: Processes,
    cores: Sequence[int],
    protocol: Protocol,
    host: str = "127.0.0.1",
    namespace: str = "",
    *,
    plain: bool = False,
) -> Running:
    """Starts the backend that answers on two ports, of which the first is given; `plain`: with the
    argument alone, not with its port behind it."""
    first = free_ports(2)
    words = [f"{host}:{first}", "--ports", "2", "--protocol", protocol]
    words += ["--plain"] if plain else []
    command = [str(binary("meltemi-echo")), *words]
    name = f"backends-{protocol}-{namespace or 'here'}"
    pid = processes.start(name, command, cores, (host, first), namespace)
    return Running(host, first, pid)


def start(place: Place, target: Target) -> Running:
    """Starts a target other than `direct`. Raises StartError."""
    port = free_ports(2)  # one for the admin interface of Envoy
    name = str(target).replace(" ", "-").replace(",", "")
    command = KINDS[target.kind](place, target, port)
    listen = (place.host, port)
    pid = place.processes.start(f"{name}-{port}", command, place.cores, listen, place.namespace)
    return Running(*listen, pid)


Command = Callable[[Place, Target, int], list[str]]


def engine_command(place: Place, target: Target, port: int, *options: str) -> list[str]:
    """Our engine, as `bench/engine.py` runs it."""
    backends = ",".join(f"{host}:{port}" for host, port in place.backends)
    words = ["--listen", f"{place.host}:{port}", "--backends", backends]
    words += ["--routes", str(target.routes), "--workers", str(target.workers)]
    words += ["--protocol", place.protocol]
    match target.setting:
        case "local limit":
            words.append("--local-limit")
        case "no metrics":
            words.append("--no-metrics")
        case "access log":
            words += ["--access-log", str(place.processes.directory / f"access-{port}.log")]
        case "":
            pass
    return [sys.executable, str(ENGINE), *words, *options]


def _meltemi(*options: str) -> Command:
    return lambda place, target, port: engine_command(place, target, port, *options)


def _envoy(kind: Any, *, passthrough: bool = False) -> Command:
    def command(place: Place, target: Target, port: int) -> list[str]:
        path = place.processes.directory / f"envoy-{port}.json"
        setup = envoy.Setup(kind, passthrough, target.routes)
        envoy.write(path, setup, (place.host, port), place.backends)
        return envoy.command(path)

    return command


def _limit(mode: str) -> Command:
    def command(place: Place, target: Target, port: int) -> list[str]:
        if target.routes or place.namespace:
            raise StartError("the proxy without features has no routes, and listens on loopback")
        backends = ",".join(str(port) for _, port in place.backends)
        limit = os.environ["BENCH_LIMIT"]
        return [limit, "-p", str(port), "-m", mode, "-P", place.protocol, "-u", backends]

    return command


KINDS: Final[dict[str, Command]] = {
    "meltemi pool": _meltemi(),
    "meltemi multiplexed": _meltemi("--multiplexed"),
    "meltemi dubbo": _meltemi(),
    "envoy thrift": _envoy("thrift"),
    "envoy thrift passthrough": _envoy("thrift", passthrough=True),
    "envoy tcp": _envoy("tcp"),
    "envoy dubbo": _envoy("dubbo"),
    "envoy generic bound": _envoy("generic bound"),
    "limit pool": _limit("pool"),
    "limit multiplexed": _limit("mux"),
}
"""`direct` is none: it is the first backend. The limit is a proxy that only forwards, which whoever
has one names with BENCH_LIMIT."""
