"""The same call made in several ways: what it costs all processes together, and how long it takes
(G18, G24).

All run on one core; the ways take turns, a few thousand calls each. Every way ends at the same
server."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control_plane import processes as planes
from runner import targets
from runner.machine import cores, cpu_s, free_ports
from runner.points import ENVOY_THRIFT, POOL
from runner.processes import Processes, StartError, pinned

from sdk import service

BENCH: Final = Path(__file__).resolve().parents[1]
CALLS: Final = 2000
CHOICES: Final = 20_000
ROUNDS: Final = 15
BARE, SDK, TRACED, SIDECAR = "bare", "sdk", "traced", "sidecar"
"""Ways; those through Envoy have the names of their targets."""


@dataclass(frozen=True)
class Called:
    """Of one call: CPU of all processes, and the median time; microseconds."""

    cpu_us: float
    p50_us: float


@dataclass(frozen=True)
class Result:
    """By way, round by round. `choice_us`: choosing an endpoint and noting how the call ended."""

    ways: dict[str, list[Called]]
    choice_us: list[float]


class _Client:
    """A process of `client`, and all whose CPU its calls take."""

    def __init__(self, kind: str, where: str, others: tuple[int, ...]) -> None:
        command = [sys.executable, "-m", "sdk.client", kind, where]
        self.process = subprocess.Popen(
            pinned(cores()[:1], command),
            cwd=BENCH,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pids = (self.process.pid, *others)

    def do(self, word: str, count: int) -> dict[str, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{word} {count}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise StartError("a client of the benchmark ended; its stderr says why")
        found: dict[str, float] = json.loads(answer)
        return found

    def sample(self) -> Called:
        self.do("call", CALLS // 10)  # the others took its caches
        before = sum(map(cpu_s, self.pids))
        found = self.do("call", CALLS)
        return Called((sum(map(cpu_s, self.pids)) - before) / CALLS * 1e6, found["p50_us"])

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def calling(rounds: int = ROUNDS) -> Result:
    """Every way, `rounds` times in turn. Raises StartError."""
    ways: dict[str, list[Called]] = {}
    choices: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="meltemi-bench-") as folder,
        Processes(Path(folder, "logs")) as running,
    ):
        directory = Path(folder, "mesh")
        directory.mkdir()
        server, port = _server(running)
        service.write(directory, port)
        with planes.control_plane(directory) as plane:
            clients = {
                BARE: _Client(BARE, str(port), (server,)),
                SDK: _Client(SDK, plane.xds, (server,)),
                TRACED: _Client(TRACED, plane.xds, (server,)),
            }
            try:
                for target in (POOL, *ENVOY_THRIFT):
                    ends = (("127.0.0.1", port), ("127.0.0.1", port))
                    place = targets.Place(running, cores()[:1], "thrift", ends)
                    proxy = targets.start(place, target)
                    name = SIDECAR if target.ours else str(target)
                    clients[name] = _Client(BARE, str(proxy.port), (server, proxy.pid))
                for client in clients.values():
                    client.sample()  # the first warms up
                for _ in range(rounds):
                    for name, client in clients.items():
                        ways.setdefault(name, []).append(client.sample())
                    choices.append(clients[SDK].do("choose", CHOICES)["choice_us"])
            finally:
                for client in clients.values():
                    client.close()
    return Result(ways, choices)


def _server(running: Processes) -> tuple[int, int]:
    """Its pid and port."""
    port = free_ports(1)
    command = [sys.executable, service.__file__, str(port)]
    return running.start("sdk-server", command, cores()[:1], ("127.0.0.1", port)), port


def _main() -> None:
    found = calling()
    bare = found.ways[BARE]
    for name, samples in found.ways.items():
        cpu = statistics.median(each.cpu_us for each in samples)
        p50 = statistics.median(each.p50_us for each in samples)
        pairs = list(zip(samples, bare, strict=True))
        cpu_ratio = statistics.median(one.cpu_us / other.cpu_us for one, other in pairs)
        p50_ratio = statistics.median(one.p50_us / other.p50_us for one, other in pairs)
        print(f"{name:28} cpu {cpu:6.1f} us, {cpu_ratio:.3f}; p50 {p50:6.1f} us, {p50_ratio:.3f}")
    print(f"choice {statistics.median(found.choice_us):.2f} us")


if __name__ == "__main__":
    _main()
