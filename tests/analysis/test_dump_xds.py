"""`meltemi dump-xds`: what a node would get, from files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from meltemi.xds import messages

HOST = "hello.shop.svc.cluster.local"
MESH = """
apiVersion: v1
kind: Service
metadata: {name: hello, namespace: shop}
spec:
  selector: {app: hello}
  ports: [{name: tcp-metaprotocol-thrift, port: 9090}]
---
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: hello, namespace: shop}
spec:
  hosts: [hello.shop.svc.cluster.local]
  routes:
  - name: all
    route: [{destination: {host: hello.shop.svc.cluster.local}}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: hello, namespace: shop, labels: {app: hello}}
spec:
  command: [python, server.py]
  replicas: 2
  ports: [{name: tcp-thrift, port: 9090}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: client, namespace: shop}
spec: {command: [python, client.py]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path


def meltemi(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meltemi", "dump-xds", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def dump(folder: Path, node: str, *more: str) -> dict[str, Any]:
    done = meltemi("--config", str(folder), "--node", node, "-o", "json", *more)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_has_the_four_sections_each_by_name(folder: Path) -> None:
    shown = dump(folder, "client-0.shop")
    assert set(shown) == {"listeners", "routes", "clusters", "endpoints"}
    assert list(shown["routes"]) == [f"{HOST}_9090"]
    assert list(shown["clusters"]) == list(shown["endpoints"]) == [f"outbound|9090||{HOST}"]
    for named in shown.values():
        for name, resource in named.items():
            assert name in (resource.get("name"), resource.get("clusterName"))


def test_each_resource_is_canonical_protobuf_json(folder: Path) -> None:
    for named in dump(folder, "hello-0.shop").values():
        for resource in named.values():
            type_url = resource.pop("@type")
            parsed = messages.from_json(type_url.rpartition("/")[2], resource)
            assert messages.to_json(parsed, proto_names=False) == resource


def test_a_node_is_named_by_its_id_its_pod_or_its_workload(folder: Path) -> None:
    by_pod = dump(folder, "client-0.shop")
    address = next(iter(by_pod["listeners"].values()))["address"]["socketAddress"]["address"]
    assert address.startswith("127.")
    assert dump(folder, "client.shop") == dump(folder, "client", "-n", "shop") == by_pod
    unknown = meltemi("--config", str(folder), "--node", "sidecar~1.2.3.4~client-0.shop~x")
    assert unknown.returncode == 1
    assert "client-0.shop, hello-0.shop, hello-1.shop" in unknown.stderr


def test_the_same_directory_gives_the_same_dump(folder: Path) -> None:
    arguments = ("--config", str(folder), "--node", "hello-1.shop", "-o", "json")
    assert meltemi(*arguments).stdout == meltemi(*arguments).stdout
    assert [path.name for path in folder.iterdir()] == ["mesh.yaml"]


def test_the_client_decides_what_it_gets(folder: Path) -> None:
    def filters(client: str) -> set[str]:
        shown = dump(folder, "hello-0.shop", "--client", client)
        return {
            chain["filters"][0]["name"].rpartition(".")[2]
            for listener in shown["listeners"].values()
            for chain in listener.get("filterChains", [{"filters": [{"name": "by-name"}]}])
        }

    assert filters("sidecar") == {"meta_protocol_proxy"}
    assert filters("envoy") == {"thrift_proxy"}
    assert filters("grpc") == filters("sdk") == {"by-name"}
    assert filters("kitex") == {"http_connection_manager"}


def test_addresses_are_those_of_the_last_run(folder: Path) -> None:
    (folder / ".meltemi").mkdir()
    known = {"subnet": "127.77", "addresses": {"instance/shop/hello-0": "127.77.1.2"}}
    (folder / ".meltemi" / "addresses.json").write_text(json.dumps(known))
    assert "127.77.1.2_9090" in dump(folder, "hello-0.shop")["listeners"]


def test_without_an_output_it_is_a_table(folder: Path) -> None:
    done = meltemi("--config", str(folder), "--node", "client-0.shop")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].split() == ["TYPE", "NAME", "WHAT"]
    assert "outbound meta_protocol_proxy" in done.stdout


def test_the_table_says_what_envoy_cannot_match(folder: Path) -> None:
    match = "match: {attributes: {method: {prefix: say}}}"
    narrow = f"- {{name: narrow, {match}, route: [{{destination: {{host: h.i}}}}]}}"
    text = MESH.replace("- name: all\n", f"{narrow}\n  - name: all\n")
    (folder / "mesh.yaml").write_text(text)
    done = meltemi("--config", str(folder), "--node", "client-0.shop", "--client", "envoy")
    assert done.returncode == 0
    reason = "Envoy's Thrift proxy cannot test method by prefix"
    assert f"thrift_proxy, leaves out route 'narrow': {reason}" in done.stdout


def test_several_replicas_are_listed(folder: Path) -> None:
    done = meltemi("--config", str(folder), "--node", "hello.shop")
    assert done.returncode == 1
    assert "several replicas: hello-0.shop, hello-1.shop" in done.stderr


def test_a_directory_that_is_not_there_is_one_clear_sentence(tmp_path: Path) -> None:
    done = meltemi("--config", str(tmp_path / "no"), "--node", "x.y")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not there" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_invalid_document_is_said_and_the_rest_is_shown(folder: Path) -> None:
    (folder / "broken.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {nam: x}\n")
    done = meltemi("--config", str(folder), "--node", "client-0.shop", "-o", "json")
    assert done.returncode == 1
    assert "broken.yaml:3" in done.stderr
    assert json.loads(done.stdout)["routes"]


def test_wrong_usage_is_exit_2(folder: Path) -> None:
    assert meltemi("--config", str(folder)).returncode == 2
    wrong = ("--config", str(folder), "--node", "client-0.shop", "--client", "nginx")
    assert meltemi(*wrong).returncode == 2


def test_the_table_shows_listeners_that_are_asked_for_by_name(folder: Path) -> None:
    done = meltemi("--config", str(folder), "--node", "client-0.shop", "--client", "grpc")
    assert done.returncode == 0, done.stderr
    host = "hello.shop.svc.cluster.local"
    assert f"by name, routes outbound|9090||{host}" in done.stdout
