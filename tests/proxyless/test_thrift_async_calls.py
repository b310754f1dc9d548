"""Calls of asyncio: what differs from blocking ones is how they wait."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from meltemi.proxyless import thrift as mesh_thrift
from meltemi.proxyless.errors import CallTimeoutError, ConnectError, MeltemiError
from meltemi.proxyless.thrift import message
from meltemi.proxyless.thrift.request import parse
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from thrift_peers import Handler, Scripted, mesh_of, running, server_of
from thriftpy2.thrift import TApplicationException


@pytest.fixture
def handler(module: Any) -> Handler:
    return Handler(module)


@pytest.fixture
def wrapped(module: Any, handler: Handler, free_port: Callable[[], int]) -> Iterator[str]:
    """The address of a server that reads every wire."""
    port = free_port()
    with running(mesh_thrift.mesh_server(server_of(module, handler, port))):
        yield f"127.0.0.1:{port}"


def client_of(module: Any, *addresses: str, wire: str = "ttheader", **more: Any) -> Any:
    """A client whose calls go to these addresses, and `mesh` of it."""
    mesh = mesh_of(*addresses, **more.pop("of_call", {}))
    made: Any = mesh_thrift.async_client(mesh, "reviews:9080", module.Reviews, wire=wire, **more)
    made.mesh = mesh
    return made


def reply_to(data: bytes) -> bytes:
    """An answer without a result to the call in `data`, in its frame."""
    request = parse(data)
    head = message.read_head(request.payload, 0)
    whole = message.head(head.name, message.REPLY) + head.seqid.to_bytes(4, "big") + b"\0"
    return request.framed(whole, {})


@pytest.mark.parametrize("wire", ["auto", "ttheader", "theader", "framed", "unframed"])
async def test_methods_return_and_raise_what_thriftpy2_would(
    module: Any, handler: Handler, wrapped: str, wire: str
) -> None:
    async with client_of(module, wrapped, wire=wire) as client:
        review = await client.review("p1")
        assert review == module.Review(kind=2, rating=5, numbers={"a": [1, 2]}, raw=b"\xff\x00")
        with pytest.raises(module.NoSuchProduct):
            await client.review("none")
        assert await client.echo("x" * 3_000_000) == "x" * 3_000_000
        assert await client.nothing("x") is None
        assert await client.note("later") is None
        assert await asyncio.to_thread(handler.noted.wait, 5)
        await client.tclose()
        with pytest.raises(TApplicationException):
            await client.maybe()
        with pytest.raises(TypeError):
            await client.echo("a", "b")
        with pytest.raises(AttributeError, match="has no method"):
            await client.ech("a")
    assert {each[0] for each in client.mesh.told} == {"succeeded"}


@pytest.mark.parametrize("framed", [True, False])
async def test_a_server_that_nobody_wrapped_is_called_plainly(
    module: Any,
    handler: Handler,
    free_port: Callable[[], int],
    framed: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    with running(server_of(module, handler, port, framed=framed)):
        async with client_of(module, f"127.0.0.1:{port}", wire="auto") as client:
            answers = await asyncio.gather(*(client.echo(str(i)) for i in range(20)))
    assert answers == [str(i) for i in range(20)]
    warnings = [each.message for each in caplog.records if each.name.startswith("meltemi")]
    assert len(warnings) == 1


async def test_each_task_sends_its_own_context(module: Any, handler: Handler, wrapped: str) -> None:
    seen: list[Any] = []
    handler.seen = lambda _method: seen.append(baggage.get_baggage("lane"))

    async def one(lane: str) -> None:
        token = attach(baggage.set_baggage("lane", lane))
        try:
            for _ in range(5):
                await client.ping()
        finally:
            detach(token)

    async with client_of(module, wrapped) as client:
        await asyncio.gather(*(one(f"l{i}") for i in range(10)))
    assert sorted(seen) == sorted(f"l{i}" for i in range(10) for _ in range(5))


async def test_many_tasks_share_few_connections(module: Any) -> None:
    peer = Scripted(reply_to)
    async with client_of(module, peer.address) as client:
        for _ in range(20):
            await asyncio.gather(*(client.nothing("t") for _ in range(4)))
        assert len(peer.connections) == 4
    peer.close()


async def test_a_connection_that_its_peer_closed_costs_no_call(module: Any) -> None:
    peer = Scripted(reply_to)
    async with client_of(module, peer.address) as client:
        for _ in range(5):
            await client.nothing("t")
            peer.connections[-1].shutdown(socket.SHUT_RDWR)
            # The event loop is not asked: the kernel is.
            time.sleep(0.02)
        assert len(peer.connections) == 5
        assert {each[0] for each in client.mesh.told} == {"succeeded"}
    peer.close()


async def test_a_connection_that_kitex_is_about_to_close_is_not_used_again(module: Any) -> None:
    def answer(data: bytes) -> bytes:
        request = parse(data)
        head = message.read_head(request.payload, 0)
        whole = message.head(head.name, message.REPLY) + head.seqid.to_bytes(4, "big") + b"\0"
        return request.framed(whole, {"crrst": "1"})

    peer = Scripted(answer)
    client = client_of(module, peer.address)
    for _ in range(3):
        await client.nothing("t")
    assert len(peer.connections) == 3
    peer.close()


async def test_what_was_idle_is_closed_without_a_call(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meltemi.proxyless.thrift.aio_connection.IDLE_S", 0.05)
    peer = Scripted(lambda data: reply_to(data))
    async with client_of(module, peer.address) as client:
        await client.nothing("t")
        await asyncio.sleep(0.2)
        assert peer.connections[0].fileno() == -1 or peer.connections[0].recv(1) == b""
        await client.nothing("t")
        assert len(peer.connections) == 2
    peer.close()


async def test_a_call_that_is_cancelled_ends_its_connection(module: Any) -> None:
    peer = Scripted(lambda _data: b"")
    async with client_of(module, peer.address) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.nothing("t")
        assert client.mesh.told == [("abandoned",)]
        peer._answer = reply_to
        await client.nothing("u")
        assert len(peer.connections) == 2
    peer.close()


async def test_time_is_limited(module: Any) -> None:
    peer = Scripted(lambda _data: b"")
    async with client_of(module, peer.address, timeout_s=0.2) as client:
        began = time.monotonic()
        with pytest.raises(CallTimeoutError, match=r"no reply to /reviews\.Rev.* within 0.2 s"):
            await client.nothing("t")
        assert 0.18 < time.monotonic() - began < 1.2
        assert client.mesh.told == [("failed", "timeout", None)]
    peer.close()


async def test_failures_are_told_and_tried_where_the_route_allows(
    module: Any, free_port: Callable[[], int]
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    bad, good = Scripted(lambda _data: None), Scripted(reply_to)
    async with client_of(module, nobody, bad.address, good.address) as client:
        await client.nothing("t")
        assert client.mesh.told == [
            ("failed", "connect-failure", None),
            ("failed", "reset", None),
            ("succeeded", None),
        ]
    async with client_of(module, nobody) as client:
        with pytest.raises(ConnectError, match=f"cannot connect to {nobody}"):
            await client.nothing("t")
    async with client_of(module, bad.address, wire="auto") as client:
        with pytest.raises(MeltemiError, match="answered in none of"):
            await client.nothing("t")
    for peer in (bad, good):
        peer.close()


def test_one_client_serves_several_event_loops(module: Any, handler: Handler, wrapped: str) -> None:
    client = client_of(module, wrapped, wire="auto")

    async def calls() -> list[str]:
        answers = [await client.echo(str(i)) for i in range(3)]
        client.close()
        return answers

    for _ in range(3):
        assert asyncio.run(calls()) == ["0", "1", "2"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_connections_of_a_loop_that_ended_are_given_up(
    module: Any, handler: Handler, wrapped: str
) -> None:
    """Whoever does not close a client leaves its connections to the collector, as with asyncio's
    own."""
    client = client_of(module, wrapped)

    async def call() -> str:
        answer: str = await client.echo("a")
        return answer

    for _ in range(3):
        assert asyncio.run(call()) == "a"
    assert len(client._by_loop) == 1
    client._by_loop.clear()
    gc.collect()


async def test_a_silent_endpoint_keeps_no_call_to_another_waiting(module: Any) -> None:
    silent = Scripted(lambda _data: b"")
    answers = Scripted(reply_to)
    client = client_of(module, silent.address, wire="auto", timeout_s=1.5)
    asking = asyncio.ensure_future(client.nothing("t"))
    while not silent.read:
        await asyncio.sleep(0.001)
    client.mesh.addresses = (answers.address,)
    began = time.monotonic()
    await client.nothing("u")
    assert time.monotonic() - began < 0.4
    with pytest.raises(CallTimeoutError):
        await asking
    client.close()
    silent.close()
    answers.close()


async def test_what_a_peer_sends_unasked_is_not_kept(module: Any) -> None:
    peer = Scripted(reply_to)
    client = client_of(module, peer.address)
    await client.nothing("t")
    [connection] = peer.connections
    sent = 0
    with pytest.raises(ConnectionError):
        for _ in range(200):
            sent += await asyncio.to_thread(connection.send, b"x" * (1 << 20))
            await asyncio.sleep(0)
    assert sent < 100 << 20
    await client.nothing("u")
    assert len(peer.connections) == 2
    client.close()
    peer.close()
