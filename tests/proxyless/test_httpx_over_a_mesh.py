"""httpx, sync and async, over a real control plane's rules, to real servers."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from meltemi.proxyless import baggage
from opentelemetry import baggage as otel
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ruled_service import HOST, VERSIONS, Ruled, ruled
from versioned_http import SLOW_S, Versioned, serving

URL = f"http://{HOST}:9080"
TO_ALL = "- route: [{destination: {host: books.mesh}}]"
TO_V1 = "- route: [{destination: {host: books.mesh, subset: v1}}]"
NO_RETRY = "retries: {attempts: 0}"

Requests = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def servers(free_port: Callable[[], int]) -> Iterator[dict[str, Versioned]]:
    with serving({version: free_port() for version in VERSIONS}) as made:
        yield made


@pytest.fixture(scope="module")
def service(
    servers: dict[str, Versioned],
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[Ruled]:
    ports = {version: server.server_port for version, server in servers.items()}
    ports["dead"] = free_port()
    directory = tmp_path_factory.mktemp("httpx") / "mesh"
    with ruled(directory, (free_port(), free_port()), "http", ports) as made:
        yield made


@pytest.fixture(params=["sync", "async"])
def request_by(request: pytest.FixtureRequest, service: Ruled) -> Iterator[Requests]:
    """Sends a request by either client; the body is read."""
    if request.param == "sync":
        with service.mesh.httpx(URL) as client:
            yield client.request
        return

    async def send(*args: Any, **options: Any) -> httpx.Response:
        content = options.get("content")
        if content is not None and not isinstance(content, (bytes, str)):
            options["content"] = _aiter(content)
        async with service.mesh.httpx_async(URL) as client:
            return await client.request(*args, **options)

    yield lambda *args, **options: asyncio.run(send(*args, **options))


async def _aiter(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def headers_of(response: httpx.Response, name: str) -> list[str]:
    return [value for each, value in response.json()["headers"] if each == name]


def test_requests_go_where_the_rules_send_them(service: Ruled, request_by: Requests) -> None:
    service.rules("""
    - match: [{uri: {prefix: /new}}]
      route: [{destination: {host: books.mesh, subset: v2}}]
    - match: [{headers: {x-user: {exact: ann}}, method: {exact: POST}}]
      route: [{destination: {host: books.mesh, subset: v3}}]
    - route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    assert request_by("GET", "/new/1?q=/old").json()["version"] == "v2"
    assert request_by("POST", "/old", headers={"X-User": "ann"}).json()["version"] == "v3"
    assert request_by("GET", "/old?next=/new", headers={"X-User": "ann"}).json()["version"] == "v1"


def test_shares_are_within_one_percent(service: Ruled) -> None:
    service.rules("""
    - route:
      - {destination: {host: books.mesh, subset: v1}, weight: 80}
      - {destination: {host: books.mesh, subset: v3}, weight: 20}
    """)
    with service.mesh.httpx(URL) as client:
        seen = Counter(client.get("/").json()["version"] for _ in range(300))
    assert abs(seen["v1"] - 240) <= 3
    assert seen["v1"] + seen["v3"] == 300


def test_the_request_arrives_as_it_was_written(service: Ruled, request_by: Requests) -> None:
    service.rules(TO_V1)
    response = request_by("POST", "/a%20b/c?d=e%2Ff", content=b"body", headers={"X-A": "1"})
    told = response.json()
    assert (told["path"], told["body"]) == ("/a%20b/c?d=e%2Ff", "body")
    assert headers_of(response, "host") == [f"{HOST}:9080"]
    assert headers_of(response, "x-a") == ["1"]
    assert told["caller"] == "127.0.0.7", "bound to the caller's own address"
    assert str(response.url) == f"{URL}/a%20b/c?d=e%2Ff"


