"""A mesh against our real control plane: rules and their edits, restarts, tokens, TLS."""

from __future__ import annotations

import collections
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import control_plane_process
import grpc
import pytest
from control_plane_process import HOST, MESH, Running
from meltemi.proxyless import NotReadyError
from meltemi.proxyless.mesh import Mesh
from mesh_fixtures import Connect, until
from scripted_server import ScriptedServer

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
PATH = "/demo.Greeter/Hello"
SECOND = """\
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: echo-v2, labels: {app: echo, version: v2}}
spec:
  command: [python, server.py]
  ports: [{name: tcp-metaprotocol-thrift, port: 9090}]
"""


def rule(*, v1: int, header: str = "env") -> str:
    """A VirtualService: a header goes to v2, the rest by weight."""
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: echo}}
spec:
  hosts: [echo]
  http:
  - match: [{{headers: {{{header}: {{exact: dev}}}}}}]
    route: [{{destination: {{host: echo, subset: v2}}}}]
  - route:
    - {{destination: {{host: echo, subset: v1}}, weight: {v1}}}
    - {{destination: {{host: echo, subset: v2}}, weight: {100 - v1}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mesh"
    made.mkdir()
    (made / "mesh.yaml").write_text(MESH + SECOND)
    (made / "rule.yaml").write_text(rule(v1=80))
    return made


@pytest.fixture
def ports(free_port: Callable[[], int]) -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def control_plane(folder: Path, ports: tuple[int, int]) -> Iterator[Running]:
    with control_plane_process.running(folder, ports) as started:
        yield started


def subsets(mesh: Mesh, calls: int = 1000, **headers: str) -> collections.Counter[str]:
    """How often each subset of echo was chosen."""
    found: collections.Counter[str] = collections.Counter()
    target = mesh.target("echo:9090")
    for _ in range(calls):
        call = mesh.call(target, PATH, list(headers.items()))
        found[call.cluster.split("|")[2]] += 1
        call.succeeded()
    return found


def v1_percent(mesh: Mesh) -> int:
    """Of 1,000 calls, which are within 1 % of the weights."""
    found = subsets(mesh)
    assert found.total() == 1000
    return round(found["v1"] / 10)


@both
def test_calls_go_by_the_rules_and_their_edits(
    control_plane: Running, connect: Connect, delta: bool
) -> None:
    mesh = connect(control_plane.xds, delta=delta)
    assert v1_percent(mesh) == 80
    assert subsets(mesh, env="dev") == {"v2": 1000}
    (control_plane.directory / "rule.yaml").write_text(rule(v1=10, header="lane"))
    until(lambda: subsets(mesh, 10, lane="dev") == {"v2": 10})
    assert v1_percent(mesh) == 10


@both
@pytest.mark.parametrize("text", ["echo:9090", "echo.default:9090", f"{HOST}:9090"])
def test_a_service_is_called_by_each_of_its_names(
    control_plane: Running, connect: Connect, delta: bool, text: str
) -> None:
    mesh = connect(control_plane.xds, delta=delta)
    call = mesh.call(mesh.target(text), PATH, [("env", "dev")])
    assert call.cluster == f"outbound|9090|v2|{HOST}"


def test_the_control_plane_may_be_killed_and_come_back_with_other_rules(
    folder: Path, ports: tuple[int, int], connect: Connect
) -> None:
    with control_plane_process.running(folder, ports) as first:
        mesh = connect(first.xds)
        assert v1_percent(mesh) == 80
        first.kill()
        until(lambda: not mesh.status()["connected"])
        assert v1_percent(mesh) == 80
    (folder / "rule.yaml").write_text(rule(v1=0))
    with control_plane_process.running(folder, ports):
        until(lambda: subsets(mesh, 10) == {"v2": 10}, within_s=20)


def test_a_workload_shows_its_token(control_plane: Running, connect: Connect) -> None:
    node_id = control_plane.node_id("caller")
    without = connect(control_plane.xds, node_id=node_id, ready_timeout_s=1)
    with pytest.raises(NotReadyError, match=r"UNAUTHENTICATED|PERMISSION_DENIED"):
        without.call(without.target("echo:9090"), PATH)
    token = control_plane.token(node_id)
    mesh = connect(control_plane.xds, node_id=node_id, token=token)
    assert v1_percent(mesh) == 80


def test_a_token_is_read_again_for_each_connection(
    control_plane: Running, connect: Connect, tmp_path: Path
) -> None:
    """Reference 6.13: a token that is over is replaced in its file, and nobody starts anew."""
    node_id = control_plane.node_id("caller")
    file = tmp_path / "token"
    mesh = connect(control_plane.xds, node_id=node_id, token_file=file, ready_timeout_s=0.5)
    with pytest.raises(NotReadyError, match="No such file"):
        mesh.call(mesh.target("echo:9090"), PATH)
    file.write_text("wrong\n")
    until(lambda: "No such file" not in str(mesh.status()["last_error"]))
    file.write_text(control_plane.token(node_id) + "\n")
    until(lambda: mesh.status()["connected"], within_s=20)
    mesh.warm(["echo:9090"], 5)


def test_an_explanation_says_which_rule_and_why(control_plane: Running, connect: Connect) -> None:
    mesh = connect(control_plane.xds)
    mesh.serves(mesh.target("echo:9090"), "/demo.Greeter/")
    found = mesh.explain("echo:9090", method="Hello", headers={"env": "dev"})
    assert found["cluster"] == f"outbound|9090|v2|{HOST}"
    assert found["endpoint"] in str(found)
    assert mesh.status()["types"]["Cluster"]["resources"] == 2


def test_importing_the_client_imports_neither_grpc_nor_the_control_plane() -> None:
    """A Thrift client's memory is its own."""
    script = (
        "import sys; from meltemi.proxyless import mesh; "
        "print([m for m in ('grpc', 'pydantic', 'yaml', 'rich', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# === TLS ===


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Key and self-signed certificate of a name."""
    key, made = folder / f"{name}.key", folder / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", str(key), "-out", str(made), "-days", "2"]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run(command, check=True, capture_output=True)
    return key, made


@pytest.fixture
def tls_server(
    tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[tuple[ScriptedServer, Path]]:
    key, made = certificate(tmp_path, "istiod.test")
    server = ScriptedServer(free_port())
    server.service("echo:9090", "c", "127.0.0.1:7001")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), made.read_bytes())])
    server.credentials = credentials
    server.start()
    yield server, made
    server.stop()


def test_tls_is_verified_and_then_used(
    tls_server: tuple[ScriptedServer, Path], connect: Connect
) -> None:
    server, ca = tls_server
    mesh = connect(server.address, ca=ca, server_name="istiod.test", token="secret")
    assert mesh.call(mesh.target("echo:9090"), PATH).address == "127.0.0.1:7001"
    assert server.metadata[0]["authorization"] == "Bearer secret"


def test_a_server_of_another_name_or_authority_is_not_spoken_to(
    tls_server: tuple[ScriptedServer, Path], connect: Connect, tmp_path: Path
) -> None:
    """Reference 6.13: Kitex takes any certificate."""
    server, ca = tls_server
    _key, other = certificate(tmp_path, "other.test")
    for settings in (
        {"ca": ca, "server_name": "somebody.test"},
        {"ca": other, "server_name": "istiod.test"},
        {"tls": True, "server_name": "istiod.test"},
    ):
        mesh = connect(server.address, token="secret", ready_timeout_s=0.5, **settings)
        with pytest.raises(NotReadyError, match="CERTIFICATE_VERIFY_FAILED"):
            mesh.call(mesh.target("echo:9090"), PATH)
    assert server.metadata == [], "no token was sent"


def test_a_server_without_tls_is_not_spoken_to_in_plain_text(
    connect: Connect, free_port: Callable[[], int], tmp_path: Path
) -> None:
    _key, ca = certificate(tmp_path, "istiod.test")
    server = ScriptedServer(free_port()).start()
    try:
        mesh = connect(server.address, ca=ca, token="secret", ready_timeout_s=0.5)
        with pytest.raises(NotReadyError, match=r"SSL|closed|reset"):
            mesh.call(mesh.target("echo:9090"), PATH)
        assert server.metadata == []
    finally:
        server.stop()
