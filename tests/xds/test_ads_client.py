"""The gRPC shell of the client: a stream that is kept up, and what is known of it."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import pytest
from ads_streams import Running, Start
from meltemi.xds.client import AdsClient
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE, WORKLOAD
from meltemi.xds.resource import Client
from meltemi.xds.server import AdsServer
from meltemi.xds.shell import BACKOFF_MAX_S, ClientStatus, backoff_s
from xds_source import NODE, NODE_ID, cluster, endpoints, one_of_each, route

ALL = (CLUSTER, ENDPOINT, LISTENER, ROUTE, WORKLOAD)


class Engine:
    """Takes updates as the engine does, and refuses what `bad` names."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, bytes]] = {type_url: {} for type_url in ALL}
        self.bad: set[str] = set()
        self.takes_s = 0.0
        self.calls = 0
        self.threads: set[str] = set()

    def update(
        self,
        type_url: str,
        version: str,
        resources: Sequence[tuple[str, bytes]],
        removed: Sequence[str],
    ) -> list[tuple[str, str]]:
        assert version
        time.sleep(self.takes_s)
        self.calls += 1
        self.threads.add(threading.current_thread().name)
        refused = []
        for name, body in resources:
            if name in self.bad:
                refused.append((name, "not this one"))
            else:
                self.held[type_url][name] = body
        for name in removed:
            del self.held[type_url][name]
        return refused