def test_baggage_of_the_context_routes_and_travels(service: Ruled, request_by: Requests) -> None:
    service.rules("""
    - match: [{headers: {baggage: {exact: env=dev}}}]
      route: [{destination: {host: books.mesh, subset: v2}}]
    - route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    assert request_by("GET", "/").json()["version"] == "v1"
    token = attach(otel.set_baggage("env", "dev"))
    try:
        response = request_by("GET", "/")
    finally:
        detach(token)
    assert response.json()["version"] == "v2"
    assert headers_of(response, "baggage") == ["env=dev"]


def test_a_header_of_the_application_is_kept(service: Ruled, request_by: Requests) -> None:
    service.rules(TO_V1)
    token = attach(baggage.replaced(baggage.parse("env=dev;ttl=3,user=8"), Context()))
    try:
        response = request_by("GET", "/", headers={"baggage": "user=7"})
    finally:
        detach(token)
    assert headers_of(response, "baggage") == ["user=7,env=dev;ttl=3"]


def test_headers_change_as_the_route_says(service: Ruled, request_by: Requests) -> None:
    service.rules("""
    - headers:
        request: {set: {x-a: changed}, add: {x-b: added}, remove: [x-c]}
        response: {set: {x-version: hidden}, add: {x-d: added}, remove: [server]}
      route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    response = request_by("GET", "/", headers={"x-a": "1", "x-b": "1", "x-c": "1"})
    assert headers_of(response, "x-a") == ["changed"]
    assert headers_of(response, "x-b") == ["1", "added"]
    assert headers_of(response, "x-c") == []
    assert response.headers["x-version"] == "hidden"
    assert response.headers["x-d"] == "added"
    assert "server" not in response.headers


def test_a_routes_timeout_ends_a_slow_request(service: Ruled, request_by: Requests) -> None:
    service.rules(f"""
    - timeout: 0.3s
      {NO_RETRY}
      route: [{{destination: {{host: books.mesh, subset: v1}}}}]
    """)
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout, match=r"books\.mesh:9080 at 127.*the route's 0.3 s"):
        request_by("GET", "/slow")
    assert time.monotonic() - began < SLOW_S / 2


