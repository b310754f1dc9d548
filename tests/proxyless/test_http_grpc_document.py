"""The examples of docs/proxyless-http-grpc.md are run as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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
        *("context", "servers", "handoff"),
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
    made: dict[str, httpx.ASGITransport] = {}
    exec(f"{EXAMPLES['servers']}\nmade['transport'] = app", {"made": made})
    transport = httpx.ASGITransport(made["transport"])  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://books") as client:
        response = await client.get("/", headers={"baggage": "env=dev"})
    assert response.text == "{'env': 'dev'}"


def test_threads_pools_and_queues_take_the_context() -> None:
    assert ran("handoff").split() == ["dev", "dev", "dev"]


def test_every_attribute_of_a_span_is_in_the_page() -> None:
    source = Path(tracing.__file__).read_text()
    names = set(re.findall(r'"((?:rpc|http|url|server|network|meltemi|error)\.[a-z._]+)"', source))
    names.remove("meltemi.proxyless")  # which makes them
    assert "meltemi.route" in names
    missing = [name for name in names if f"`{name}`" not in PAGE.read_text()]
    assert missing == []
