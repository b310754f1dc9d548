"""The example of docs/proxyless-thrift.md is run as it stands there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from control_plane_process import running
from meltemi.proxyless.thrift import errors
from ruled_service import SERVICE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "proxyless-thrift.md"


def block(mark: str) -> str:
    found = re.search(rf"<!-- test: {mark} -->\n```\w+\n(.*?)^```$", PAGE.read_text(), re.S | re.M)
    assert found, f"there is no block marked {mark}"
    return found[1]


def test_the_page_goes_from_a_thriftpy2_client_to_a_routed_one(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    ports = {"v1": free_port(), "v2": free_port()}
    mesh = tmp_path / "mesh"
    mesh.mkdir()
    endpoints = "\n".join(
        f"  - {{address: 127.0.0.1, ports: {{tcp-books: {port}}}, labels: {{version: {name}}}}}"
        for name, port in ports.items()
    )
    subsets = "\n".join(f"  - {{name: {name}, labels: {{version: {name}}}}}" for name in ports)
    service = SERVICE.format(
        host="books.mesh", protocol="tcp", endpoints=endpoints, subsets=subsets
    )
    rules = re.search(r"```yaml\n(.*?)^```$", PAGE.read_text(), re.S | re.M)
    assert rules
    assert yaml.safe_load(rules[1])["kind"] == "VirtualService"
    (mesh / "mesh.yaml").write_text(f"{service}---\n{rules[1]}")
    (tmp_path / "books.thrift").write_text(block("idl"))
    servers = []
    for name, port in ports.items():
        text = (
            block("server").replace("9080", str(port)).replace("the author", f"{name}: the author")
        )
        servers.append(subprocess.Popen([sys.executable, "-c", text], cwd=tmp_path))
    try:
        with running(mesh, (free_port(), free_port())) as plane:
            for port in ports.values():
                _listens(port)
            environment = {**os.environ, "MELTEMI_XDS_ADDRESS": plane.xds}
            blocking = _run(block("client"), tmp_path, environment)
            assert blocking == ["v1: the author of Emma, asked from lane None"]
            assert _run(block("asyncio"), tmp_path, environment) == [
                "v2: the author of Emma, asked from lane dev",
                "v2: the author of Ulysses, asked from lane dev",
            ]
    finally:
        for server in servers:
            server.kill()
            server.wait()


def _listens(port: int) -> None:
    ends = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert time.monotonic() < ends
            time.sleep(0.02)


def _run(text: str, folder: Path, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_page_names_every_error_of_thrift_calls() -> None:
    text = PAGE.read_text()
    for name in vars(errors):
        if name.endswith("Error") and vars(errors)[name].__module__ == errors.__name__:
            assert f"`{name}`" in text, name