def test_a_routes_timeout_covers_the_whole_response(service: Ruled, request_by: Requests) -> None:
    service.rules("""
    - timeout: 0.3s
      route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    with pytest.raises(httpx.ReadTimeout):
        request_by("GET", "/parts")


@pytest.mark.parametrize("timeout", ["{}", "{timeout: 10s}"])
def test_the_callers_smaller_timeout_holds(
    service: Ruled, request_by: Requests, timeout: str
) -> None:
    service.rules(f"""
    - <<: {timeout}
      route: [{{destination: {{host: books.mesh, subset: v1}}}}]
    """)
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        request_by("GET", "/slow", timeout=0.3)
    assert time.monotonic() - began < SLOW_S / 2


def test_a_slow_attempt_is_followed_by_another(
    service: Ruled, request_by: Requests, servers: dict[str, Versioned]
) -> None:
    service.rules("""
    - timeout: 3s
      retries: {attempts: 1, perTryTimeout: 0.2s, retryOn: gateway-error}
      route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    before = servers["v1"].requests
    with pytest.raises(httpx.ReadTimeout, match="attempt 2"):
        request_by("GET", "/slow")
    assert servers["v1"].requests - before == 2


RETRIED = """
- retries: {attempts: 5, retryOn: 5xx}
  route: [{destination: {host: books.mesh}}]
"""
FAILING = {"x-unhealthy": "v1,v2"}


def test_bad_answers_are_retried(service: Ruled, request_by: Requests) -> None:
    service.rules(RETRIED)
    for _ in range(6):
        response = request_by("POST", "/", content=b"body", headers=FAILING)
        assert (response.status_code, response.json()["version"]) == (200, "v3")
        assert response.json()["body"] == "body"


def test_the_last_bad_answer_is_the_answer(
    service: Ruled, request_by: Requests, servers: dict[str, Versioned]
) -> None:
    service.rules("""
    - retries: {attempts: 2, retryOn: 5xx}
      route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    before = servers["v1"].requests
    response = request_by("GET", "/", headers=FAILING)
    assert (response.status_code, response.text) == (503, "unhealthy")
    assert servers["v1"].requests - before == 3


def test_a_body_that_was_begun_is_not_sent_again(
    service: Ruled, request_by: Requests, servers: dict[str, Versioned]
) -> None:
    service.rules("""
    - retries: {attempts: 5, retryOn: 5xx}
      route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    before = servers["v1"].requests
    response = request_by("POST", "/", content=iter([b"a", b"b"]), headers=FAILING)
    assert (response.status_code, servers["v1"].requests - before) == (503, 1)


def test_a_dead_endpoint_costs_no_request(service: Ruled, request_by: Requests) -> None:
    service.rules(TO_ALL)
    for _ in range(8):
        response = request_by("POST", "/", content=iter([b"a", b"b"]))
        assert (response.status_code, response.json()["body"]) == (200, "ab")


def test_a_service_that_is_down_is_told_by_its_address(
    service: Ruled, request_by: Requests
) -> None:
    service.rules("- route: [{destination: {host: books.mesh, subset: dead}}]")
    with pytest.raises(httpx.ConnectError, match=r"books\.mesh:9080 at 127\.0\.0\.1:\d+, attempt"):
        request_by("GET", "/")


def test_a_request_without_a_route_says_why(service: Ruled, request_by: Requests) -> None:
    service.rules("""
    - match: [{uri: {prefix: /only}}]
      route: [{destination: {host: books.mesh}}]
    """)
    with pytest.raises(httpx.ConnectError) as told:
        request_by("GET", "/other")
    assert told.value.__cause__ is not None
    assert type(told.value.__cause__).__name__ == "NoRouteError"
    assert str(told.value) == str(told.value.__cause__)


def test_a_route_may_answer_itself(service: Ruled, request_by: Requests) -> None:
    service.rules("""
    - match: [{uri: {prefix: /moved}}]
      redirect: {uri: /elsewhere}
    - route: [{destination: {host: books.mesh}}]
    """)
    response = request_by("GET", "/moved")
    assert (response.status_code, "redirect" in response.text) == (501, True)


def test_https_is_refused_with_a_hint(request_by: Requests) -> None:
    with pytest.raises(httpx.UnsupportedProtocol, match="calls through a mesh are http://"):
        request_by("GET", f"https://{HOST}/")


def test_parts_of_a_response_come_as_they_are_sent(service: Ruled) -> None:
    service.rules(TO_V1)
    began = time.monotonic()
    with (
        service.mesh.httpx(URL) as client,
        client.stream("GET", "/parts") as response,
    ):
        parts = response.iter_text()
        assert next(parts) == "v1-0 "
        assert time.monotonic() - began < 0.2
        assert "".join(parts) == "v1-1 v1-2 "


async def test_parts_of_a_response_come_as_they_are_sent_to_asyncio(service: Ruled) -> None:
    service.rules(TO_V1)
    async with (
        service.mesh.httpx_async(URL) as client,
        client.stream("GET", "/parts") as response,
    ):
        assert [part async for part in response.aiter_text()] == ["v1-0 ", "v1-1 ", "v1-2 "]


def test_a_transport_is_mounted_by_host(service: Ruled, servers: dict[str, Versioned]) -> None:
    service.rules(TO_V1)
    with httpx.Client(
        mounts={f"all://{HOST}": service.mesh.httpx_transport()}, trust_env=False
    ) as client:
        assert client.get(URL).json()["version"] == "v1"
        direct = client.get(f"http://127.0.0.1:{servers['v2'].server_port}/")
        assert direct.json()["version"] == "v2"


def test_threads_share_a_client(service: Ruled) -> None:
    service.rules(TO_ALL)
    seen: list[int] = []

    def calls(client: httpx.Client) -> None:
        seen.extend(client.get("/").status_code for _ in range(20))

    with service.mesh.httpx(URL) as client:
        threads = [threading.Thread(target=calls, args=(client,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [200] * 160


def test_a_forked_child_has_its_own_connections(service: Ruled) -> None:
    service.rules(TO_V1)
    with service.mesh.httpx(URL) as client:
        assert client.get("/").status_code == 200
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if client.get("/").json()["version"] == "v1" else 2
            finally:
                os._exit(status)
        assert client.get("/").status_code == 200
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_client_that_is_gone_is_forgotten(service: Ruled) -> None:
    service.rules(TO_V1)
    with service.mesh.httpx(URL) as client:
        client.get("/")
        transport = weakref.ref(client._transport)
    del client
    gc.collect()
    assert transport() is None


def test_a_request_has_a_span(
    service: Ruled, request_by: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.rules(RETRIED)
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    response = request_by("GET", "/a?b=1", headers=FAILING)
    (span,) = exporter.get_finished_spans()
    said = dict(span.attributes or {})
    assert span.context is not None
    (traceparent,) = headers_of(response, "traceparent")
    assert traceparent.split("-")[1:3] == [
        trace.format_trace_id(span.context.trace_id),
        trace.format_span_id(span.context.span_id),
    ]
    assert (said["url.full"], said["http.response.status_code"]) == (f"{URL}/a?b=1", 200)
    assert said["meltemi.cluster"] == "outbound|9080||books.mesh"
    assert said["network.peer.address"] == "127.0.0.1"
    assert int(str(said["meltemi.attempts"])) >= 1
