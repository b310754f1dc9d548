"""A reply reaches the call that it answers, and no other, however calls end.

Calls give up, are cancelled and are interrupted while their replies are on the way; connections are
shared by threads and tasks. Servers answer with what they were asked, so that a caller knows its
own."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from meltemi.proxyless import thrift as mesh_thrift
from meltemi.proxyless.errors import CallTimeoutError, ConnectError
from ruled_service import TARGET, ruled
from thrift_peers import Handler, mesh_of, running, server_of
from versioned_grpc import ONE, serving
from versioned_http import serving as serving_http

WIRES = ["ttheader", "theader", "framed", "unframed"]
PATIENCE_S = 0.02
LONGEST_S = 0.03


class Slow(Handler):
    """Answers after the seconds that the text says."""

    def echo(self, text: str) -> str:
        time.sleep(float(text.split()[1]))
        return text

    def nothing(self, text: str) -> None:
        time.sleep(float(text.split()[1]))

    def review(self, id: str, times: int) -> Any:
        raise self.module.NoSuchProduct(id=self.echo(id))


class Texts:
    """Texts that are all different, each with how long its answer takes."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self._last = 0
        self._lock = threading.Lock()

    def __next__(self) -> str:
        with self._lock:
            self._last += 1
            return f"{self._last} {self._random.uniform(0, LONGEST_S):.4f}"


class Ends:
    """How many calls ended in each way; each way must be seen, however fast this machine is."""

    def __init__(self, *ways: str) -> None:
        self._seen = dict.fromkeys(ways, 0)
        self._calls = 0
        self._until = time.monotonic() + 20

    def count(self, way: str) -> None:
        self._seen[way] += 1
        self._calls += 1

    def want_more(self) -> bool:
        enough = self._calls >= 400 and min(self._seen.values()) > 20
        return not enough and time.monotonic() < self._until

    def check(self) -> None:
        assert min(self._seen.values()) > 20, self._seen


@pytest.fixture(scope="module")
def address(module: Any, free_port: Callable[[], int]) -> Iterator[str]:
    port = free_port()
    with running(mesh_thrift.mesh_server(server_of(module, Slow(module), port))):
        yield f"127.0.0.1:{port}"


def asked(client: Any, module: Any, text: str, ordinal: int) -> str | None:
    """One call of three kinds; what it was answered, None for nothing."""
    if ordinal % 3 == 0:
        client.nothing(text)
        return None
    try:
        answer: str = client.echo(text) if ordinal % 3 == 1 else client.review(text, 1)
    except module.NoSuchProduct as told:
        return str(told.id)
    return answer


@pytest.mark.parametrize("wire", WIRES)
def test_threads_that_give_up_get_no_others_reply(module: Any, address: str, wire: str) -> None:
    made = mesh_thrift.client(
        mesh_of(address), "reviews:9080", module.Reviews, wire=wire, timeout_s=PATIENCE_S
    )
    texts, ends = Texts(), Ends("answered", "gave up")

    def calls(ordinal: int) -> None:
        while ends.want_more():
            ordinal += 1
            text = next(texts)
            try:
                answer = asked(made, module, text, ordinal)
            except (CallTimeoutError, ConnectError):
                ends.count("gave up")
                continue
            assert answer in (text, None)
            ends.count("answered")

    with made, ThreadPoolExecutor(8) as pool:
        list(pool.map(calls, range(8)))
    ends.check()


@pytest.mark.parametrize("wire", WIRES)
async def test_tasks_that_are_cancelled_get_no_others_reply(
    module: Any, address: str, wire: str
) -> None:
    made: Any = mesh_thrift.async_client(
        mesh_of(address), "reviews:9080", module.Reviews, wire=wire, timeout_s=PATIENCE_S
    )
    texts, ends = Texts(), Ends("answered", "expired", "cancelled")
    patience = random.Random(8)

    async def calls() -> None:
        ordinal = 0
        while ends.want_more():
            ordinal += 1
            text = next(texts)
            call = asyncio.ensure_future(made.echo(text))
            if ordinal % 2:
                asyncio.get_running_loop().call_later(patience.uniform(0, 0.02), call.cancel)
            try:
                assert await call == text
                ends.count("answered")
            except (CallTimeoutError, ConnectError):
                ends.count("expired")
            except asyncio.CancelledError:
                ends.count("cancelled")

    async with made:
        await asyncio.gather(*(calls() for _ in range(12)))
    ends.check()


