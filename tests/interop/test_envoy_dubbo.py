"""A stock Envoy's own Dubbo proxy reads what our engine writes: before it, and behind it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import stock_envoy
from dubbo_frames import (
    EVENT,
    FLAGS,
    OK,
    STATUS,
    TWO_WAY,
    golden,
    id_of,
    provider,
    read_frame,
    records,
    with_id,
)
from engine_of import engine
from full_mesh import HOST, NAMESPACE, exact, to
from meltemi.engine import decode_messages
from meltemi.model import (
    Endpoint,
    Instance,
    Mesh,
    MeshMode,
    MetaRoute,
    MetaRouter,
    Mutation,
    Service,
    ServicePort,
    Workload,
)
from stock_envoy import Envoy
from thrift_servers import wait_for

FreePort = Callable[[], int]
PROXY = "type.googleapis.com/envoy.extensions.filters.network.dubbo_proxy.v3.DubboProxy"
SERVICE = "org.apache.dubbo.samples.basic.api.DemoService"


def readable(name: str) -> bytes:
    """A golden call; where the service's version is null, which Envoy refuses, it is empty."""
    frame = golden(name)
    at = frame.index(SERVICE.encode()) + len(SERVICE)
    return (
        frame[:at] + (b"\0" if frame[at : at + 1] == b"N" else frame[at : at + 1]) + frame[at + 1 :]
    )


CALLS = {name: readable(name) for name, record in records().items() if record["kind"] == "call"}
NO_STATUS_OF_ENVOY = ("-10", "-25", "-35")
REPLIES = [
    golden(name)
    for name in records()
    if name.startswith("dubbo-reply-") and not name.endswith(NO_STATUS_OF_ENVOY)
]


def listener(port: int, routes: list[dict[str, Any]]) -> dict[str, Any]:
    proxy = {
        "@type": PROXY,
        "stat_prefix": "test",
        "protocol_type": "Dubbo",
        "serialization_type": "Hessian2",
        "route_config": [{"name": "of-the-service", "interface": SERVICE, "routes": routes}],
        "dubbo_filters": [{"name": "envoy.filters.dubbo.router"}],
    }
    filters = [{"name": "envoy.filters.network.dubbo_proxy", "typed_config": proxy}]
    return {
        "name": "dubbo",
        "address": stock_envoy.address("127.0.0.1", port),
        "filter_chains": [{"filters": filters}],
    }


def route(cluster: str, method: dict[str, Any], **headers: str) -> dict[str, Any]:
    wanted = [{"name": n, "string_match": {"exact": value}} for n, value in headers.items()]
    match = {"method": {"name": method}, "headers": wanted}
    return {"match": match, "route": {"cluster": cluster}}


EVERY = {"safe_regex": {"regex": ".*"}}


def cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": stock_envoy.address("127.0.0.1", port)}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }


@contextlib.asynccontextmanager
async def envoy(
    free_port: FreePort, port: int, folder: Path, clusters: dict[str, int], *routes: dict[str, Any]
) -> AsyncIterator[Envoy]:
    resources = {
        "listeners": [listener(port, list(routes))],
        "clusters": [cluster(name, at) for name, at in clusters.items()],
    }
    async with stock_envoy.standing_alone(resources, free_port(), folder) as running:
        await asyncio.to_thread(wait_for, "127.0.0.1", port)
        yield running


def calling(port: int, endpoint: int, *routes: MetaRoute) -> Mesh:
    """A caller's mesh: HOST, at 127.0.0.1, is served by one endpoint."""
    instance = Instance(0, "127.0.0.3", "127.0.0.4", ((HOST, "127.0.0.1"),))
    client = Workload(NAMESPACE, "client", mode=MeshMode.SIDECAR, instances=(instance,))
    ports = (ServicePort(port, "tcp-metaprotocol-dubbo", "dubbo", 0),)
    endpoints = ((port, (Endpoint("127.0.0.1", endpoint),) if endpoint else ()),)
    return Mesh(
        services={HOST: Service(HOST, NAMESPACE, "hello", ports, endpoints=endpoints)},
        meta_routers=(MetaRouter(NAMESPACE, "hello", HOST, routes),) if routes else (),
        workloads=(client,),
    )


def exchange(port: int, frames: list[bytes]) -> dict[int, bytes]:
    """Sends all at once over one connection; the replies to those that want one, by id."""
    replies: dict[int, bytes] = {}
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"".join(frames))
        for _ in range(sum(bool(frame[FLAGS] & TWO_WAY) for frame in frames)):
            reply = read_frame(client)
            assert reply, f"closed after {len(replies)} replies"
            replies[id_of(reply)] = reply
    return replies


