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
        _end([process for _, process in self._running.values()])
        self._running.clear()

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        of_cores: Sequence[int],
        listen: tuple[str, int],
        namespace: str = "",
    ) -> int:
        """Starts a process on cores, in a network namespace if one is named, and waits until it
        listens; returns its pid. Raises StartError with its last words when it does not."""
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                within(namespace, pinned(of_cores, command)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._running[process.pid] = (name, process)
        deadline = time.monotonic() + 30
        while not listens(*listen):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"{name} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.01)
        return process.pid

    def stop(self, pid: int) -> None:
        """Ends one of them."""
        _, process = self._running.pop(pid)
        _end([process])

    def pids(self) -> list[int]:
        """Of what runs."""
        return list(self._running)

    def check(self, pid: int) -> None:
        """Raises StartError when a process ended on its own."""
        name, process = self._running[pid]
        if process.poll() is not None:
            log = (self.directory / f"{name}.log").read_text()[-2000:]
            raise StartError(f"{name} ended with {process.returncode}:\n{log}")


def pinned(of_cores: Sequence[int], command: Sequence[str | Path]) -> list[str]:
    """The command on these cores: a prefix, for a hook after fork is no friend of threads."""
    return ["taskset", "-c", ",".join(map(str, of_cores)), *map(str, command)]


def within(namespace: str, command: Sequence[str]) -> list[str]:
    """The command in a network namespace; as it is where none is named."""
    return ["ip", "netns", "exec", namespace, *command] if namespace else list(command)


def listens(host: str, port: int) -> bool:
    """Whether a connection to this address is taken now."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 0.5):
        return True
    return False


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