class Interrupted(BaseException):
    """What the signal's handler of this test raises, at any line of any code."""


# A connection whose call was interrupted before it was written is closed by its end of life.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_thread_that_signals_interrupt_spoils_no_other_threads_calls(
    module: Any, address: str
) -> None:
    made = mesh_thrift.client(
        mesh_of(address), "reviews:9080", module.Reviews, wire="ttheader", timeout_s=5
    )
    ended = threading.Event()

    def calls(number: int) -> int:
        answered = 0
        while not ended.is_set():
            text = f"{number}-{answered} 0"
            assert made.echo(text) == text
            answered += 1
        return answered

    def interrupt(_number: int, _frame: Any) -> None:
        raise Interrupted

    interrupted = 0
    before = signal.signal(signal.SIGALRM, interrupt)
    chance = random.Random(9)
    with made, ThreadPoolExecutor(3) as pool:
        others = [pool.submit(calls, number) for number in range(3)]
        try:
            for ordinal in range(400):
                text = f"main-{ordinal} 0"
                try:
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.002))
                    assert made.echo(text) == text
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interrupted:
                    interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            ended.set()
        assert all(each.result(20) > 10 for each in others)
    assert interrupted > 20


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
async def test_arguments_that_could_not_be_encoded_are_in_no_later_call(
    module: Any, address: str, kind: str
) -> None:
    make: Any = mesh_thrift.async_client if kind == "asyncio" else mesh_thrift.client
    made = make(mesh_of(address), "reviews:9080", module.Reviews, wire="ttheader")

    async def echo(text: Any) -> Any:
        return await made.echo(text) if kind == "asyncio" else made.echo(text)

    async def review(id: str, times: Any) -> Any:
        return await made.review(id, times) if kind == "asyncio" else made.review(id, times)

    for _ in range(3):
        with pytest.raises(Exception, match="needs type 'I32'"):
            await review("first field 0", "no number")
        assert await echo("later 0") == "later 0"
    made.close()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_requests_that_are_cancelled_get_no_others_response(
    protocol: str, tmp_path: Any, free_port: Callable[[], int]
) -> None:
    ports = {"v1": free_port()}
    patience = random.Random(10)
    ends = Ends("answered", "cancelled")

    async def told(call: Any, own: str) -> None:
        task = asyncio.ensure_future(call)
        asyncio.get_running_loop().call_later(patience.uniform(0, 0.06), task.cancel)
        try:
            assert own in str(await task)
            ends.count("answered")
        except asyncio.CancelledError:
            ends.count("cancelled")

    servers: Any = serving(ports) if protocol == "grpc" else serving_http(ports)
    xds = (free_port(), free_port())
    with servers, ruled(tmp_path / "mesh", xds, protocol, ports) as service:
        service.rules("- route: [{destination: {host: books.mesh, subset: v1}}]")
        async with (
            service.mesh.grpc_aio(TARGET) as channel,
            service.mesh.httpx_async(f"http://{TARGET}") as client,
        ):
            one = channel.unary_unary(ONE)

            async def asked_for(text: str) -> str:
                if protocol == "grpc":
                    return str(await one(text.encode()))
                return (await client.get(f"/{text}")).text

            assert "first" in await asked_for("first")
            turn = 0
            while ends.want_more():
                turn += 1
                texts = [f"-{turn}-{each}-" for each in range(10)]
                await asyncio.gather(*(told(asked_for(text), text) for text in texts))
    ends.check()