def counted(envoy: Envoy) -> dict[str, int]:
    start = "dubbo.test."
    return {
        name.removeprefix(start): n
        for name, n in envoy.counters().items()
        if name.startswith(start)
    }


async def exchanged(port: int, frames: list[bytes]) -> dict[int, bytes]:
    return await asyncio.to_thread(exchange, port, frames)


def without_ids(frames: Iterable[bytes]) -> Counter[bytes]:
    return Counter(with_id(frame, 0) for frame in frames)


async def test_envoy_reads_every_call_that_the_engine_forwards(
    free_port: FreePort, tmp_path: Path
) -> None:
    port, behind, server = free_port(), free_port(), free_port()
    mesh = calling(port, behind)
    calls = [with_id(frame, (1 << 63) - 1 - n) for n, frame in enumerate(CALLS.values())]
    sent = [*calls, golden("dubbo-oneway"), golden("dubbo-event-heartbeat-request")]
    with provider(server, *REPLIES) as provided, engine(mesh, mesh.workloads[0]):
        async with envoy(free_port, behind, tmp_path, {"a": server}, route("a", EVERY)) as running:
            await asyncio.to_thread(wait_for, "127.0.0.1", port)
            replies = await exchanged(port, sent)
            counters = counted(running)
    beat = replies.pop(id_of(sent[-1]))
    assert beat[FLAGS] & EVENT and beat[STATUS] == 20
    assert sorted(replies) == sorted(map(id_of, calls))
    turns = itertools.islice(itertools.cycle(REPLIES), len(calls))
    assert without_ids(replies.values()) == without_ids(turns)
    assert without_ids(provided.seen) == without_ids(sent[:-1])
    assert counters["request_decoding_error"] == counters["response_decoding_error"] == 0
    assert counters["request_decoding_success"] == counters["request"] == len(calls) + 1
    assert (counters["request_twoway"], counters["request_oneway"]) == (len(calls), 1)
    assert counters["response_decoding_success"] == len(calls)
    assert counters["request_event"] == 0  # the engine answers heartbeats itself


async def test_envoy_routes_what_the_engine_forwards_by_method_and_attachment(
    free_port: FreePort, tmp_path: Path
) -> None:
    port, behind = free_port(), free_port()
    ports = {name: free_port() for name in ("by-attachment", "by-method", "rest")}
    routes = (
        # Of attachments in a typed map, such as Apache Dubbo 3 writes, Envoy sees none.
        route("by-attachment", EVERY, lane="blue"),
        route("by-method", {"exact": "sayHello"}),
        route("rest", EVERY),
    )
    mesh = calling(port, behind)
    with contextlib.ExitStack() as stack:
        reply = golden("dubbo-reply-value")
        providers = [stack.enter_context(provider(at, reply)) for at in ports.values()]
        stack.enter_context(engine(mesh, mesh.workloads[0]))
        async with envoy(free_port, behind, tmp_path, ports, *routes):
            await asyncio.to_thread(wait_for, "127.0.0.1", port)
            names = ("python-sayHello", "dubbo-sayHello", "dubbo-map", "python-object")
            await exchanged(port, [with_id(CALLS[name], n) for n, name in enumerate(names)])
    seen = [without_ids(one.seen) for one in providers]
    assert seen[0] == without_ids([CALLS["python-sayHello"]])
    assert seen[1] == without_ids([CALLS["dubbo-sayHello"]])
    assert seen[2] == without_ids([CALLS["dubbo-map"], CALLS["python-object"]])


async def test_envoy_reads_every_reply_that_the_engine_passes_on(
    free_port: FreePort, tmp_path: Path
) -> None:
    port, before, server = free_port(), free_port(), free_port()
    mesh = calling(port, server)
    calls = [with_id(frame, n) for n, frame in enumerate(CALLS.values())]
    with provider(server, *REPLIES) as provided, engine(mesh, mesh.workloads[0]):
        async with envoy(free_port, before, tmp_path, {"a": port}, route("a", EVERY)) as running:
            await asyncio.to_thread(wait_for, "127.0.0.1", port)
            replies = await exchanged(before, calls)
            counters = counted(running)
    assert sorted(replies) == sorted(map(id_of, calls))
    turns = itertools.islice(itertools.cycle(REPLIES), len(calls))
    assert without_ids(replies.values()) == without_ids(turns)
    assert without_ids(provided.seen) == without_ids(calls)
    assert counters["request_decoding_error"] == counters["response_decoding_error"] == 0
    assert counters["response_success"] > 0
    assert counters["response_success"] + counters["response_error"] == len(calls)


