"""The receiver through a real socket: OpenTelemetry's own exporter sends, httpx reads."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it has none
from meltemi.traces import otlp
from meltemi.traces.receiver import PORTS, Receiver, bound
from meltemi.traces.store import Limits, Store
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanKind
from otlp_spans import TRACE, bookinfo, export, of, span

HEADERS = {"content-type": otlp.PROTOBUF}


@pytest_asyncio.fixture
async def client(free_port: Callable[[], int]) -> AsyncIterator[httpx.AsyncClient]:
    receiver = Receiver(Store(Limits(spans_of_a_trace=20)))
    listening = bound(free_port())
    await receiver.start(listening)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as connected:
        yield connected
    await receiver.close()


async def post(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/v1/traces", content=body, headers={**HEADERS, **more})


async def trace(client: httpx.AsyncClient, trace_id: str = TRACE) -> Any:
    answer = await client.get(f"/api/traces/{trace_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_opentelemetrys_own_exporter_is_understood(
    client: httpx.AsyncClient, compression: Compression
) -> None:
    exporter = OTLPSpanExporter(f"{client.base_url}/v1/traces", compression=compression)
    provider = TracerProvider(
        resource=Resource({"service.name": "reviews", "service.version": "v2"})
    )
    results: list[SpanExportResult] = []

    class Exporting(SimpleSpanProcessor):
        def on_end(self, span: Any) -> None:
            results.append(self.span_exporter.export((span,)))

    provider.add_span_processor(Exporting(exporter))
    tracer = provider.get_tracer("test")

    def served() -> str:
        with tracer.start_as_current_span("ReviewProduct", kind=SpanKind.SERVER) as made:
            made.set_attribute("rpc.system", "thrift")
        return f"{made.get_span_context().trace_id:032x}"

    trace_id = await asyncio.to_thread(served)
    assert results == [SpanExportResult.SUCCESS]
    found = await trace(client, trace_id)
    assert found["complete"]
    (hop,) = found["hops"]
    said = (hop["service"], hop["version"], hop["protocol"], hop["start"], hop["parent"])
    assert said == ("reviews", "v2", "thrift", 0.0, None)
    provider.shutdown()


async def test_a_trace_is_answered_hop_by_hop(client: httpx.AsyncClient) -> None:
    assert (await post(client, export(*bookinfo()))).content == b""
    found = await trace(client)
    assert found["trace_id"] == TRACE
    assert [(hop["service"], hop["lane"]) for hop in found["hops"]] == [
        ("productpage", None),
        ("reviews", "dev"),
        ("ratings", "dev"),
        ("details", "baseline"),
    ]
    assert found["hops"][1]["start"] == 2.0
    assert found["hops"][1]["duration"] == 22.0


async def test_the_graph_is_answered_with_shares_by_lane(client: httpx.AsyncClient) -> None:
    await post(client, export(*bookinfo()))
    found = (await client.get("/api/graph", params={"minutes": "1"})).json()
    edges = {(edge["source"], edge["target"]): edge for edge in found["edges"]}
    assert edges["reviews", "ratings"]["lanes"] == {"dev": 1}
    assert edges["productpage", "reviews"]["duration"] == 22.0
    assert found["minutes"] == 1
    assert {node["service"] for node in found["nodes"]} == {
        "productpage", "reviews", "ratings", "details",
    }  # fmt: skip


async def test_json_is_answered_in_json(client: httpx.AsyncClient) -> None:
    answer = await post(client, b"{}", content_type=otlp.JSON)
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["content-type"] == otlp.JSON
    refused = await post(client, b"[", content_type=otlp.JSON)
    assert (refused.status_code, refused.json()["code"]) == (400, 3)


async def test_errors_are_a_status_of_google_rpc(client: httpx.AsyncClient) -> None:
    answer = await post(client, b"\xff")
    assert (answer.status_code, answer.headers["content-type"]) == (400, otlp.PROTOBUF)
    assert "ExportTraceServiceRequest" in Status.FromString(answer.content).message
    assert (await post(client, b"", content_type="text/plain")).status_code == 415
    large = gzip.compress(bytes(otlp.MAX_BYTES + 1))
    assert (await post(client, large, content_encoding="gzip")).status_code == 413


async def test_spans_that_a_trace_has_no_room_for_are_said(client: httpx.AsyncClient) -> None:
    answer = await post(client, export(of("a", "", *(span(n) for n in range(1, 26)))))
    said = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert said.rejected_spans == 5
    assert "as many spans as are kept" in said.error_message


async def test_what_is_no_trace_is_said(client: httpx.AsyncClient) -> None:
    unknown = await client.get(f"/api/traces/{TRACE}")
    assert (unknown.status_code, TRACE in unknown.json()["error"]) == (404, True)
    assert (await client.get("/api/traces/xyz")).status_code == 400
    for minutes in ("0", "x", "nan", "-1", "1e9"):
        answer = await client.get("/api/graph", params={"minutes": minutes})
        assert answer.status_code == 400, minutes


async def test_a_web_page_of_another_site_gets_nothing(client: httpx.AsyncClient) -> None:
    foreign = {"origin": "http://evil.example"}
    assert (await client.get("/api/graph", headers=foreign)).status_code == 403
    assert (await post(client, b"", origin="http://evil.example")).status_code == 403
    rebound = {"host": "evil.example"}
    assert (await client.get("/api/graph", headers=rebound)).status_code == 403


def test_the_next_free_port_is_taken(free_port: Callable[[], int]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        with bound(port) as other:
            assert port < other.getsockname()[1] < port + PORTS
