"""A real istiod, on a directory of YAML, tells our client where to call, whichever way it asks."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import istiod_process
import pytest
import thrift_peers
import versioned_grpc
import versioned_http
from istio_shop import WAYS, Service, asked, replace
from meltemi.proxyless import NoRouteError
from meltemi.proxyless import thrift as mesh_thrift
from meltemi.proxyless.mesh import Mesh
from opentelemetry import baggage
from opentelemetry.context import attach, detach

pytestmark = pytest.mark.peers

each_way = pytest.mark.parametrize("way", WAYS)

RULES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{host}]
  http:
  - match: [{{headers: {{baggage: {{exact: env=dev}}}}}}]
    route: [{{destination: {{host: {host}, subset: v2}}}}]
  - route:
    - {{destination: {{host: {host}, subset: v1}}, weight: 80}}
    - {{destination: {{host: {host}, subset: v2}}, weight: 20}}
"""


@dataclass
class Shop:
    """A mesh for each way of asking istiod, and what the Thrift servers were asked."""

    meshes: dict[str, Mesh]
    thrift: Any
    """The module of the Thrift service."""
    thrift_calls: dict[str, list[str]] = field(default_factory=dict)
    """Methods that were called, by version."""


VERSIONS = ("v1", "v2")


@pytest.fixture(scope="module")
def shop(
    istiod: None, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("istio") / "shop"
    directory.mkdir()
    http, over_grpc, thrift = ({v: free_port() for v in VERSIONS} for _ in range(3))
    services = [
        Service("books", "240.1.0.1", http),
        Service("films", "240.1.0.2", {"v2": http["v2"]}),
        Service("ratings", "240.1.0.3", over_grpc, "GRPC"),
        Service("stars", "240.1.0.4", over_grpc, "GRPC"),
        Service("unnamed", "240.1.0.5", thrift, ""),
        Service("plain", "240.1.0.6", thrift, "TCP"),
        Service("library", "240.1.0.7", http, host="api.library.example", location="MESH_EXTERNAL"),
        Service("half", "240.1.0.8", {**http, "v2": free_port()}),
    ]
    for service in services:
        service.write(directory)
    for name in ("books", "ratings", "unnamed"):
        rules = RULES.format(name=name, host=f"{name}.default.svc.cluster.local")
        replace(directory / f"rules-{name}.yaml", rules)
    with ExitStack() as stack:
        stack.enter_context(versioned_http.serving(http))
        stack.enter_context(versioned_grpc.serving(over_grpc))
        module = thrift_peers.load(tmp_path_factory.mktemp("thrift"))
        calls = stack.enter_context(thrift_serving(module, thrift))
        ports = (free_port(), free_port(), free_port())
        server = stack.enter_context(istiod_process.running(directory, ports))
        meshes = {way: stack.enter_context(asked(server, way)) for way in WAYS}
        yield Shop(meshes, module, calls)


@contextlib.contextmanager
def thrift_serving(module: Any, versions: Mapping[str, int]) -> Iterator[dict[str, list[str]]]:
    """Servers of `versions` by their ports, which speak TTHeader; what was called of each."""
    calls: dict[str, list[str]] = {}
    with ExitStack() as stack:
        for version, port in versions.items():
            called = calls[version] = []
            handler = thrift_peers.Handler(module, seen=called.append)
            server = thrift_peers.server_of(module, handler, port)
            stack.enter_context(thrift_peers.running(mesh_thrift.mesh_server(server)))
        yield calls


@contextlib.contextmanager
def lane(name: str) -> Iterator[None]:
    """Calls made inside carry this baggage."""
    token = attach(baggage.set_baggage("env", name))
    try:
        yield
    finally:
        detach(token)


CALLS = 100


def is_80_to_20(found: Mapping[str, int]) -> bool:
    """Any hundred calls, within three."""
    return found.keys() == {"v1", "v2"} and abs(found["v2"] - CALLS * 0.2) <= 3


@each_way
def test_http_calls_follow_the_rules(shop: Shop, way: str) -> None:
    with shop.meshes[way].httpx("http://books:9080") as books:
        found = Counter(books.get("/a").json()["version"] for _ in range(CALLS))
        with lane("dev"):
            branch = {books.get("/a").json()["version"] for _ in range(10)}
    assert is_80_to_20(found), found
    assert branch == {"v2"}


@each_way
async def test_asynchronous_http_calls_follow_the_rules(shop: Shop, way: str) -> None:
    async with shop.meshes[way].httpx_async("http://books.default:9080") as books:
        found = Counter([(await books.get("/a")).json()["version"] for _ in range(CALLS)])
    assert is_80_to_20(found), found


@each_way
def test_services_that_share_a_port_are_told_apart(shop: Shop, way: str) -> None:
    with shop.meshes[way].httpx("http://films:9080") as films:
        assert {films.get("/a").json()["version"] for _ in range(10)} == {"v2"}


@each_way
def test_a_host_of_outside_is_called_by_its_name(shop: Shop, way: str) -> None:
    with shop.meshes[way].httpx("http://api.library.example:9080") as library:
        answers = [library.get("/a").json() for _ in range(10)]
    assert {answer["version"] for answer in answers} == {"v1", "v2"}
    assert ["host", "api.library.example:9080"] in answers[0]["headers"]


@each_way
def test_grpc_calls_follow_the_rules(shop: Shop, way: str) -> None:
    with shop.meshes[way].grpc("ratings:9080") as channel:
        one = channel.unary_unary(versioned_grpc.ONE)

        def version() -> str:
            _answer, call = one.with_call(b"x", timeout=10)
            return str(dict(call.initial_metadata())["x-version"])

        found = Counter(version() for _ in range(CALLS))
        with lane("dev"):
            branch = {version() for _ in range(10)}
    assert is_80_to_20(found), found
    assert branch == {"v2"}


@each_way
def test_thrift_calls_of_a_port_without_a_protocol_follow_the_rules(shop: Shop, way: str) -> None:
    for calls in shop.thrift_calls.values():
        calls.clear()
    with shop.meshes[way].thrift("unnamed:9080", shop.thrift.Reviews, wire="ttheader") as reviews:
        for _ in range(CALLS):
            assert reviews.echo("x") == "x"
        found = {version: len(calls) for version, calls in shop.thrift_calls.items()}
        with lane("dev"):
            for _ in range(10):
                reviews.echo("x")
    assert is_80_to_20(found), found
    assert len(shop.thrift_calls["v2"]) == found["v2"] + 10


@each_way
def test_thrift_calls_of_a_tcp_port_go_to_its_endpoints_as_a_sidecar(shop: Shop, way: str) -> None:
    """Of such a port istiod has no routes for gRPC's clients, and none to be ruled for others."""
    for calls in shop.thrift_calls.values():
        calls.clear()
    with shop.meshes[way].thrift("plain:9080", shop.thrift.Reviews, wire="ttheader") as plain:
        if way.startswith("grpc"):
            with pytest.raises(NoRouteError, match="virtual hosts"):
                plain.echo("x")
            return
        for _ in range(20):
            assert plain.echo("x") == "x"
    assert all(shop.thrift_calls[version] for version in VERSIONS)


@each_way
def test_an_endpoint_where_nobody_listens_fails_no_call(shop: Shop, way: str) -> None:
    with shop.meshes[way].httpx("http://half:9080") as half:
        assert {half.get("/a").json()["version"] for _ in range(20)} == {"v1"}


@each_way
def test_istiods_own_retries_are_made(shop: Shop, way: str) -> None:
    """Two more attempts where a call is unavailable, none for other reasons."""
    with shop.meshes[way].grpc("stars:9080") as channel:
        one = channel.unary_unary(versioned_grpc.ONE)
        for _ in range(10):
            _answer, call = one.with_call(b"fail UNAVAILABLE v1", timeout=10)
            assert dict(call.initial_metadata())["x-version"] == "v2"
        with pytest.raises(grpc.RpcError) as refused:
            for _ in range(10):
                one(b"fail FAILED_PRECONDITION v1", timeout=10)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    retry = shop.meshes[way].explain("stars:9080", path=versioned_grpc.ONE)["retry"]
    assert retry["num_retries"] == 2
    assert retry["previous_hosts"]
