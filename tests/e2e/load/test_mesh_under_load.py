"""The whole product under load: rules change and the control plane is killed, no request fails."""

from __future__ import annotations

import bisect
import json
import os
import random
import shlex
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from engines import MODES, Answer, Load, Mode, answers, load_at
from mesh import Mesh, eventually, running

pytestmark = [pytest.mark.load, pytest.mark.slow]

NAMESPACE = "load"
HOST = "echo.load.svc.cluster.local"
VERSIONS = ("v1", "v2", "v3")
LOAD_S = 6
SWAP_NS = 20_000_000
"""From a node's acknowledgement until each of its workers has begun a new turn."""


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    """The same mesh serves both tests of a mode."""
    return MODES[request.param]


@pytest.fixture(scope="module")
def echo_mesh(mode: Mode, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Three versions of a backend and a caller, each with its sidecar."""
    directory = tmp_path_factory.mktemp("load") / "mesh"
    directory.mkdir()
    (directory / "mesh.yaml").write_text(yaml.safe_dump_all(documents(mode, tools)))
    with running(directory) as mesh:
        yield mesh


def documents(mode: Mode, tools: Path) -> Iterator[dict[str, Any]]:
    port = {"name": f"tcp-metaprotocol-{mode.protocol}", "port": 9090}
    yield document("v1", "Service", "echo", {"selector": {"app": "echo"}, "ports": [port]})
    subsets = [{"name": version, "labels": {"version": version}} for version in VERSIONS]
    spec: dict[str, Any] = {"host": HOST, "subsets": subsets}
    subsets_rule = document("networking.istio.io/v1", "DestinationRule", "echo", spec)
    if mode.in_flight:
        in_flight = {"meltemi.io/max-in-flight-per-connection": str(mode.in_flight)}
        subsets_rule["metadata"]["annotations"] = in_flight
    yield subsets_rule
    words = " ".join(mode.words)
    echo = shlex.quote(str(tools / "meltemi-echo"))
    serve = f"exec {echo} $HOST:$PORT --name $POD_NAME {words}"
    for version in VERSIONS:
        spec = {"command": ["sh", "-c", serve], "ports": [port]}
        yield workload(f"echo-{version}", spec, {"app": "echo", "version": version})
    yield workload("caller", {"command": ["sleep", "infinity"]}, {"app": "caller"})


def workload(name: str, spec: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    made = document("meltemi.io/v1alpha1", "Workload", name, spec)
    made["metadata"]["labels"] = labels
    return made


def rule(number: int, version: str) -> dict[str, Any]:
    destination = {"host": HOST, "subset": version}
    route = {"name": f"rule-{number}", "route": [{"destination": destination}]}
    spec = {"hosts": [HOST], "routes": [route]}
    return document("metaprotocol.aeraki.io/v1alpha1", "MetaRouter", "echo", spec)


def document(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


class Rules:
    """Applies rules as `meltemi apply` does, and remembers which version each allowed, and when."""

    def __init__(self, mesh: Mesh) -> None:
        path = mesh.directory / ".meltemi" / "meltemi.sock"
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://meltemi", timeout=10
        )
        self._allowed: list[str] = []
        self._began_ns: list[int] = []
        self._known_ns: list[int] = []

    def __enter__(self) -> Rules:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def __len__(self) -> int:
        return len(self._allowed)

    def apply(self, version: str) -> None:
        """Returns once every node that uses the rule has acknowledged it."""
        began_ns = time.monotonic_ns()
        body = json.dumps(rule(len(self), version))
        answer = self._client.post("/v1/apply", content=body)
        assert answer.status_code == 200, answer.text
        self._allowed.append(f"echo-{version}-0")
        self._began_ns.append(began_ns)
        self._known_ns.append(time.monotonic_ns() + SWAP_NS)

    def allow(self, answer: Answer) -> set[str]:
        """The versions that any rule in force during the request allowed."""
        last = bisect.bisect_right(self._began_ns, answer.end_ns)
        first = max(bisect.bisect_right(self._known_ns, answer.start_ns) - 1, 0)
        return set(self._allowed[first:last])


def start_load(mesh: Mesh, mode: Mode, tools: Path, record: Path) -> Load:
    """Calls from the caller's place, its own address for the service, for LOAD_S."""
    environment = mesh.environment(f"caller.{NAMESPACE}")
    host, port = environment["ECHO_SERVICE_HOST"], int(environment["ECHO_SERVICE_PORT"])
    options = (*mode.words, "-c", 32, "-t", LOAD_S, "-w", 0, "--record", record)
    return load_at(tools, f"{host}:{port}", *options)


def is_steerable(mesh: Mesh) -> bool:
    """Not by httpx: when nothing listens yet, it leaves an open socket behind."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(mesh.directory / ".meltemi" / "meltemi.sock"))
    return True


def test_rules_that_are_applied_under_load_are_obeyed_and_cost_no_request(
    echo_mesh: Mesh, mode: Mode, tools: Path, tmp_path: Path
) -> None:
    chance = random.Random(1)
    record = tmp_path / "record"
    with Rules(echo_mesh) as rules:
        rules.apply("v1")
        time.sleep(SWAP_NS / 1e9)
        requests = start_load(echo_mesh, mode, tools, record)
        end = time.monotonic() + LOAD_S - 1
        while time.monotonic() < end:
            rules.apply(chance.choice(VERSIONS))
        result = requests.result()

        judged = [(answer.backend, rules.allow(answer)) for answer in answers(record)]
    assert [found for found in judged if found[0] not in found[1]] == []
    assert len(judged) == result["answers"] > 1000
    assert len(rules) > 15
    assert sum(len(allowed) < len(VERSIONS) for _, allowed in judged) > len(judged) / 2


def test_requests_go_on_while_the_control_plane_is_dead_and_back(
    echo_mesh: Mesh, mode: Mode, tools: Path, tmp_path: Path
) -> None:
    record = tmp_path / "record"
    pid_file = echo_mesh.directory / ".meltemi" / "control-plane.pid"
    with Rules(echo_mesh) as rules:
        rules.apply("v1")
    time.sleep(0.2)
    requests = start_load(echo_mesh, mode, tools, record)
    time.sleep(1)
    dead = int(pid_file.read_text())
    os.kill(dead, signal.SIGKILL)
    eventually(lambda: int(pid_file.read_text()) != dead, within_s=5)
    eventually(lambda: is_steerable(echo_mesh), within_s=5)
    with Rules(echo_mesh) as rules:
        began_ns = time.monotonic_ns()
        rules.apply("v2")
    result = requests.result()  # fails when a request did, or a connection was closed

    versions = {answer.backend for answer in answers(record) if answer.start_ns < began_ns}
    assert versions == {"echo-v1-0"}
    assert result["backends"]["echo-v2-0"] > 100
