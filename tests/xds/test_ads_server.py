"""The gRPC shell of the server: who is let in, what it bounds, and many nodes at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from ads_streams import RawStream, Running, Start
from meltemi.xds import server as server_module
from meltemi.xds.discovery import DeltaRequest, SotwRequest
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meltemi.xds.resource import Client, Node, Resource
from meltemi.xds.server import AdsServer, ServerLimits
from meltemi.xds.server_state import Limits
from xds_source import NODE_ID, Held, cluster, endpoints, one_of_each


class PerNode(Held):
    """Gives each node one cluster with the node's own name, and one endpoint."""

    def resources(self, node: Node, type_url: str) -> Mapping[str, Resource]:
        made = {CLUSTER: cluster(f"for {node.id}"), ENDPOINT: endpoints(f"for {node.id}")}
        return {made[type_url].name: made[type_url]}


async def test_x01_the_first_request_says_who_the_node_is_for_all_types(start: Start) -> None:
    running: Running = await start(PerNode())
    stream = await running.stream()
    await stream.send(SotwRequest(CLUSTER), node=True)
    assert [r.name for r in (await stream.read()).resources] == [f"for {NODE_ID}"]
    stream.node_id = "somebody else"
    await stream.send(SotwRequest(ENDPOINT, (f"for {NODE_ID}",)), node=True)
    assert [r.name for r in (await stream.read()).resources] == [f"for {NODE_ID}"]


async def test_x03_nonces_of_two_streams_differ(start: Start) -> None:
    running: Running = await start()
    nonces = set()
    for _ in range(2):
        stream = await running.stream()
        await stream.send(SotwRequest(CLUSTER), node=True)
        nonces.add((await stream.read()).nonce)
    assert len(nonces) == 2


SINGLE = {
    LISTENER: ("listener.v3.ListenerDiscoveryService", "Listeners", "l"),
    ROUTE: ("route.v3.RouteDiscoveryService", "Routes", "r"),
    CLUSTER: ("cluster.v3.ClusterDiscoveryService", "Clusters", "c"),
    ENDPOINT: ("endpoint.v3.EndpointDiscoveryService", "Endpoints", "c"),
}


@pytest.mark.parametrize("type_url", SINGLE, ids=lambda type_url: type_url.rpartition(".")[2])
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_each_type_has_streams_of_its_own(start: Start, type_url: str, delta: bool) -> None:
    running: Running = await start()
    service, noun, name = SINGLE[type_url]
    method = ("Delta" if delta else "Stream") + noun
    for claimed in (type_url, ""):
        stream = await running.stream(method, f"envoy.service.{service}")
        kind: Any = DeltaRequest if delta else SotwRequest
        await stream.send(kind(claimed, (name,)), node=True)
        response = await stream.read(delta=delta)
        assert (response.type_url, [r.name for r in response.resources]) == (type_url, [name])
    stream = await running.stream(method, f"envoy.service.{service}")
    other = LISTENER if type_url != LISTENER else ROUTE
    await stream.send(kind(other, ("x",)), node=True)
    code, details = await stream.end()
    assert code is grpc.StatusCode.INVALID_ARGUMENT and type_url in details


async def test_a_wrapper_is_used_only_where_the_client_says_that_it_knows_it(start: Start) -> None:
    running: Running = await start()
    for features, wrapped in (([], False), (["xds.config.resource-in-sotw"], True)):
        stream = await running.stream()
        stream.features = features
        await stream.send(SotwRequest(CLUSTER), node=True)
        data = await stream.call.read()
        assert (b"envoy.service.discovery.v3.Resource" in data) is wrapped


async def test_who_is_refused_gets_a_sentence_and_a_status(start: Start) -> None:
    asked: list[tuple[str, str]] = []

    def authenticate(node_id: str, metadata: Mapping[str, str], peer: str) -> str | None:
        asked.append((node_id, peer))
        if metadata.get("authorization") == "Bearer right":
            return None
        return f"node {node_id} is one of ours: send its token"

    running: Running = await start(authenticate=authenticate)
    for token, code in (
        (None, grpc.StatusCode.UNAUTHENTICATED),
        ("wrong", grpc.StatusCode.PERMISSION_DENIED),
    ):
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        stream = await running.stream(metadata=metadata)
        await stream.send(SotwRequest(CLUSTER), node=True)
        assert await stream.end() == (code, f"node {NODE_ID} is one of ours: send its token")
    stream = await running.stream(metadata=(("authorization", "Bearer right"),))
    await stream.send(SotwRequest(CLUSTER), node=True)
    assert (await stream.read()).resources
    assert [node.node.id for node in running.server.nodes()] == [NODE_ID]
    assert all(peer.startswith("ipv4:127.0.0.1:") for _node_id, peer in asked)
    assert running.source.asked_for and {n.id for n in running.source.asked_for} == {NODE_ID}


