"""What serves the page: caching, its policy, and the traces that it passes on."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator, Callable

import httpx
import otlp_spans
import pytest_asyncio
from meltemi import page
from meltemi.traces import otlp
from meltemi.traces.receiver import Receiver, bound
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def own(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.method} {request.url.path}")


APP = Starlette(routes=[Route("/{path:path}", own, methods=["GET", "POST"])])


def client_of(environment: dict[str, str]) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=page.asgi(APP, environment))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of({}) as found:
        yield found


@pytest_asyncio.fixture
async def receiver(free_port: Callable[[], int]) -> AsyncIterator[str]:
    serving, listening = Receiver(), bound(free_port())
    await serving.start(listening)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    await serving.close()


async def test_the_page_is_asked_for_anew_and_its_parts_never(client: httpx.AsyncClient) -> None:
    index = await client.get("/")
    assert index.headers["cache-control"] == "no-cache"
    parts = re.findall(r'(?:src|href)="(/[^"]+)"', index.text)
    assert {part.rpartition(".")[2] for part in parts} == {"css", "js", "svg"}
    for part in parts:
        found = await client.get(part)
        assert found.status_code == 200
        forever = "immutable" in found.headers["cache-control"]
        assert forever == part.startswith("/assets/")


async def test_what_a_browser_has_is_not_sent_again(client: httpx.AsyncClient) -> None:
    etag = (await client.get("/")).headers["etag"]
    again = await client.get("/", headers={"if-none-match": etag})
    assert (again.status_code, again.content) == (304, b"")
    other = await client.get("/", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


async def test_it_is_sent_gzipped_to_who_takes_it(client: httpx.AsyncClient) -> None:
    plain = await client.get("/", headers={"accept-encoding": "identity"})
    packed = await client.get("/", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "accept-encoding"
    assert packed.content == plain.content
    length = int(packed.headers["content-length"])
    assert length == len(gzip.compress(plain.content, 9, mtime=0)) < len(plain.content)


async def test_head_is_answered_without_a_body(client: httpx.AsyncClient) -> None:
    found = await client.head("/", headers={"accept-encoding": "identity"})
    assert (found.content, int(found.headers["content-length"]) > 0) == (b"", True)


async def test_nothing_inline_and_nothing_of_others_may_run(client: httpx.AsyncClient) -> None:
    index = await client.get("/")
    policy = index.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|https?://", index.text)


async def test_all_else_is_the_applications(client: httpx.AsyncClient) -> None:
    for method, path in (
        ("GET", "/api/v1/products/1"),
        ("GET", "/assets/none.js"),
        ("GET", "/../pyproject.toml"),
        ("POST", "/"),
        ("GET", "/api/v1/traces/nothex"),
    ):
        answer = await client.request(method, path)
        assert answer.text.startswith(f"{method} /"), path


async def test_traces_and_graph_are_passed_on(receiver: str) -> None:
    async with client_of({"MELTEMI_TRACES": receiver}) as client, httpx.AsyncClient() as sdk:
        body, headers = otlp_spans.export(*otlp_spans.bookinfo()), {"content-type": otlp.PROTOBUF}
        await sdk.post(f"{receiver}/v1/traces", content=body, headers=headers)
        found = await client.get(f"/api/v1/traces/{otlp_spans.TRACE}")
        assert [hop["service"] for hop in found.json()["hops"]][:2] == ["productpage", "reviews"]
        assert found.headers["cache-control"] == "no-store"
        graph = await client.get("/api/v1/graph", params={"minutes": "1"})
        assert graph.json()["minutes"] == 1
        assert (await client.get("/api/v1/graph", params={"minutes": "x"})).status_code == 400


async def test_a_trace_that_is_not_known_yet_is_empty_and_incomplete(receiver: str) -> None:
    async with client_of({"MELTEMI_TRACES": receiver}) as client:
        found = await client.get(f"/api/v1/traces/{otlp_spans.TRACE}")
    wanted = {"trace_id": otlp_spans.TRACE, "complete": False, "hops": []}
    assert (found.status_code, found.json()) == (200, wanted)


async def test_a_receiver_that_is_away_is_said(free_port: Callable[[], int]) -> None:
    async with client_of({"MELTEMI_TRACES": f"http://127.0.0.1:{free_port()}"}) as client:
        found = await client.get("/api/v1/graph")
    assert (found.status_code, "cannot be read" in found.json()["error"]) == (502, True)


async def test_a_collector_of_the_users_is_named() -> None:
    theirs = {"MELTEMI_TRACES": "", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    async with client_of(theirs) as client:
        found = await client.get("/api/v1/graph")
    assert found.status_code == 404
    assert found.json()["collector"] == "http://collector:4318"


async def test_without_any_receiver_it_is_said_who_has_one(client: httpx.AsyncClient) -> None:
    found = await client.get("/api/v1/graph")
    assert found.status_code == 404
    assert "meltemi up" in found.json()["hint"]
