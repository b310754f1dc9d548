"""The memory of a whole sidecar that serves a small mesh and has nothing to do."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final

from control_plane import processes

from runner.machine import resident_kib
from runner.processes import StartError

MESH: Final = """\
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{name: tcp-metaprotocol-thrift, port: 9090}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: echo, labels: {app: echo, version: v1}}
spec:
  command: [python, server.py]
  ports: [{name: tcp-metaprotocol-thrift, port: 9090}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: caller, labels: {app: caller}}
spec: {command: [python, client.py]}
"""
POD: Final = "caller-0"
READY_S = 20.0
SETTLE_S = 1.0


def resident_mb(logs: Path) -> float:
    """MB of `meltemi sidecar`, ready, a second later; Python included. Raises StartError."""
    with tempfile.TemporaryDirectory(prefix="meltemi-bench-") as folder:
        directory = Path(folder)
        (directory / "mesh.yaml").write_text(MESH)
        with processes.control_plane(directory) as plane:
            address = processes.address(directory, f"instance/default/{POD}")
            node = f"sidecar~{address}~{POD}.default~default.svc.cluster.local"
            command = [sys.executable, "-m", "meltemi", "sidecar"]
            command += ["--xds", plane.xds, "--node", node]
            environment = {**os.environ, "MELTEMI_XDS_TOKEN": plane.token(node)}
            log = logs / "sidecar.log"
            with (
                log.open("wb") as output,
                subprocess.Popen(command, stdout=output, stderr=output, env=environment) as sidecar,
            ):
                try:
                    _await_ready(sidecar, address, log)
                    time.sleep(SETTLE_S)
                    return resident_kib(sidecar.pid) / 1024
                finally:
                    sidecar.terminate()


def _await_ready(sidecar: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and sidecar.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://{address}:15000/ready", timeout=1) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise StartError(f"a sidecar did not get ready: {log.read_text()[-2000:]}")
