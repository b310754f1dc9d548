"""Workloads without a sidecar that `meltemi up` runs."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from meltemi.xds.resource import Client, Node
from mesh import Mesh, eventually, running

DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec:
  selector: {app: echo}
  ports: [{name: tcp-echo, port: 7000}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: echo, namespace: shop, labels: {app: echo, version: v1}}
spec:
  command: [python, echo.py]
  env: {KITEX_XDS_METAS: own}
  ports: [{name: tcp-echo, port: 7000}]
  mesh: proxyless
"""
ECHO = """
import json, os, pathlib, socket

listening = socket.create_server((os.environ["INSTANCE_IP"], int(os.environ["PORT"])))
new = pathlib.Path("environment.new")
new.write_text(json.dumps(dict(os.environ)))
new.rename("environment.json")
while True:
    connection, _ = listening.accept()
    connection.sendall(os.environ["POD_NAME"].encode())
    connection.close()
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("proxyless") / "shop"
    directory.mkdir()
    (directory / "echo.py").write_text(ECHO)
    (directory / "mesh.yaml").write_text(DOCUMENTS)
    with running(directory) as mesh:
        eventually((directory / "environment.json").exists, 20)
        yield mesh


@pytest.fixture(scope="module")
def environment(shop: Mesh) -> dict[str, str]:
    found: dict[str, str] = json.loads((shop.directory / "environment.json").read_text())
    return found


def test_it_listens_at_its_own_address_and_has_no_sidecar(
    shop: Mesh, environment: dict[str, str]
) -> None:
    assert environment["HOST"] == environment["INSTANCE_IP"]
    status = shop.meltemi("status", "-o", "json").json()
    assert [each["name"] for each in status["processes"]] == ["control-plane", "echo-0.shop"]


def test_it_finds_the_control_plane_and_who_it_is(shop: Mesh, environment: dict[str, str]) -> None:
    xds = shop.meltemi("status", "-o", "json").json()["xds"]
    node = f"sidecar~{environment['INSTANCE_IP']}~echo-0.shop~shop.svc.cluster.local"
    assert environment["MELTEMI_XDS_ADDRESS"] == environment["KITEX_XDS_ISTIO_ADDR"] == xds
    assert environment["MELTEMI_XDS_NODE_ID"] == node
    assert len(environment["MELTEMI_XDS_TOKEN"]) == 64
    assert environment["MELTEMI_XDS_LAST_KNOWN"] == str(shop.directory / ".meltemi" / "last-known")
    path = Path(environment["GRPC_XDS_BOOTSTRAP"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    bootstrap = json.loads(path.read_text())
    assert bootstrap["xds_servers"][0]["server_uri"] == xds
    said = Node.of(bootstrap["node"]["id"], metadata=bootstrap["node"]["metadata"])
    assert (said.id, said.client, said.namespace) == (node, Client.GRPC, "shop")
    assert said.labels == (("app", "echo"), ("version", "v1"))


def test_what_the_workload_says_itself_wins(environment: dict[str, str]) -> None:
    assert environment["KITEX_XDS_METAS"] == "own"


def test_commands_about_a_sidecar_say_what_to_use_instead(shop: Mesh) -> None:
    ended = shop.meltemi("proxy", "clusters", "echo.shop")
    assert ended.code == 1
    assert "echo-0.shop has no sidecar: its mesh mode is proxyless" in ended.err
    assert "meltemi explain SERVICE --from echo-0.shop" in ended.err


def test_explain_and_dump_xds_know_it_as_a_client_of_its_own(shop: Mesh) -> None:
    answer = shop.meltemi("explain", "echo", "--from", "echo.shop", "-o", "json").json()
    assert answer["client"] == "sdk"
    assert [each["workload"] for each in answer["clusters"][0]["endpoints"]] == ["echo.shop"]
