"""Starts and stops the processes of the benchmark, each pinned to its core."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]


class StartError(Exception):
    """A process of the benchmark did not start; the message says what to do."""


def binary(name: str) -> Path:
    """A tool of the crate `meltemi-bench`, built in the release profile. Raises StartError."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = target / "release" / name
    if not path.is_file():
        raise StartError(f"{path} is not there: run cargo build --release -p meltemi-bench")
    return path


class Processes:
    """Processes that end with the block they are started in."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        """Logs and generated configurations."""
        self._running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _, process in self._running.values():
            process.terminate()
        for _, process in self._running.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def start(self, name: str, command: Sequence[str | Path], core: int, port: int) -> int:
        """Starts a process on a core and waits until it listens on `port`; returns its pid.

        Raises StartError with its last words when it does not.
        """
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                pinned(core, command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._running[process.pid] = (name, process)
        deadline = time.monotonic() + 30
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"{name} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.01)
        return process.pid

    def pids(self) -> list[int]:
        """Of what runs."""
        return list(self._running)

    def check(self) -> None:
        """Raises StartError when a process ended on its own."""
        for name, process in self._running.values():
            if process.poll() is not None:
                log = (self.directory / f"{name}.log").read_text()[-2000:]
                raise StartError(f"{name} ended with {process.returncode}:\n{log}")


def pinned(core: int, command: Sequence[str | Path]) -> list[str]:
    """The command on one core. A prefix, not a hook after fork: threads of the runner are safe."""
    return ["taskset", "-c", str(core), *map(str, command)]


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
        return True
    return False
