"""A control plane that runs, and the CPU time that a process took."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meltemi.controlplane import addresses
from meltemi.controlplane.tokens import Tokens


@dataclass
class ControlPlane:
    """A process that serves the mesh of `directory` at `xds`."""

    directory: Path
    xds: str
    process: subprocess.Popen[bytes] = field(repr=False)

    def token(self, node_id: str) -> str:
        return Tokens.open(self.directory / ".meltemi").token(node_id).reveal()

    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)


@contextlib.contextmanager
def control_plane(directory: Path) -> Iterator[ControlPlane]:
    """Starts it and waits until it listens; ends it with SIGTERM."""
    xds, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
    command = [sys.executable, "-m", "meltemi", "control-plane", "--config", str(directory)]
    command += ["--xds-address", xds, "--admin-address", admin]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(directory)}
    with (directory / "control-plane.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise RuntimeError((directory / "control-plane.log").read_text())
        yield ControlPlane(directory, xds, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


def cpu_s(pid: int) -> float:
    """CPU time of all threads that a process has now, to the nanosecond (schedstat's first)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ended since
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def free_ports(count: int) -> list[int]:
    """Ports below the ephemeral ones that nobody listens on."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def address(directory: Path, key: str) -> str:
    """The address that the mesh of `directory` gave to `instance/NAMESPACE/POD`."""
    return addresses.read(directory / ".meltemi" / "addresses.json").taken[key]