@pytest.mark.parametrize(
    ("rule", "status", "reason"),
    [
        ((to("other", ("", 0), method=exact("other")),), 60, b"no route matches in 'hello."),
        ((), 80, b"no healthy upstream for 'outbound|"),
    ],
)
async def test_envoy_reads_the_answers_that_are_the_engines_own(
    rule: tuple[MetaRoute, ...], status: int, reason: bytes, free_port: FreePort, tmp_path: Path
) -> None:
    port, before = free_port(), free_port()
    mesh = calling(port, 0, *rule)
    calls = [with_id(frame, n) for n, frame in enumerate(CALLS.values())]
    with engine(mesh, mesh.workloads[0]):
        async with envoy(free_port, before, tmp_path, {"a": port}, route("a", EVERY)) as running:
            await asyncio.to_thread(wait_for, "127.0.0.1", port)
            replies = await exchanged(before, calls)
            counters = counted(running)
    assert sorted(replies) == sorted(map(id_of, calls))
    for reply in replies.values():
        assert reply[STATUS] == status and reason in reply
    assert counters["response_decoding_error"] == 0
    assert counters["response_decoding_success"] == len(calls)


EDITS: Mutation = (("lane", "blue"), ("long", "λ" * 1500), ("user", None))


def edits() -> MetaRoute:
    return dataclasses.replace(
        to("edits", ("", 0)), request_mutation=EDITS, response_mutation=EDITS
    )


async def test_envoy_reads_and_routes_by_attachments_that_the_engine_edited(
    free_port: FreePort, tmp_path: Path
) -> None:
    port, behind = free_port(), free_port()
    ports = {"edited": free_port(), "rest": free_port()}
    routes = (route("edited", EVERY, lane="blue"), route("rest", EVERY))
    mesh = calling(port, behind, edits())
    calls = [with_id(frame, n) for n, frame in enumerate(CALLS.values())]
    seen_by_envoy = [name for name in CALLS if not name.startswith("dubbo-")]  # no typed map
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(provider(at, *REPLIES)) for at in ports.values()]
        stack.enter_context(engine(mesh, mesh.workloads[0]))
        async with envoy(free_port, behind, tmp_path, ports, *routes) as running:
            await asyncio.to_thread(wait_for, "127.0.0.1", port)
            replies = await exchanged(port, calls)
            counters = counted(running)
    assert sorted(replies) == sorted(map(id_of, calls))
    assert counters["request_decoding_error"] == counters["response_decoding_error"] == 0
    assert counters["request_decoding_success"] == len(calls)
    methods = {records()[name]["method"] for name in seen_by_envoy}
    assert {attributes(frame)["method"] for frame in both[0].seen} == methods
    for frame in (*both[0].seen, *both[1].seen):
        found = attributes(frame)
        assert found["lane"] == "blue" and found["long"] == "λ" * 1500 and "user" not in found


async def test_envoy_reads_replies_whose_attachments_the_engine_edited(
    free_port: FreePort, tmp_path: Path
) -> None:
    port, before, server = free_port(), free_port(), free_port()
    mesh = calling(port, server, edits())
    calls = [with_id(frame, n) for n, frame in enumerate(CALLS.values())]
    with provider(server, *REPLIES), engine(mesh, mesh.workloads[0]):
        async with envoy(free_port, before, tmp_path, {"a": port}, route("a", EVERY)) as running:
            await asyncio.to_thread(wait_for, "127.0.0.1", port)
            replies = await exchanged(before, calls)
            counters = counted(running)
    assert sorted(replies) == sorted(map(id_of, calls))
    assert counters["response_decoding_error"] == 0
    assert counters["response_decoding_success"] == len(calls)
    edited = [reply for reply in replies.values() if b"\x04long" in reply]
    turns = itertools.islice(itertools.cycle(REPLIES), len(calls))
    assert len(edited) == sum(reply[STATUS] == OK for reply in turns) > len(calls) / 2


def attributes(frame: bytes) -> dict[str, str]:
    (message,) = decode_messages("dubbo", "request", frame)
    found = message["attributes"]
    assert isinstance(found, dict)
    return {name: value.decode() for name, value in found.items()}
