"""A real mesh for end-to-end tests: `meltemi up` on a directory, its processes, and the command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

START_S = 60.0


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Mesh:
    """A running `meltemi up`."""

    directory: Path
    output: Path
    up: subprocess.Popen[bytes] = field(repr=False)

    def meltemi(self, *arguments: str, given: str | None = None, mesh: bool = True) -> Done:
        more = ["--mesh", str(self.directory)] if mesh else []
        return meltemi(*arguments, *more, given=given)

    def apply(self, document: dict[str, Any]) -> Done:
        done = self.meltemi("apply", "-f", "-", given=json.dumps(document))
        assert done.code == 0, done.err
        return done

    def workloads(self) -> dict[str, dict[str, Any]]:
        """What the control plane says is to run, by name."""
        transport = httpx.HTTPTransport(uds=str(self.directory / ".meltemi" / "meltemi.sock"))
        with httpx.Client(transport=transport, base_url="http://meltemi") as client:
            found = client.get("/v1/workloads", timeout=10).json()["workloads"]
        return {f"{w['name']}.{w['namespace']}": w for w in found}

    def environment(self, workload: str, ordinal: int = 0) -> dict[str, str]:
        found = self.workloads()[workload]["instances"][ordinal]["environment"]
        assert isinstance(found, dict)
        return found

    def processes(self) -> dict[str, dict[str, Any]]:
        """The process table, by name."""
        found = json.loads((self.directory / ".meltemi" / "processes.json").read_text())
        return {process["name"]: process for process in found["processes"]}

    def sidecar(self, workload: str, path: str) -> httpx.Response:
        """Asks the admin API of the sidecar of a workload's first replica."""
        address = self.workloads()[workload]["instances"][0]["address"]
        return httpx.get(f"http://{address}:15000{path}", timeout=5)

    def log(self, name: str) -> str:
        return (self.directory / ".meltemi" / "logs" / f"{name}.log").read_text()


def meltemi(*arguments: str, given: str | None = None) -> Done:
    """Runs the command as a user would."""
    done = subprocess.run(
        [sys.executable, "-m", "meltemi", *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def running(directory: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Mesh]:
    """Runs the mesh of `directory` until the end of the block."""
    output = directory.parent / f"{directory.name}.up.log"
    with output.open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "meltemi", "up", str(directory), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "200", **(env or {})},
        )
    mesh = Mesh(directory, output, up)
    try:
        eventually(lambda: _ready(mesh), START_S)
        yield mesh
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGINT)
            try:
                up.wait(30)
            except subprocess.TimeoutExpired:
                up.kill()
                up.wait()
    assert "Traceback" not in output.read_text(), output.read_text()


def _ready(mesh: Mesh) -> bool:
    text = mesh.output.read_text()
    assert mesh.up.poll() is None, text
    return "Ctrl-C stops all" in text


def eventually(holds: Callable[[], object], within_s: float = 10) -> float:
    """Waits until it holds; returns after how many seconds."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError, httpx.HTTPError, KeyError):
            if holds():
                return time.monotonic() - began
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        time.sleep(0.01)
