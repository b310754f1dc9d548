"""Servers without a sidecar take marks of lanes only of callers whose marks count."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from meltemi import proxyless
from meltemi.lanes.callers import AddressRule, Callers
from meltemi.model import Instance, LaneGroup, Workload, WorkloadSelector
from meltemi.proxyless import baggage, grpc_server, guard, http_server, thrift
from meltemi.proxyless.mesh import Mesh
from meltemi.proxyless.thrift import message
from meltemi.proxyless.thrift.request import Manner, Request
from meltemi.proxyless.thrift.wire import Wire
from meltemi.translate.edge_rules import extension
from meltemi.xds import messages
from scripted_server import ScriptedServer
from thrift_peers import AsyncHandler, Handler, load, running, server_of
from thriftpy2.contrib.aio.rpc import make_server as make_aio_server

FRONT, OTHER, STRANGER = "127.78.0.1", "127.78.0.2", "127.0.0.1"
GROUP = LaneGroup("shop", "g", (), "env", marks_from=(WorkloadSelector("shop", ()),))
WORKLOADS = (
    Workload("shop", "front", instances=(Instance(0, FRONT, FRONT),)),
    Workload("away", "other", instances=(Instance(0, OTHER, OTHER),)),
)
MARKED = (
    ("baggage", "a=1,env=dev"),
    ("Baggage", "ENV=dev"),
    ("ot-baggage-env", "dev"),
    ("rpc-transit-baggage", "%65nv=dev"),
)


def rules(*groups: LaneGroup) -> Any:
    return messages.resource("meltemi.lanes", extension(groups, WORKLOADS))


@pytest.fixture
def plane(free_port: Callable[[], int]) -> Iterator[ScriptedServer]:
    server = ScriptedServer(free_port())
    server.put(messages.EXTENSION_CONFIG, rules(GROUP))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def mesh(plane: ScriptedServer) -> Iterator[Mesh]:
    with proxyless.connect(plane.address) as made:
        yield made


def test_rules_by_address_judge_workloads_by_name_and_strangers_by_network() -> None:
    rule = AddressRule("env", frozenset({FRONT}), frozenset({OTHER}), ("127.0.0.0/8", "::1/128"))
    callers = Callers((rule,))
    env = frozenset({"env"})
    for address, denied in (
        (FRONT, frozenset()), ("::ffff:127.78.0.1", frozenset()), (OTHER, env),
        (STRANGER, frozenset()), ("::1", frozenset()), ("::2", env), ("10.0.0.1", env), ("", env),
    ):  # fmt: skip
        assert callers.denied(address) == denied, address
    assert Callers().denied("10.0.0.1") == frozenset()


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("ipv6:[::1]:5000", "::1"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("unix:/tmp/x", ""),
    ],
)
def test_the_address_of_a_grpc_peer_is_found(peer: str, address: str) -> None:
    assert guard.peer_address(peer) == address


def served(app: Any, source: str) -> tuple[dict[str, object], list[tuple[bytes, bytes]]]:
    """The baggage that the application has, and the headers that it sees."""
    found: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        found.append((dict(baggage.current()), scope["headers"]))

    headers = [(name.encode(), value.encode()) for name, value in (*MARKED, ("x", "env=dev"))]
    scope = {"type": "http", "headers": headers, "client": (source, 1)}
    asyncio.run(app(inner)(scope, None, None))
    ((members, seen),) = found
    return members, seen


def test_an_asgi_application_sees_marks_of_callers_that_may_set_them(mesh: Mesh) -> None:
    def app(inner: Any) -> Any:
        return http_server.asgi(inner, mesh=mesh)

    members, headers = served(app, FRONT)
    assert members["env"] == "dev"
    assert len(headers) == 5
    for source in (OTHER, STRANGER):
        members, headers = served(app, source)
        assert members == {"a": "1"}
        assert headers == [(b"baggage", b"a=1"), (b"x", b"env=dev")]


def test_a_wsgi_application_sees_marks_of_callers_that_may_set_them(mesh: Mesh) -> None:
    found: list[Any] = []

    def inner(environ: dict[str, Any], _: Any) -> list[bytes]:
        found.append((dict(baggage.current()), environ))
        return []

    app = http_server.wsgi(inner, mesh=mesh)
    environ = {"HTTP_BAGGAGE": "a=1,env=dev", "HTTP_OT_BAGGAGE_ENV": "dev", "PATH_INFO": "/"}
    for source in (FRONT, OTHER):
        app({**environ, "REMOTE_ADDR": source}, lambda *_: None)
    (kept, _), (left, seen) = found
    assert kept == {"a": "1", "env": "dev"}
    assert left == {"a": "1"}
    assert seen == {"HTTP_BAGGAGE": "a=1", "PATH_INFO": "/", "REMOTE_ADDR": OTHER}


def test_rules_change_while_a_server_runs(plane: ScriptedServer, mesh: Mesh) -> None:
    def app(inner: Any) -> Any:
        return http_server.asgi(inner, mesh=mesh)

    def comes_to(group: LaneGroup, wanted: bool) -> None:
        plane.put(messages.EXTENSION_CONFIG, rules(group))
        deadline = time.monotonic() + 5
        while ("env" in served(app, OTHER)[0]) != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    assert "env" not in served(app, OTHER)[0]
    comes_to(LaneGroup("shop", "g", (), "env"), True)
    comes_to(GROUP, False)
    comes_to(LaneGroup("shop", "g", (), "env", marks_from=(WorkloadSelector("away", ()),)), True)


def test_until_the_rules_are_known_all_baggage_is_taken_away(
    free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "WAIT_S", 0.05)
    monkeypatch.setattr(guard.Guard.__init__, "__defaults__", (0.05,))
    with proxyless.connect(f"127.0.0.1:{free_port()}") as mesh:
        members, headers = served(lambda inner: http_server.asgi(inner, mesh=mesh), FRONT)
        assert members == {}
        assert headers == [(b"x", b"env=dev")]


def one(_request: bytes, _context: Any) -> bytes:
    return str(dict(baggage.current())).encode()


async def one_later(request: bytes, context: Any) -> bytes:
    return one(request, context)


def handlers(serve: Any) -> grpc.GenericRpcHandler:
    methods = {"One": grpc.unary_unary_rpc_method_handler(serve)}
    return grpc.method_handlers_generic_handler("s.S", methods)


def metadata() -> Any:
    return [(name.lower(), value) for name, value in MARKED[:1]]


def test_a_grpc_server_takes_no_marks_of_a_stranger(
    mesh: Mesh, free_port: Callable[[], int]
) -> None:
    for interceptor, wanted in (
        (grpc_server.interceptor(mesh=mesh), b"{'a': '1'}"),
        (grpc_server.interceptor(), b"{'a': '1', 'env': 'dev'}"),
    ):
        server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[interceptor])
        server.add_generic_rpc_handlers((handlers(one),))
        port = free_port()
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert channel.unary_unary("/s.S/One")(b"", metadata=metadata(), timeout=5) == wanted
        server.stop(0).wait()


async def test_a_grpc_server_of_asyncio_takes_no_marks_of_a_stranger(
    mesh: Mesh, free_port: Callable[[], int]
) -> None:
    server = grpc.aio.server(interceptors=[grpc_server.aio_interceptor(mesh=mesh)])
    server.add_generic_rpc_handlers((handlers(one_later),))
    port = free_port()
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await channel.unary_unary("/s.S/One")(b"", metadata=metadata(), timeout=5)
    await server.stop(0)
    assert answer == b"{'a': '1'}"


@pytest.fixture(params=["threads", "asyncio"])
def thrift_server(
    request: pytest.FixtureRequest,
    mesh: Mesh,
    free_port: Callable[[], int],
    tmp_path: Path,
) -> Iterator[tuple[int, list[dict[str, object]]]]:
    """Where a server listens, and the baggage of its calls."""
    module = load(tmp_path)
    handler = Handler(module)
    found: list[dict[str, object]] = []
    handler.seen = lambda _: found.append(dict(baggage.current()))
    at = free_port()
    if request.param == "threads":
        with running(thrift.mesh_server(server_of(module, handler, at), mesh=mesh)):
            yield at, found
        return
    loop = asyncio.new_event_loop()
    made = make_aio_server(
        module.Reviews, AsyncHandler(handler), "127.0.0.1", at, client_timeout=None, loop=loop
    )
    server = thrift.mesh_server(made, mesh=mesh)
    server.init_server()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield at, found
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def test_a_thrift_server_takes_marks_of_callers_that_may_set_them(
    thrift_server: tuple[int, list[dict[str, object]]],
) -> None:
    port, found = thrift_server
    body = message.head(b"ping", message.CALL) + struct.pack(">I", 9) + b"\0"
    texts = {"RPC_TRANSIT_baggage": "a=1,env=dev", "RPC_PERSIST_baggage": "env=dev"}
    frame = Request(Manner(Wire.TTHEADER, {}), body, 9).framed(body, texts)
    for source in (FRONT, OTHER, FRONT):
        with socket.create_connection(
            ("127.0.0.1", port), timeout=5, source_address=(source, 0)
        ) as connection:
            for _ in range(2):
                connection.sendall(frame)
                assert connection.recv(4)
                connection.recv(4096)
    kept, left = {"a": "1", "env": "dev"}, {"a": "1"}
    assert found == [kept, kept, left, left, kept, kept]