async def until(done: Callable[[], bool], timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while not done():
            await asyncio.sleep(0.01)


Connect = Callable[..., Awaitable[AdsClient]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Starts clients, closes them when the test ends."""
    clients: list[AdsClient] = []

    async def connected(
        port: int, engine: Engine, *, delta: bool = True, token: str | None = None
    ) -> AdsClient:
        address = f"127.0.0.1:{port}"
        client = AdsClient(address, NODE, token, on_update=engine.update, delta=delta)
        clients.append(client)
        client.start()
        return client

    yield connected
    for client in clients:
        await client.close()


both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


@both
async def test_the_engine_gets_all_that_is_for_it_and_every_change(
    start: Start, connect: Connect, delta: bool
) -> None:
    running: Running = await start()
    engine = Engine()
    client = await connect(running.port, engine, delta=delta)
    await until(lambda: all(engine.held[type_url] for type_url in ALL))
    for type_url in ALL:
        wanted = {name: r.body for name, r in running.source.view(type_url).items()}
        assert engine.held[type_url] == wanted
    running.source.put(CLUSTER, cluster("d"))
    running.source.put(ENDPOINT, endpoints("d"))
    running.source.put(ROUTE, route("r", "d"))
    running.source.remove(CLUSTER, "c")
    running.server.changed()
    await until(lambda: engine.held[CLUSTER].keys() == engine.held[ENDPOINT].keys() == {"d"})
    assert engine.held[ROUTE] == {"r": route("r", "d").body}
    status = client.status()
    assert status.connected and status.last_error is None
    await until(lambda: not running.server.nodes()[0].types[ROUTE].refusals)
    [node] = running.server.nodes()
    assert (node.node.client, node.node.user_agent) == (Client.SIDECAR, "meltemi 0.1.0")
    for type_url in ALL:
        assert client.status().types[type_url].resources == 1
        assert node.types[type_url].sent == node.types[type_url].acknowledged
        held = client.resources(type_url)
        assert {name: a.resource.body for name, a in held.items()} == engine.held[type_url]
        assert all(abs(a.last_updated - time.time()) < 30 for a in held.values())


@both
async def test_what_the_engine_refuses_is_known_at_both_ends_by_name_and_reason(
    start: Start, connect: Connect, delta: bool
) -> None:
    running: Running = await start()
    engine = Engine()
    engine.bad.add("x")
    running.source.put(CLUSTER, cluster("x"), cluster("y", eds=False))
    client = await connect(running.port, engine, delta=delta)
    await until(lambda: bool(running.server.nodes()) and CLUSTER in running.server.nodes()[0].types)
    await until(lambda: bool(running.server.nodes()[0].types[CLUSTER].refusals))
    [refusal] = running.server.nodes()[0].types[CLUSTER].refusals
    assert (refusal.name, refusal.reason) == ("x", "not this one")
    assert engine.held[CLUSTER].keys() == {"c", "y"}
    assert "x: not this one" in (client.status().types[CLUSTER].error or "")
    engine.bad.clear()
    running.source.put(CLUSTER, cluster("x", "better"))
    running.server.changed()
    await until(lambda: "x" in engine.held[CLUSTER])
    await until(lambda: not running.server.nodes()[0].types[CLUSTER].refusals)
    assert client.status().types[CLUSTER].error is None


@both
async def test_x50_state_stays_while_the_server_is_away_and_goes_on_when_it_is_back(
    start: Start, connect: Connect, delta: bool
) -> None:
    running: Running = await start()
    engine = Engine()
    client = await connect(running.port, engine, delta=delta)
    await until(lambda: bool(engine.held[ROUTE]))
    calls = engine.calls
    await running.server.stop(0)
    await until(lambda: not client.status().connected)
    await until(lambda: "refused" in (client.status().last_error or "").lower())
    assert engine.held[ROUTE] == {"r": route("r", "c").body} and engine.calls == calls
    second = AdsServer(running.source)
    await second.start(f"127.0.0.1:{running.port}")
    try:
        await until(lambda: client.status().connected)
        await asyncio.sleep(0.2)
        assert engine.calls == calls, "nothing changed, so nothing was applied again"
        running.source.put(ROUTE, route("r", "new"))
        second.changed()
        await until(lambda: engine.held[ROUTE] == {"r": route("r", "new").body})
    finally:
        await client.close()
        await second.stop(0)


async def test_a_refused_node_knows_why_and_is_let_in_when_that_is_over(
    start: Start, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    closed = True

    def authenticate(node_id: str, metadata: Mapping[str, str], peer: str) -> str | None:
        assert metadata["authorization"] == "Bearer secret"
        return "come back later" if closed else None

    running: Running = await start(authenticate=authenticate)
    engine = Engine()
    with caplog.at_level(logging.WARNING, "meltemi.xds.client"):
        client = await connect(running.port, engine, token="secret")
        await until(lambda: client.status().last_error == "PERMISSION_DENIED: come back later")
        await asyncio.sleep(0.6)
    lines = [line for line in caplog.messages if "come back later" in line]
    assert len([line for line in lines if "no stream to" in line]) == 1, "said once, not each time"
    assert not client.status().connected
    closed = False
    await until(lambda: bool(engine.held[ROUTE]))
    assert client.status().last_error is None
    assert "secret" not in caplog.text


async def test_a_slow_engine_does_not_stop_the_loop(start: Start, connect: Connect) -> None:
    running: Running = await start()
    engine = Engine()
    engine.takes_s = 0.2
    await connect(running.port, engine)
    longest, last = 0.0, time.monotonic()
    while not engine.held[ROUTE]:
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 0.15
    assert len(engine.threads) == 1 and threading.current_thread().name not in engine.threads


async def test_an_engine_that_fails_refuses_the_update_and_the_stream_goes_on(
    start: Start, connect: Connect
) -> None:
    running: Running = await start()
    engine = Engine()

    def update(type_url: str, *rest: object) -> list[tuple[str, str]]:
        if type_url == WORKLOAD:
            raise RuntimeError("no room")
        return works(type_url, *rest)  # type: ignore[arg-type]

    works, engine.update = engine.update, update  # type: ignore[method-assign, assignment]
    client = await connect(running.port, engine)
    await until(lambda: bool(engine.held[ROUTE]))
    assert "no room" in (client.status().types[WORKLOAD].error or "")
    assert client.status().connected


async def test_a_client_without_a_server_says_so_and_closes_cleanly(
    free_port: Callable[[], int], connect: Connect
) -> None:
    client = await connect(free_port(), Engine())
    await until(lambda: client.status().last_error is not None)
    status: ClientStatus = client.status()
    assert not status.connected and "Connection refused" in (status.last_error or "")
    began = time.monotonic()
    await client.close()
    assert time.monotonic() - began < 2
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert "xds-client" not in names
    assert not [t for t in threading.enumerate() if t.name.startswith("meltemi-xds")]


async def test_close_waits_for_the_update_that_is_being_applied(
    start: Start, connect: Connect
) -> None:
    running: Running = await start()
    engine = Engine()
    engine.takes_s = 0.3
    client = await connect(running.port, engine)
    await until(lambda: bool(running.server.nodes()))
    await asyncio.sleep(0.1)
    await client.close()
    calls = engine.calls
    await asyncio.sleep(0.4)
    assert engine.calls == calls, "nothing is applied after close"


def test_the_time_between_attempts_grows_to_a_bound_and_differs() -> None:
    rng = random.Random(1)
    waits = [[backoff_s(attempt, rng) for _ in range(200)] for attempt in (0, 3, 50, 10_000)]
    assert max(waits[0]) < max(waits[1]) < max(waits[2])
    for each in waits:
        assert max(each) <= BACKOFF_MAX_S and min(each) > 0.05
        assert len(set(each)) > 150 and max(each) / min(each) > 1.5


def test_node_ids_of_other_forms_give_a_node_without_place() -> None:
    assert (NODE.address, NODE.pod, NODE.namespace) == ("127.7.0.9", "client-0", "demo")
    plain = type(NODE).of("me", metadata={"NAMESPACE": "demo"})
    assert (plain.address, plain.pod, plain.namespace) == ("", "", "demo")
    assert type(NODE).of(NODE_ID) == NODE, "a node is its id"
    assert one_of_each().view(CLUSTER).keys() == {"c"}