@pytest.mark.parametrize(
    ("request_", "node_id", "reason"),
    [
        (b"\xff\xff", NODE_ID, "not a DiscoveryRequest"),
        (SotwRequest(CLUSTER), None, "must carry a node with an id"),
        (SotwRequest(CLUSTER), "", "must carry a node with an id"),
        (SotwRequest(CLUSTER), "two\nlines", "printable"),
        (SotwRequest(CLUSTER), "x" * 2000, "at most 1024 characters"),
        (SotwRequest(""), NODE_ID, "must say its type_url"),
    ],
    ids=["no request", "no node", "no id", "line break", "long id", "no type"],
)
async def test_a_request_that_makes_no_sense_ends_the_stream_with_a_reason(
    start: Start, request_: Any, node_id: str | None, reason: str
) -> None:
    running: Running = await start()
    stream = await running.stream(node_id=node_id or "")
    if isinstance(request_, bytes):
        await stream.call.write(request_)
    else:
        await stream.send(request_, node=node_id is not None)
    code, details = await stream.end()
    assert code is grpc.StatusCode.INVALID_ARGUMENT and reason in details
    assert running.server.nodes() == []


async def test_streams_are_limited_for_all_and_for_each_node(start: Start) -> None:
    running: Running = await start(limits=ServerLimits(streams=4, streams_per_node=2))
    kept = []
    for node_id in ("a", "a", "b"):
        kept.append(await running.stream(node_id=node_id))
        await kept[-1].send(SotwRequest(CLUSTER), node=True)
        await kept[-1].read()
    third = await running.stream(node_id="a")
    await third.send(SotwRequest(CLUSTER), node=True)
    code, details = await third.end()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "node a has 2 streams" in details
    async with asyncio.timeout(5):
        while len(running.server._connections) == 4:
            await asyncio.sleep(0.01)  # its place is free once the server has ended it too
    kept.append(await running.stream(node_id="c"))
    await kept[-1].send(SotwRequest(CLUSTER), node=True)
    await kept[-1].read()
    fifth = await running.stream(node_id="d")
    with contextlib.suppress(grpc.aio.AioRpcError):  # the refusal may be there before the request
        await fifth.send(SotwRequest(CLUSTER), node=True)
    code, details = await fifth.end()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "at most 4 streams" in details
    kept.pop().call.cancel()
    async with asyncio.timeout(5):
        while len(running.server.nodes()) == 3:
            await asyncio.sleep(0.01)
    again = await running.stream(node_id="d")
    await again.send(SotwRequest(CLUSTER), node=True)
    assert (await again.read()).resources, "a place that was left can be taken"


async def test_the_children_of_a_pre_forking_server_may_share_their_id(start: Start) -> None:
    """A stream each; docs/operations.md says how many, and no node takes all that there are."""
    running: Running = await start()
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
    limits = ServerLimits()
    said = f"Of the control plane: {limits.streams:,} streams, {limits.streams_per_node} of one"
    assert said in page
    assert 256 < limits.streams_per_node <= limits.streams / 8
    for _ in range(200):
        stream = await running.stream(node_id="one")
        await stream.send(SotwRequest(CLUSTER), node=True)
        await stream.read()
    (node,) = running.server.nodes()
    assert node.streams == 200


async def test_names_and_messages_are_limited(start: Start) -> None:
    limits = ServerLimits(request_bytes=10_000, stream=Limits(names=10))
    running: Running = await start(limits=limits)
    stream = await running.stream()
    await stream.send(SotwRequest(ENDPOINT, tuple(f"n{n}" for n in range(11))), node=True)
    code, details = await stream.end()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "10 names" in details
    large = await running.stream()
    await large.send(SotwRequest(ENDPOINT, ("x" * 20_000,)), node=True)
    assert (await large.end())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_stream_that_says_nothing_is_closed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "FIRST_REQUEST_S", 0.1)
    running: Running = await start()
    code, details = await (await running.stream()).end()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED and "no request came" in details


async def test_one_node_with_two_streams_is_one_line_of_the_status(start: Start) -> None:
    running: Running = await start()
    first, second = await running.stream(), await running.stream()
    before = time.time()
    await first.send(SotwRequest(CLUSTER), node=True)
    response = await first.read()
    await first.send(SotwRequest(CLUSTER, (), response.version, response.nonce))
    await second.send(SotwRequest(ROUTE, ("r",)), node=True)
    refused = await second.read()
    await second.send(SotwRequest(ROUTE, ("r",), "", refused.nonce, "r: no such cluster"))
    async with asyncio.timeout(5):
        while not (node := running.server.nodes()[0]).types[ROUTE].refusals:
            await asyncio.sleep(0.01)
    assert (node.streams, node.node.client) == (2, Client.KITEX)
    assert before - 1 < node.connected_since < time.time()
    assert node.types[CLUSTER].acknowledged == response.version
    assert [(r.name, r.reason) for r in node.types[ROUTE].refusals] == [("r", "no such cluster")]


