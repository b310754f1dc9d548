"""A guided tour: a real mesh, steps that each show a command or a count, and check it.

A tour is a module with `prepare(example, say)`, which makes what the example needs to run, and
`run(tour)`; `meltemi demo NAME` calls both, and in between, where a tour has it,
`arrange(directory)` for the copy that is to run."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

START_S = 60.0
STOP_S = 20.0


class StepFailed(Exception):
    """What a step promised did not happen."""


class Tour:
    """Prints steps, runs commands of `meltemi` as a user would, and checks what they show."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self.directory = directory
        self.say = say
        self._step = 0

    def step(self, title: str) -> None:
        self._step += 1
        self.say(f"\n[bold]{self._step}. {title}[/bold]")

    def check(self, holds: bool, what: str) -> None:
        """Prints what was checked. Raises StepFailed when it does not hold."""
        if not holds:
            raise StepFailed(what)
        self.say(f"   [green]ok[/green] {what}")

    def show(self, text: str) -> None:
        for line in text.rstrip().splitlines():
            self.say(f"   [dim]{line.replace('[', chr(92) + '[')}[/dim]")

    def meltemi(self, *arguments: str, given: str | None = None) -> str:
        """Runs the command as a user would and returns what it prints. Raises StepFailed."""
        shown = shlex.join(arguments)
        self.say(f"   [cyan]$ meltemi {shown}[/cyan]")
        done = subprocess.run(
            [sys.executable, "-m", "meltemi", *arguments, "--mesh", str(self.directory)],
            input=given,
            capture_output=True,
            text=True,
            timeout=30,
        )
        if done.returncode != 0:
            raise StepFailed(
                f"`meltemi {shown}` ended with {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def environment(self, workload: str) -> dict[str, str]:
        """The environment of a workload's first replica."""
        for found in self.workloads():
            if found["name"] == workload:
                environment = found["instances"][0]["environment"]
                assert isinstance(environment, dict)
                return environment
        raise StepFailed(f"the mesh has no workload {workload}")

    def control_plane_pid(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int((self.directory / ".meltemi" / "control-plane.pid").read_text())
        return None

    def workloads(self) -> list[dict[str, Any]]:
        """What the mesh says is to run."""
        transport = httpx.HTTPTransport(uds=str(self.directory / ".meltemi" / "meltemi.sock"))
        with httpx.Client(transport=transport, base_url="http://meltemi", timeout=10) as client:
            workloads = client.get("/v1/workloads").json()["workloads"]
            assert isinstance(workloads, list)
            return workloads

    def eventually(self, holds: Callable[[], bool], what: str, within_s: float) -> float:
        """Waits until it holds; returns after how many seconds. Raises StepFailed."""
        began = time.monotonic()
        while time.monotonic() - began < within_s:
            with contextlib.suppress(OSError, httpx.HTTPError):
                if holds():
                    return time.monotonic() - began
            time.sleep(0.01)
        raise StepFailed(f"{what}: not within {within_s:g} s")


@contextlib.contextmanager
def running_example(
    example: Path,
    say: Callable[[str], None],
    arrange: Callable[[Path], None] = lambda _directory: None,
) -> Iterator[Tour]:
    """Runs a copy of an example with `meltemi up`, and stops it at the end, whatever happens.

    `arrange` may change the copy before it runs."""
    with tempfile.TemporaryDirectory(prefix="meltemi-demo-") as parent:
        directory = Path(parent) / example.name
        shutil.copytree(example, directory, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        arrange(directory)
        tour = Tour(directory, say)
        say(f"[cyan]$ meltemi up {directory}[/cyan]")
        output = Path(parent) / "up.log"
        with output.open("wb") as log:
            up = subprocess.Popen(
                [sys.executable, "-m", "meltemi", "up", str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "COLUMNS": "160"},
            )
        try:
            _await_start(up, tour, output)
            yield tour
        finally:
            up.send_signal(signal.SIGINT)
            try:
                up.wait(STOP_S)
            except subprocess.TimeoutExpired:
                up.kill()
                up.wait()


def _await_start(up: subprocess.Popen[bytes], tour: Tour, output: Path) -> None:
    """Ready is when the table of what listens where was printed."""

    def ready() -> bool:
        if up.poll() is not None:
            raise StepFailed(f"`meltemi up` ended at once:\n{output.read_text()}")
        return "Ctrl-C stops all" in output.read_text()

    tour.eventually(ready, "`meltemi up` is ready", START_S)
    tour.show(output.read_text())
