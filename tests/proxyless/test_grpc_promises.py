"""What `grpc.Channel` and `grpc.aio.Channel` promise beside their calls, kept over a mesh."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from ruled_service import TARGET, Ruled, ruled
from versioned_grpc import SERVICE, SLOW_S, Versioned, serving

TO_V1 = "- route: [{destination: {host: books.mesh, subset: v1}}]"
RETRIED = """
- retries: {attempts: 5, retryOn: unavailable}
  route:
  - {destination: {host: books.mesh}}
"""
ONE, MANY, SUM, TALK = (f"/{SERVICE}/{method}" for method in ("One", "Many", "Sum", "Talk"))


@pytest.fixture(scope="module")
def ports(free_port: Callable[[], int]) -> dict[str, int]:
    return {version: free_port() for version in ("v1", "v2", "stub")}


@pytest.fixture(scope="module")
def servers(ports: dict[str, int]) -> Iterator[dict[str, Versioned]]:
    with serving({version: ports[version] for version in ("v1", "v2")}) as made:
        yield made


@pytest.fixture(scope="module")
def service(
    servers: dict[str, Versioned],
    ports: dict[str, int],
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[Ruled]:
    directory = tmp_path_factory.mktemp("promises") / "mesh"
    with ruled(directory, (free_port(), free_port()), "grpc", ports) as made:
        made.rules(TO_V1)
        yield made


@pytest.fixture
def channel(service: Ruled) -> Iterator[grpc.Channel]:
    service.rules(TO_V1)
    with service.mesh.grpc(TARGET) as made:
        yield made


def until(holds: Callable[[], object], within_s: float = 5) -> None:
    ends = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_a_future_tells_when_it_is_done(channel: grpc.Channel) -> None:
    told: list[object] = []
    future = channel.unary_unary(ONE).future(b"slow")
    future.add_done_callback(told.append)
    assert (future.done(), future.running(), future.is_active()) == (False, True, True)
    with pytest.raises(grpc.FutureTimeoutError):
        future.result(0.05)
    assert json.loads(future.result(5))["version"] == "v1"
    until(lambda: told == [future])
    assert (future.done(), future.running(), future.exception()) == (True, False, None)
    assert future.code() is grpc.StatusCode.OK
    assert dict(future.initial_metadata())["x-version"] == "v1"
    later: list[object] = []
    future.add_done_callback(later.append)
    assert later == [future]
    assert not future.add_callback(lambda: None)


def test_a_failed_future_has_its_error(channel: grpc.Channel) -> None:
    future = channel.unary_unary(ONE).future(b"fail NOT_FOUND v1")
    error = future.exception(5)
    assert isinstance(error, grpc.RpcError)
    assert (future.code(), future.details()) == (grpc.StatusCode.NOT_FOUND, "v1 fails")
    with pytest.raises(grpc.RpcError):
        future.result()
    assert future.traceback() is not None


def test_a_cancelled_future_ends_its_call(
    channel: grpc.Channel, servers: dict[str, Versioned]
) -> None:
    servers["v1"].cancelled.clear()
    before = servers["v1"].calls.get("One", 0)
    future = channel.unary_unary(ONE).future(b"slow")
    until(lambda: servers["v1"].calls.get("One", 0) > before)
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(grpc.FutureCancelledError):
        future.result(5)
    assert servers["v1"].cancelled.wait(5)


def test_a_future_that_waits_for_its_next_attempt_can_be_cancelled(
    service: Ruled, channel: grpc.Channel
) -> None:
    service.rules("- {match: [{uri: {prefix: /none}}], route: [{destination: {host: books.mesh}}]}")
    future = channel.unary_unary(ONE).future(b"", wait_for_ready=True)
    assert not future.done()
    assert future.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        future.result(5)


def test_a_call_that_waits_for_ready_goes_on_when_there_is_a_route(
    service: Ruled, channel: grpc.Channel
) -> None:
    service.rules("- {match: [{uri: {prefix: /none}}], route: [{destination: {host: books.mesh}}]}")
    future = channel.unary_unary(ONE).future(b"", wait_for_ready=True)
    service.rules(TO_V1)
    assert json.loads(future.result(5))["version"] == "v1"


def test_a_stream_that_nobody_holds_is_cancelled(
    channel: grpc.Channel, servers: dict[str, Versioned]
) -> None:
    requests = threading.Event()

    def talking() -> Iterator[bytes]:
        yield b"slow"
        requests.wait(10)

    servers["v1"].cancelled.clear()
    before = servers["v1"].calls.get("Talk", 0)
    stream = channel.stream_stream(TALK)(talking())
    until(lambda: servers["v1"].calls.get("Talk", 0) > before)
    del stream
    gc.collect()
    assert servers["v1"].cancelled.wait(SLOW_S / 2)
    requests.set()


def test_a_stream_is_read_as_it_is_written(channel: grpc.Channel) -> None:
    answered = threading.Semaphore(1)

    def asking() -> Iterator[bytes]:
        for text in (b"a", b"b", b"c"):
            answered.acquire()
            yield text

    seen = []
    for response in channel.stream_stream(TALK)(asking()):
        seen.append(response)
        answered.release()
    assert seen == [b"v1: a", b"v1: b", b"v1: c"]


def test_initial_metadata_of_a_stream_is_that_of_the_attempt_that_is_read(
    service: Ruled, channel: grpc.Channel
) -> None:
    service.rules(RETRIED)
    for _ in range(4):
        stream = channel.unary_stream(MANY)(b"fail UNAVAILABLE v1")
        version = dict(stream.initial_metadata()).get("x-version")
        read = []
        try:
            read = list(stream)
        except grpc.RpcError:
            assert version == "v1", "an attempt whose metadata was shown stays"
            continue
        assert read == [b"v2-0", b"v2-1", b"v2-2"]
        assert version == "v2"


def test_interceptors_work(channel: grpc.Channel) -> None:
    class Naming(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            named = details._replace(metadata=[("x-named", "yes")])
            return continuation(named, request)

    intercepted = grpc.intercept_channel(channel, Naming())
    told = json.loads(intercepted.unary_unary(ONE)(b""))
    assert ["x-named", "yes"] in told["metadata"]


def test_a_closed_channel_takes_no_call(service: Ruled) -> None:
    channel = service.mesh.grpc(TARGET)
    method = channel.unary_unary(ONE)
    method(b"")
    channel.close()
    with pytest.raises(ValueError, match="closed channel"):
        method(b"")


def test_a_channel_is_ready(channel: grpc.Channel) -> None:
    grpc.channel_ready_future(channel).result(5)


def test_generated_stubs_take_the_channel(
    channel: grpc.Channel,
    service: Ruled,
    ports: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Path(__file__).parent
    flags = [f"-I{here}", f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *flags, "books.proto"], check=True, cwd=here
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    books_pb2, books_pb2_grpc = map(import_module, ("books_pb2", "books_pb2_grpc"))

    class Books(books_pb2_grpc.BooksServicer):  # type: ignore[misc, name-defined]
        def One(self, request: Any, context: Any) -> Any:
            return books_pb2.Response(text=f"one {request.text}")

        def Many(self, request: Any, context: Any) -> Any:
            yield from (books_pb2.Response(text=f"{n} {request.text}") for n in range(2))

    server = grpc.server(ThreadPoolExecutor(2))
    books_pb2_grpc.add_BooksServicer_to_server(Books(), server)
    server.add_insecure_port(f"127.0.0.1:{ports['stub']}")
    server.start()
    try:
        service.rules("- route: [{destination: {host: books.mesh, subset: stub}}]")
        stub = books_pb2_grpc.BooksStub(channel)
        request = books_pb2.Request(text="x")
        assert stub.One(request, timeout=5).text == "one x"
        assert stub.One.future(request).result(5).text == "one x"
        assert [each.text for each in stub.Many(request, timeout=5)] == ["0 x", "1 x"]
    finally:
        server.stop(0).wait()


def test_a_channel_that_is_gone_is_forgotten(service: Ruled) -> None:
    service.rules(TO_V1)
    channel = service.mesh.grpc(TARGET)
    channel.unary_unary(ONE)(b"")
    gone = weakref.ref(channel)
    del channel
    gc.collect()
    assert gone() is None


def test_a_forked_child_has_its_own_channels(channel: grpc.Channel) -> None:
    method = channel.unary_unary(ONE)
    for _ in range(5):
        assert json.loads(method(b""))["version"] == "v1"
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if json.loads(method(b"", timeout=5))["version"] == "v1" else 2
            finally:
                os._exit(status)
        assert json.loads(method(b"", timeout=5))["version"] == "v1"
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_parent_that_keeps_calling_may_fork(channel: grpc.Channel) -> None:
    method = channel.unary_unary(ONE)
    failed: list[object] = []
    done = threading.Event()

    def calling() -> None:
        while not done.is_set():
            try:
                method(b"", timeout=5)
            except grpc.RpcError as error:
                failed.append(error)

    threads = [threading.Thread(target=calling) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = []
    for _ in range(10):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if json.loads(method(b"", timeout=5))["version"] == "v1" else 2
            finally:
                os._exit(status)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    done.set()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 10
    assert not failed


# asyncio


async def test_a_call_of_asyncio_is_written_and_read_in_turn(service: Ruled) -> None:
    service.rules(TO_V1)
    async with service.mesh.grpc_aio(TARGET) as channel:
        call = channel.stream_stream(TALK)()
        for text in (b"a", b"b"):
            await call.write(text)
            assert await call.read() == b"v1: " + text
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert call.done()
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(b"c")

        summed = channel.stream_unary(SUM)()
        await summed.write(b"a")
        await summed.write(b"b")
        await summed.done_writing()
        assert await summed == b"v1: a,b"


async def test_a_call_of_asyncio_that_is_written_is_attempted_again(service: Ruled) -> None:
    service.rules(RETRIED)
    async with service.mesh.grpc_aio(TARGET) as channel:
        for _ in range(4):
            call = channel.stream_stream(TALK)()
            await call.write(b"fail UNAVAILABLE v1")
            assert await call.read() == b"v2: fail UNAVAILABLE v1"
            await call.write(b"b")
            assert await call.read() == b"v2: b"
            call.cancel()


async def test_a_call_of_asyncio_ends_when_its_waiter_is_cancelled(
    service: Ruled, servers: dict[str, Versioned]
) -> None:
    service.rules(TO_V1)
    servers["v1"].cancelled.clear()
    async with service.mesh.grpc_aio(TARGET) as channel:
        call = channel.unary_unary(ONE)(b"slow")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.3)
        assert call.cancelled()
        assert await call.code() is grpc.StatusCode.CANCELLED
        assert await asyncio.to_thread(servers["v1"].cancelled.wait, 5)


async def test_calls_of_asyncio_run_side_by_side(service: Ruled) -> None:
    service.rules(TO_V1)
    async with service.mesh.grpc_aio(TARGET) as channel:
        method = channel.unary_unary(ONE)
        began = time.monotonic()
        await asyncio.gather(*(method(b"slow") for _ in range(5)))
        assert time.monotonic() - began < 2 * SLOW_S


async def test_a_closed_channel_of_asyncio_ends_its_calls(service: Ruled) -> None:
    service.rules(TO_V1)
    channel = service.mesh.grpc_aio(TARGET)
    call = channel.unary_unary(ONE)(b"slow")
    told: list[object] = []
    call.add_done_callback(told.append)
    await asyncio.sleep(0.2)
    await channel.close()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert told == [call]
    with pytest.raises(grpc.aio.UsageError):
        channel.unary_unary(ONE)(b"")


async def test_no_task_is_left(service: Ruled) -> None:
    service.rules(TO_V1)
    async with service.mesh.grpc_aio(TARGET) as channel:
        await channel.unary_unary(ONE)(b"")
        assert len([each async for each in channel.unary_stream(MANY)(b"")]) == 3
        call = channel.stream_stream(TALK)()
        await call.write(b"a")
        await call.read()
        call.cancel()
        await call.code()
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == {asyncio.current_task()}
