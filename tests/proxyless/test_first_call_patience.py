"""A first call waits for its rules, and never longer than its caller gives the call."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import pytest
import thriftpy2
from meltemi.proxyless import CallTimeoutError, NotReadyError
from meltemi.proxyless.calls import Deadline
from meltemi.proxyless.mesh import Mesh
from meltemi.proxyless.thrift.errors import ThriftTimeoutError
from meltemi.proxyless.thrift.limits import Limit, after_wait
from mesh_fixtures import Connect, Serve
from thriftpy2.transport import TTransportException

TARGET = "books:9080"
PATH = "/shop.Books/author"
OWN_S = 0.3
READY_S = 30.0
ENOUGH_S = 10.0
"""Far from both, so that a slow machine fails no test."""


@pytest.fixture
def mesh(connect: Connect, free_port: Callable[[], int]) -> Mesh:
    """Its control plane is away, and it would wait for long."""
    return connect(f"127.0.0.1:{free_port()}", ready_timeout_s=READY_S)


@pytest.fixture
def books(tmp_path: Path) -> Any:
    idl = tmp_path / "books.thrift"
    idl.write_text("service Books { string author(1: string title) }")
    return thriftpy2.load(str(idl), module_name="patience_thrift").Books


@contextmanager
def at_once() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert OWN_S * 0.9 < time.monotonic() - began < ENOUGH_S


def run(call: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(call)


def test_a_call_says_whose_time_was_over_and_what_is_missing(mesh: Mesh) -> None:
    with at_once(), pytest.raises(CallTimeoutError) as failure:
        mesh.call(mesh.target(TARGET), PATH, (), OWN_S)
    said = str(failure.value)
    assert "cannot call books:9080: Listener 'books:9080' is not known" in said
    assert "nothing came within 0.3 s, the time of the call" in said
    assert "no control plane at 127.0.0.1" in said


def test_a_coroutine_is_told_the_same(mesh: Mesh) -> None:
    with at_once(), pytest.raises(CallTimeoutError, match="the time of the call"):
        run(mesh.call_async(mesh.target(TARGET), PATH, (), OWN_S))


@pytest.mark.parametrize("own_s", [None, READY_S])
def test_the_mesh_gives_up_first_where_the_call_has_more_time(
    connect: Connect, free_port: Callable[[], int], own_s: float | None
) -> None:
    mesh = connect(f"127.0.0.1:{free_port()}", ready_timeout_s=OWN_S)
    with at_once(), pytest.raises(NotReadyError, match=r"within 0\.3 s: no control plane"):
        mesh.call(mesh.target(TARGET), PATH, (), own_s)
    with at_once(), pytest.raises(NotReadyError):
        run(mesh.call_async(mesh.target(TARGET), PATH, (), own_s))


def test_httpx_waits_as_long_as_it_would_for_a_connection(mesh: Mesh) -> None:
    limits = httpx.Timeout(READY_S, connect=OWN_S)
    client = mesh.httpx(f"http://{TARGET}", timeout=limits)
    with at_once(), pytest.raises(httpx.ConnectTimeout, match="the time of the call"):
        client.get("/")


def test_httpx_for_asyncio_waits_as_long(mesh: Mesh) -> None:
    async def call() -> None:
        async with mesh.httpx_async(f"http://{TARGET}", timeout=OWN_S) as client:
            await client.get("/")

    with at_once(), pytest.raises(httpx.ConnectTimeout, match="the time of the call"):
        run(call())


@pytest.mark.parametrize("waits", [False, True])
def test_grpc_ends_with_its_deadline(mesh: Mesh, waits: bool) -> None:
    method = mesh.grpc(TARGET).unary_unary(PATH)
    with at_once(), pytest.raises(grpc.RpcError) as failure:
        method(b"", timeout=OWN_S, wait_for_ready=waits)
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the time of the call" in failure.value.details()


def test_grpc_for_asyncio_ends_with_its_deadline(mesh: Mesh) -> None:
    async def call() -> None:
        async with mesh.grpc_aio(TARGET) as channel:
            await channel.unary_unary(PATH)(b"", timeout=OWN_S)

    with at_once(), pytest.raises(grpc.RpcError) as failure:
        run(call())
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_thrift_ends_with_its_timeout(mesh: Mesh, books: Any) -> None:
    client = mesh.thrift(TARGET, books, timeout_s=OWN_S)
    with at_once(), pytest.raises(ThriftTimeoutError, match="the time of the call") as failure:
        client.author("Emma")
    assert failure.value.type == TTransportException.TIMED_OUT
    assert isinstance(failure.value, CallTimeoutError)


def test_thrift_for_asyncio_ends_with_its_timeout(mesh: Mesh, books: Any) -> None:
    async def call() -> None:
        await mesh.thrift_async(TARGET, books, timeout_s=OWN_S).author("Emma")

    with at_once(), pytest.raises(ThriftTimeoutError, match="the time of the call"):
        run(call())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
def test_what_a_thrift_call_waited_is_of_its_own_time(
    serve: Serve, connect: Connect, books: Any, asynchronous: bool
) -> None:
    """The rules come late, from then on the endpoint is silent: no second whole."""
    own_s, rules_after_s = 2.0, 1.5
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = serve()
        mesh = connect(server.address, ready_timeout_s=READY_S, delta=False)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        timer = threading.Timer(rules_after_s, server.service, (TARGET, "c", address))
        timer.start()
        try:
            with pytest.raises(ThriftTimeoutError, match=r"author from 127\.0\.0\.1"):
                if asynchronous:
                    client = mesh.thrift_async(TARGET, books, timeout_s=own_s, wire="framed")

                    async def call() -> None:
                        await client.author("Emma")

                    run(call())
                else:
                    mesh.thrift(TARGET, books, timeout_s=own_s, wire="framed").author("Emma")
        finally:
            timer.join()
        assert own_s * 0.99 <= time.monotonic() - began < own_s + rules_after_s


def test_the_wait_is_of_the_callers_time_and_not_of_the_routes() -> None:
    said, silent = Limit.of(5.0), Limit()
    assert after_wait(said.of_call(None), said.patience_s, 4.0) == 1.0
    assert after_wait(said.of_call(0.5), said.patience_s, 4.0) == 0.5
    assert after_wait(silent.of_call(0.5), silent.patience_s, 4.0) == 0.5
    assert after_wait(silent.of_call(None), silent.patience_s, 4.0) == 3.0
    assert after_wait(None, Limit.of(None).patience_s, 4.0) is None
    assert 0 < (after_wait(said.of_call(None), said.patience_s, 6.0) or 0) < 0.001


def test_a_routes_time_begins_when_the_call_is_routed() -> None:
    routed: Any = SimpleNamespace(timeout_s=5.0, per_try_timeout_s=None)
    waited = Deadline(None)
    time.sleep(0.2)
    before = time.monotonic()
    waited.routed(routed)
    assert (waited.left_s() or 0) >= 5 - (time.monotonic() - before)
    own = Deadline(3.0)
    own.routed(routed)
    assert 0 < (own.left_s() or 0) <= 3
