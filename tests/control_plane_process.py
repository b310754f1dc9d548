"""A real control plane as a subprocess, and a real node that listens to it: for several folders."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from meltemi.controlplane.tokens import Tokens
from meltemi.xds.client import AdsClient
from meltemi.xds.resource import Node

MESH = """\
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{name: tcp-metaprotocol-thrift, port: 9090}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec:
  host: echo
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: echo-v1, labels: {app: echo, version: v1}}
spec:
  command: [python, server.py]
  ports: [{name: tcp-metaprotocol-thrift, port: 9090}]
  replicas: 2
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: caller, labels: {app: caller}}
spec: {command: [python, client.py]}
"""

HOST = "echo.default.svc.cluster.local"


def router(subset: str, name: str = "echo") -> str:
    """A MetaRouter that sends every request to a subset."""
    return f"""\
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {{name: {name}}}
spec:
  hosts: [{HOST}]
  routes:
  - name: to-{subset}
    route: [{{destination: {{host: {HOST}, subset: {subset}}}}}]
"""


@dataclass
class Running:
    """A control plane that runs on `directory`."""

    directory: Path
    xds: str
    admin: str
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def state(self) -> Path:
        return self.directory / ".meltemi"

    def steer(self, method: str, path: str, **call: Any) -> httpx.Response:
        """One call of the API on the Unix socket."""
        transport = httpx.HTTPTransport(uds=str(self.state / "meltemi.sock"))
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=40) as client:
            return client.request(method, path, **call)

    def workloads(self) -> dict[str, dict[str, Any]]:
        found = self.steer("GET", "/v1/workloads").json()["workloads"]
        return {workload["name"]: workload for workload in found}

    def node_id(self, workload: str, ordinal: int = 0) -> str:
        return str(self.workloads()[workload]["instances"][ordinal]["node_id"])

    def token(self, node_id: str) -> str:
        return Tokens.open(self.state).token(node_id).reveal()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running(
    directory: Path, ports: tuple[int, int], *options: str, env: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Starts a control plane and waits until it listens; ends it with SIGTERM."""
    xds, admin = (f"127.0.0.1:{port}" for port in ports)
    arguments = ["--config", str(directory), "--xds-address", xds, "--admin-address", admin]
    log = directory.parent / f"{directory.name}.control-plane.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "meltemi", "control-plane", *arguments, *options],
            stdout=subprocess.PIPE,
            stderr=output,
            env={**os.environ, "XDG_RUNTIME_DIR": str(directory.parent), **(env or {})},
        )
    try:
        assert process.stdout is not None
        announced = process.stdout.readline()
        assert announced, f"it ended: {log.read_text()}"
        yield Running(directory, xds, admin, log, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
    assert "Traceback" not in log.read_text(), log.read_text()


class Listening:
    """A node that takes everything it gets, and remembers it."""

    def __init__(
        self, address: str, node_id: str, token: str | None, client_kind: str = "sidecar"
    ) -> None:
        node = Node.of(node_id, metadata={"MELTEMI_CLIENT": client_kind})
        self.held: dict[str, dict[str, bytes]] = {}
        self.refuse: dict[str, str] = {}
        self.updates: list[tuple[float, str, tuple[str, ...]]] = []
        self.client = AdsClient(address, node, token, on_update=self._update)

    def _update(
        self,
        type_url: str,
        version: str,
        resources: Sequence[tuple[str, bytes]],
        removed: Sequence[str],
    ) -> list[tuple[str, str]]:
        del version
        held = self.held.setdefault(type_url.rpartition(".")[2], {})
        names = tuple(name for name, _ in resources)
        self.updates.append((time.monotonic(), type_url.rpartition(".")[2], names))
        for name, body in resources:
            if name not in self.refuse:
                held[name] = body
        for name in removed:
            held.pop(name, None)
        return [(name, self.refuse[name]) for name in names if name in self.refuse]

    def route(self) -> bytes:
        return self.held.get("RouteConfiguration", {}).get(f"{HOST}_9090", b"")

    async def until(self, holds: Callable[[], object], within_s: float = 5) -> float:
        """Waits until it holds; after how many seconds it did."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < within_s, f"not within {within_s} s: {self.held}"
            await asyncio.sleep(0.002)
        return time.monotonic() - began


@contextlib.asynccontextmanager
async def listening(
    control_plane: Running, node_id: str, token: str | None = None
) -> AsyncIterator[Listening]:
    node = Listening(control_plane.xds, node_id, token)
    async with node.client:
        yield node


def objects(answer: httpx.Response) -> list[tuple[str, str]]:
    """(name, action) of an answer to apply or delete."""
    assert answer.status_code == 200, answer.text
    return [(each["name"], each["action"]) for each in answer.json()["objects"]]


def stored(control_plane: Running) -> list[str]:
    return sorted(path.name for path in (control_plane.state / "config").iterdir())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
