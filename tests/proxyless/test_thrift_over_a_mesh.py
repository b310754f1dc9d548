"""Thrift calls by the rules of a real control plane, to real servers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from meltemi.proxyless import thrift as mesh_thrift
from meltemi.proxyless.errors import CallTimeoutError, NoRouteError
from meltemi.proxyless.mesh import Mesh
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ruled_service import TARGET, Ruled, ruled
from thrift_peers import Handler, load, running, server_of


class Named(Handler):
    """Answers `echo` with the version that it is."""

    version = ""

    def echo(self, text: str) -> str:
        self.seen("echo")
        return self.version


class Shop:
    """The versions of the service and the rules for them."""

    def __init__(self, module: Any, ruled: Ruled, handlers: dict[str, Named]) -> None:
        self.module = module
        self.ruled = ruled
        self.handlers = handlers

    @property
    def mesh(self) -> Mesh:
        return self.ruled.mesh


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    module = load(folder)
    ports = {version: free_port() for version in ("v1", "v2")}
    handlers = {version: Named(module) for version in ports}
    with contextlib.ExitStack() as stack:
        for version, port in ports.items():
            handlers[version].version = version
            server = mesh_thrift.mesh_server(server_of(module, handlers[version], port))
            stack.enter_context(running(server))
        one = stack.enter_context(ruled(folder / "mesh", (free_port(), free_port()), "tcp", ports))
        yield Shop(module, one, handlers)


LANES = """
- match: [{headers: {baggage: {exact: env=dev}}}]
  route: [{destination: {host: books.mesh, subset: v2}}]
- route: [{destination: {host: books.mesh, subset: v1}}]
"""


def test_the_lane_in_the_baggage_decides(shop: Shop) -> None:
    shop.ruled.rules(LANES)
    with shop.mesh.thrift(TARGET, shop.module.Reviews) as client:
        assert {client.echo("a") for _ in range(10)} == {"v1"}
        token = attach(baggage.set_baggage("env", "dev"))
        try:
            assert {client.echo("a") for _ in range(10)} == {"v2"}
        finally:
            detach(token)
        assert client.echo("a") == "v1"


def test_methods_are_routed_by_kitexs_path_and_weights_hold(shop: Shop) -> None:
    shop.ruled.rules(
        """
        - match: [{uri: {exact: /reviews.Reviews/echo}}]
          route:
          - {destination: {host: books.mesh, subset: v1}, weight: 80}
          - {destination: {host: books.mesh, subset: v2}, weight: 20}
        - match: [{uri: {prefix: /nobody}}]
          route: [{destination: {host: books.mesh, subset: v1}}]
        """
    )
    with shop.mesh.thrift(TARGET, shop.module.Reviews) as client:
        shares = Counter(client.echo("a") for _ in range(500))
        assert abs(shares["v2"] - 100) <= 5
        with pytest.raises(NoRouteError):
            client.ping()
        explained = str(shop.mesh.explain(TARGET, method="echo"))
        assert "/reviews.Reviews/echo" in explained


def test_the_routes_timeout_holds(shop: Shop) -> None:
    shop.ruled.rules("- {timeout: 0.2s, route: [{destination: {host: books.mesh, subset: v1}}]}")
    free = threading.Event()

    def wait(_method: str) -> None:
        free.wait(2)

    shop.handlers["v1"].seen = wait
    try:
        with (
            shop.mesh.thrift(TARGET, shop.module.Reviews, wire="ttheader") as client,
            pytest.raises(CallTimeoutError, match=r"within 0\.2 s"),
        ):
            client.echo("a")
    finally:
        free.set()
        shop.handlers["v1"].seen = lambda _method: None


def test_a_call_has_a_span_that_says_where_it_went(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.ruled.rules(LANES)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    seen: list[int] = []
    shop.handlers["v1"].seen = lambda _method: seen.append(
        trace.get_current_span().get_span_context().span_id
    )
    with shop.mesh.thrift(TARGET, shop.module.Reviews) as client:
        client.echo("a")
        with pytest.raises(shop.module.NoSuchProduct):
            client.review("none")
    first, second = exporter.get_finished_spans()
    assert first.name == "reviews.Reviews/echo"
    assert first.attributes is not None
    assert first.attributes["rpc.system"] == "thrift"
    assert first.attributes["meltemi.cluster"] == "outbound|9080|v1|books.mesh"
    assert first.context is not None
    assert seen[0] == first.context.span_id, "the callee continues it"
    assert first.status.is_ok or first.status.is_unset
    assert second.name == "reviews.Reviews/review"
    shop.handlers["v1"].seen = lambda _method: None


async def test_asyncio_calls_follow_the_same_rules(shop: Shop) -> None:
    shop.ruled.rules(LANES)
    async with shop.mesh.thrift_async(TARGET, shop.module.Reviews) as client:
        assert await client.echo("a") == "v1"
        token = attach(baggage.set_baggage("env", "dev"))
        try:
            answers = await asyncio.gather(*(client.echo("a") for _ in range(20)))
        finally:
            detach(token)
        assert set(answers) == {"v2"}
