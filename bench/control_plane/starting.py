"""A sidecar from its start until it is ready, with 100 services (G23)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from control_plane import documents, processes

SERVICES = 100
ROUNDS = 7
ADMIN_PORT = 15000
IMPORTS = "import grpc, google.protobuf"
PATIENCE_S = 60.0
ASK = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Started:
    """Medians of seconds, wall and CPU; the ratio of the goal is that of the wall clock."""

    ours_s: float
    imports_s: float
    ours_cpu_s: float
    imports_cpu_s: float
    against_imports: float
    against_imports_cpu: float


def starting(rounds: int = ROUNDS) -> Started:
    """G23: `meltemi sidecar` until `/ready` says so, against Python importing gRPC."""
    with tempfile.TemporaryDirectory(prefix="meltemi-bench-") as folder:
        directory = Path(folder)
        documents.write(directory, SERVICES, 10)
        with processes.control_plane(directory) as plane:
            _sidecar(plane)  # the first warms up
            both = [(_sidecar(plane), _imports()) for _ in range(rounds)]
    return Started(
        ours_s=statistics.median(ours[0] for ours, _ in both),
        imports_s=statistics.median(peer[0] for _, peer in both),
        ours_cpu_s=statistics.median(ours[1] for ours, _ in both),
        imports_cpu_s=statistics.median(peer[1] for _, peer in both),
        against_imports=statistics.median(ours[0] / peer[0] for ours, peer in both),
        against_imports_cpu=statistics.median(ours[1] / peer[1] for ours, peer in both),
    )


def _imports() -> tuple[float, float]:
    """Wall and CPU seconds of the peer."""
    began = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", IMPORTS], os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{IMPORTS!r} ended with {status}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def _sidecar(plane: processes.ControlPlane) -> tuple[float, float]:
    """Wall and CPU seconds of a sidecar until it is ready."""
    address = processes.address(plane.directory, "instance/ns-0/caller-0")
    node = f"sidecar~{address}~caller-0.ns-0~ns-0.svc.cluster.local"
    environment = {**os.environ, "MELTEMI_XDS_TOKEN": plane.token(node)}
    command = [sys.executable, "-m", "meltemi", "sidecar", "--xds", plane.xds, "--node", node]
    with (plane.directory / "sidecar.log").open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            while not _ready(address):
                if process.poll() is not None or time.perf_counter() - began > PATIENCE_S:
                    raise RuntimeError((plane.directory / "sidecar.log").read_text())
                time.sleep(0.002)
            return time.perf_counter() - began, processes.cpu_s(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _ready(address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, ADMIN_PORT), 5) as asked:
        asked.sendall(ASK)
        return asked.recv(64).startswith(b"HTTP/1.1 200")
    return False


if __name__ == "__main__":
    print(starting())
