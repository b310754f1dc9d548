"""An engine in a process of its own, and the processes around it that load tests need."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meltemi.xds import messages

DRIVER = Path(__file__).with_name("driver.py")
Resource = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Mode:
    """How requests find their upstream connection."""

    protocol: str
    in_flight: int
    """Requests of one upstream connection at once; 0: what the protocol does by itself."""

    @property
    def words(self) -> tuple[str, ...]:
        """Options of the load generator and of the backend."""
        return ("-P", self.protocol)


POOL = Mode("thrift", 0)
MODES = {"pool": POOL, "multiplexed": Mode("thrift", 256), "dubbo": Mode("dubbo", 0)}


@dataclass
class Engine:
    """Our engine, steered through `driver.py`."""

    process: subprocess.Popen[str] = field(repr=False)
    updates: int = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the engine's process ended with {self.process.wait(10)}"
        found: dict[str, Any] = json.loads(line)
        return found

    def update(
        self, type_url: str, resources: Sequence[Resource], *, until_in_force: bool = False
    ) -> dict[str, Any]:
        self.updates += 1
        found = self.tell(
            do="update",
            type_url=type_url,
            version=str(self.updates),
            resources=[(name, base64.b64encode(body).decode()) for name, body in resources],
            until_in_force=until_in_force,
        )
        assert found["rejected"] == []
        return found

    def stats(self) -> dict[str, float]:
        found: dict[str, float] = self.tell(do="stats")["stats"]
        return found

    def resident_mib(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")

    def serve(
        self,
        port: int,
        clusters: Mapping[str, Sequence[int]],
        routes: Sequence[dict[str, Any]],
        mode: Mode = POOL,
    ) -> None:
        """Puts clusters (name: ports), one route table and a listener in force."""
        from runner import resources

        made = [resources.cluster(name, in_flight=mode.in_flight) for name in clusters]
        self.update(messages.CLUSTER, made)
        ends = [resources.endpoints(name, ports) for name, ports in clusters.items()]
        self.update(messages.ENDPOINT, ends)
        self.update(messages.ROUTE, [resources.table(routes)])
        listener = resources.listener(port, protocol=mode.protocol)
        self.update(messages.LISTENER, [listener], until_in_force=True)
        await_port(port)


@contextlib.contextmanager
def engine(*, workers: int = 1, limits: dict[str, int] | None = None) -> Iterator[Engine]:
    """An engine until the end of the block; it must end by itself then, without an error."""
    process = subprocess.Popen(
        [sys.executable, str(DRIVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            running = Engine(process)
            running.tell(workers=workers, limits=limits or {})
            yield running
            assert process.stdin
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            if process.poll() is None:
                process.kill()


@dataclass
class Backend:
    """A `meltemi-echo` on one or more ports."""

    process: subprocess.Popen[str] = field(repr=False)
    ports: tuple[int, ...]
    calls: dict[int, int] = field(default_factory=dict)
    """By port; known once it stopped."""

    def kill(self) -> int:
        """SIGKILL; returns the monotonic time, in ns, at which it was gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        return time.monotonic_ns()


@contextlib.contextmanager
def backend(
    tools: Path, port: int, ports: int = 1, *options: str, mode: Mode = POOL
) -> Iterator[Backend]:
    """A backend on `ports` ports from `port` on."""
    echo = str(tools / "meltemi-echo")
    command = [echo, f"127.0.0.1:{port}", "--ports", str(ports), *mode.words, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            await_port(port)
            running = Backend(process, tuple(range(port, port + ports)))
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
            out, _ = process.communicate(timeout=10)
        if out:
            calls = json.loads(out)["calls"]
            running.calls.update({int(key.rpartition(":")[2]): n for key, n in calls.items()})


@dataclass
class Load:
    """A running `meltemi-load`."""

    process: subprocess.Popen[str] = field(repr=False)

    def result(self) -> dict[str, Any]:
        """Waits for its end; fails when a reply was bad or lost."""
        out, error = self.process.communicate(timeout=60)
        assert out, error
        found: dict[str, Any] = json.loads(out)
        assert found["errors"] == {}, (found["errors"], found["first_error"])
        assert self.process.returncode == 0
        return found


def load(tools: Path, port: int, *options: object) -> Load:
    """Starts load on a port of loopback."""
    return load_at(tools, f"127.0.0.1:{port}", *options)


def load_at(tools: Path, address: str, *options: object) -> Load:
    """Starts load on ADDRESS:PORT."""
    command = [str(tools / "meltemi-load"), address, *map(str, options)]
    return Load(
        subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """A line of the load generator's record: a request and what came back."""

    start_ns: int
    end_ns: int
    method: int
    backend: str
    """The port that answered, or `!` and the message of an exception."""

    @property
    def failed(self) -> bool:
        return self.backend.startswith("!")


def answers(record: Path) -> Iterator[Answer]:
    with record.open() as lines:
        for line in lines:
            start, end, method, backend_ = line.rstrip("\n").split(" ", 3)
            yield Answer(int(start), int(end), int(method), backend_)


def await_port(port: int, within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, f"nothing listens on {port}"
        time.sleep(0.02)


def cores() -> int:
    return len(os.sched_getaffinity(0))
