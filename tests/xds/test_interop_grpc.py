"""The `xds:///` client inside grpcio takes its configuration from our server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from http_resources import api_listener, eds_cluster, endpoints_at, http_route
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meltemi.xds.resource import Client
from meltemi.xds.server import AdsServer
from xds_source import Held

CALLER = Path(__file__).with_name("grpc_caller.py")
NODE_ID = "sidecar~127.0.0.1~caller-0.demo~demo.svc.cluster.local"


async def backend(name: str, port: int) -> grpc.aio.Server:
    async def hello(_request: bytes, _context: Any) -> bytes:
        return name.encode()

    server = grpc.aio.server()
    methods = {"Hello": grpc.unary_unary_rpc_method_handler(hello)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("demo.Greeter", methods),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server


@pytest.fixture
async def backends(free_port: Callable[[], int]) -> AsyncIterator[dict[str, int]]:
    """Ports of two servers that answer with their names."""
    ports = {name: free_port() for name in ("v1", "v2")}
    servers = [await backend(name, port) for name, port in ports.items()]
    yield ports
    for server in servers:
        await server.stop(None)


async def caller(xds_port: int) -> asyncio.subprocess.Process:
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{xds_port}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": NODE_ID, "metadata": {"GENERATOR": "grpc"}},
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(CALLER),
        "xds:///greeter.mesh",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
    )


async def calls(process: asyncio.subprocess.Process, count: int) -> dict[str, int]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{count}\n".encode())
    answers: dict[str, int] = json.loads(await process.stdout.readline())
    return answers


async def until(said: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not said():
            await asyncio.sleep(0.02)


def all_acknowledged(server: AdsServer) -> bool:
    types = server.nodes()[0].types
    return all(types[t].acknowledged for t in (LISTENER, ROUTE, CLUSTER, ENDPOINT))


async def test_grpc_calls_follow_our_routes_and_none_fails_when_they_change(
    backends: dict[str, int], free_port: Callable[[], int]
) -> None:
    source = Held()
    source.put(LISTENER, api_listener("greeter.mesh", "routes"))
    source.put(ROUTE, http_route("routes", "v1"))
    source.put(CLUSTER, eds_cluster("v1"))
    source.put(ENDPOINT, endpoints_at("v1", backends["v1"]))
    server = AdsServer(source)
    port = await server.start(f"127.0.0.1:{free_port()}")
    process = await caller(port)
    try:
        assert await calls(process, 20) == {"v1": 20}
        [node] = server.nodes()
        assert (node.node.client, node.node.id) == (Client.GRPC, NODE_ID)
        await until(lambda: all_acknowledged(server))
        source.put(CLUSTER, eds_cluster("v2"))
        source.put(ENDPOINT, endpoints_at("v2", backends["v2"]))
        source.put(ROUTE, http_route("routes", "v2"))
        source.remove(CLUSTER, "v1")
        server.changed()
        seen: dict[str, int] = {}
        async with asyncio.timeout(15):
            while seen.keys() != {"v2"}:
                seen = await calls(process, 20)
                assert seen.keys() <= {"v1", "v2"}, "no call failed on the way"
        for status in server.nodes()[0].types.values():
            assert status.acknowledged == status.sent and not status.refusals
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await server.stop()