async def test_a_source_that_fails_leaves_nodes_as_they_are_until_it_works(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    running: Running = await start()
    stream = await running.stream()
    await stream.send(SotwRequest(CLUSTER), node=True)
    await stream.read()
    source, works = running.source, running.source.resources

    def fails(node: Node, type_url: str) -> Mapping[str, Resource]:
        raise RuntimeError("out of ideas")

    source.resources = fails  # type: ignore[method-assign]
    source.put(CLUSTER, cluster("c", "new"))
    with caplog.at_level(logging.ERROR):
        running.server.changed()
        async with asyncio.timeout(5):
            while "cannot build the resources" not in caplog.text:
                await asyncio.sleep(0.01)
    source.resources = works  # type: ignore[method-assign]
    running.server.changed()
    assert (await stream.read()).resources[0].body == cluster("c", "new").body


async def test_a_change_may_be_told_from_another_thread(start: Start) -> None:
    running: Running = await start()
    stream = await running.stream()
    await stream.send(SotwRequest(CLUSTER), node=True)
    await stream.read()
    running.source.put(CLUSTER, cluster("c", "new"))
    thread = threading.Thread(target=running.server.changed)
    thread.start()
    thread.join()
    assert (await stream.read()).resources[0].body == cluster("c", "new").body


async def test_a_port_in_use_is_one_clear_error(start: Start) -> None:
    running: Running = await start()
    second = AdsServer(one_of_each())
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{running.port}: .* in use"):
        await second.start(f"127.0.0.1:{running.port}")


async def test_stop_ends_every_stream_at_once(start: Start) -> None:
    running: Running = await start()
    streams = [await running.stream(node_id=f"n{n}") for n in range(20)]
    for stream in streams:
        await stream.send(SotwRequest(CLUSTER), node=True)
        await stream.read()
    began = time.monotonic()
    await running.server.stop(grace_s=5)
    assert time.monotonic() - began < 2, "the grace is for what does not end by itself"
    for stream in streams:
        assert (await stream.end())[0] in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
    assert running.server.nodes() == []
    running.server.changed()  # too late, and no error


def large(tag: str) -> Resource:
    """An endpoint resource of 64 KB."""
    return endpoints("c", tag.ljust(64 * 1024, "x"))


async def test_x29_a_node_that_does_not_read_skips_versions_and_blocks_nobody(
    start: Start,
) -> None:
    running: Running = await start()
    running.source.put(ENDPOINT, large("first"))
    slow, fast = await running.stream(node_id="slow"), await running.stream(node_id="fast")
    for stream in (slow, fast):
        await stream.send(SotwRequest(ENDPOINT, ("c",)), node=True)
    await fast.read()
    for ordinal in range(200):
        newest = large(f"v{ordinal}")
        running.source.put(ENDPOINT, newest)
        running.server.changed()
        pushed = await fast.read()
        assert pushed.resources[0].body == newest.body
        answer = SotwRequest(ENDPOINT, ("c",), pushed.version, pushed.nonce)
        await fast.send(answer)
    read = 0
    while (await slow.read()).resources[0].body != newest.body:
        read += 1
    assert read < 100, "most of the 200 versions were never sent to it"


async def delta_streams(running: Running, count: int) -> list[RawStream]:
    return [await running.stream("DeltaAggregatedResources", node_id=f"n{n}") for n in range(count)]


async def first_answers(streams: list[RawStream]) -> None:
    async def one(stream: RawStream) -> None:
        await stream.send(DeltaRequest(CLUSTER), node=True)
        response = await stream.read(delta=True, timeout_s=30)
        assert len(response.resources) == 100
        await stream.send(DeltaRequest(CLUSTER, nonce=response.nonce))

    await asyncio.gather(*map(one, streams))


@pytest.mark.load
async def test_200_nodes_that_come_back_at_once_are_all_served(start: Start) -> None:
    source = Held()
    source.put(CLUSTER, *(cluster(f"c{n}", "x" * 500) for n in range(100)))
    running: Running = await start(source)
    began = time.monotonic()
    await first_answers(await delta_streams(running, 200))
    assert time.monotonic() - began < 20
    async with asyncio.timeout(5):
        while sum(bool(n.types[CLUSTER].acknowledged) for n in running.server.nodes()) < 200:
            await asyncio.sleep(0.05)


@pytest.mark.load
async def test_500_idle_streams_all_get_one_change(start: Start) -> None:
    source = Held()
    source.put(CLUSTER, *(cluster(f"c{n}") for n in range(100)))
    running: Running = await start(source)
    streams = await delta_streams(running, 500)
    await first_answers(streams)
    newest = cluster("c7", "n" * 2000)
    began = time.monotonic()
    source.put(CLUSTER, newest)
    running.server.changed()
    for response in await asyncio.gather(*(s.read(delta=True, timeout_s=30) for s in streams)):
        assert [r.body for r in response.resources] == [newest.body]
    assert time.monotonic() - began < 10
