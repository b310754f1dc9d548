"""The examples of docs/proxyless-http-grpc.md are run as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import versioned_grpc
import versioned_http
from meltemi.proxyless import tracing
from ruled_service import Ruled, ruled

PAGE = Path(__file__).resolve().parents[2] / "docs" / "proxyless-http-grpc.md"
EXAMPLES = dict(
    re.findall(r"<!-- test: (\S+) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
)
ROUTE = "- route: [{destination: {host: books.mesh, subset: v2}}]"


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Ruled]:
    ports = {"v1": free_port(), "v2": free_port()}
    directory = tmp_path_factory.mktemp("page") / "http"
    with (
        versioned_http.serving(ports),
        ruled(directory, (free_port(), free_port()), "http", ports) as made,
    ):
        made.rules(ROUTE)
        yield made


@pytest.fixture(scope="module")
def grpc_service(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Ruled]:
    ports = {"v1": free_port(), "v2": free_port()}
    directory = tmp_path_factory.mktemp("page") / "grpc"
    with (
        versioned_grpc.serving(ports),
        ruled(directory, (free_port(), free_port()), "grpc", ports) as made,
    ):
        made.rules(ROUTE)
        yield made


def ran(example: str, service: Ruled | None = None) -> str:
    """What an example prints in a process of its own."""
    environment = {**os.environ, "MELTEMI_XDS_LAST_KNOWN": "off"}
    if service is not None:
        environment["MELTEMI_XDS_ADDRESS"] = service.mesh.status()["server"]
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES[example]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_example_is_run() -> None:
    assert PAGE.read_text().count("```python") == len(EXAMPLES)
    assert set(EXAMPLES) == {
        *("httpx", "httpx-async", "httpx-mounted", "grpc", "grpc-aio"),
        *("context", "servers", "handoff", "colouring", "colouring-files"),
    }


@pytest.mark.parametrize("example", ["httpx", "httpx-async", "httpx-mounted"])
def test_httpx_follows_the_rules(http: Ruled, example: str) -> None:
    assert ran(example, http) == "v2"


@pytest.mark.parametrize("example", ["grpc", "grpc-aio"])
def test_grpc_follows_the_rules(grpc_service: Ruled, example: str) -> None:
    printed = ran(example, grpc_service)
    assert json.loads(printed[2:-1])["version"] == "v2"


def test_a_call_carries_what_the_page_says(http: Ruled) -> None:
    assert ran("context", http) == "env=dev ann"


async def test_the_servers_take_the_context() -> None:
    made: dict[str, Any] = {}
    exec(f"{EXAMPLES['servers']}\nmade['transport'] = app", {"made": made})
    transport = httpx.ASGITransport(made["transport"])
    async with httpx.AsyncClient(transport=transport, base_url="http://books") as client:
        response = await client.get("/", headers={"baggage": "env=dev"})
    assert response.text == "{'env': 'dev'}"


LANES = """
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {name: shop}
spec: {services: [{host: books.mesh}], baggageKey: env}
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {name: dev}
spec: {group: shop, entry: [{headers: {uid: {exact: "100"}}}]}
"""


@pytest.fixture
def edge(http: Ruled, free_port: Callable[[], int], tmp_path: Path) -> Iterator[str]:
    """The address of the page's application under uvicorn, in a mesh with a lane."""
    (http.directory / "lanes.yaml").write_text(LANES)
    (tmp_path / "edge.py").write_text(EXAMPLES["colouring"])
    port = free_port()
    environment = {
        **os.environ,
        "MELTEMI_XDS_LAST_KNOWN": "off",
        "MELTEMI_XDS_ADDRESS": http.mesh.status()["server"],
    }
    command = [sys.executable, "-m", "uvicorn", "edge:app", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def test_an_application_is_its_own_edge(edge: str) -> None:
    transport = httpx.HTTPTransport(retries=10)  # until it listens
    with httpx.Client(base_url=edge, transport=transport) as client:
        ends = time.monotonic() + 10
        while client.get("/", headers={"uid": "100"}).text != "env=dev":
            assert time.monotonic() < ends
        assert client.get("/", headers={"uid": "1", "baggage": "env=dev"}).text == "no mark"
        several = [("baggage", "a=1"), ("Baggage", "%65nv=dev"), ("ot-baggage-env", "dev")]
        assert client.get("/", headers=several).text == "a=1"


def test_an_edge_takes_its_rules_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lanes.yaml").write_text(LANES)
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(f"{EXAMPLES['colouring-files']}\nmade['transport'] = app", {"made": made})
    transport = httpx.WSGITransport(made["transport"])
    with httpx.Client(transport=transport, base_url="http://books") as client:
        assert client.get("/", headers={"uid": "100"}).text == "env=dev"
        assert client.get("/", headers={"baggage": "env=dev"}).text == "no mark"


def test_threads_pools_and_queues_take_the_context() -> None:
    assert ran("handoff").split() == ["dev", "dev", "dev"]


def test_every_attribute_of_a_span_is_in_the_page() -> None:
    source = Path(tracing.__file__).read_text()
    names = set(re.findall(r'"((?:rpc|http|url|server|network|meltemi|error)\.[a-z._]+)"', source))
    names.remove("meltemi.proxyless")  # which makes them
    assert "meltemi.route" in names
    missing = [name for name in names if f"`{name}`" not in PAGE.read_text()]
    assert missing == []
