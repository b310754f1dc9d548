"""Requests that are balanced by hash go where a stock Envoy sends them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import stock_envoy
from meltemi import engine
from meltemi.xds import messages

KEYS = 1000
CALLER = "127.0.0.1"

# Cluster -> its policy, the weights of its endpoints, and what its route hashes.
HEADER = {"header": {"header_name": "Key"}}
OTHER = {"header": {"header_name": "other"}}
SOURCE = {"connection_properties": {"source_ip": True}}
RING = {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 1024}}
BY_DEFAULT: dict[str, Any] = {"lb_policy": "RING_HASH"}
SMALL = {
    "lb_policy": "RING_HASH",
    "ring_hash_lb_config": {"minimum_ring_size": 7, "maximum_ring_size": 13},
}
MAGLEV: dict[str, Any] = {"lb_policy": "MAGLEV"}
TINY = {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 251}}
EVEN, UNEVEN = (1,) * 7, (1, 2, 3, 50, 7, 1, 19)
CASES: dict[str, tuple[dict[str, Any], tuple[int, ...], list[dict[str, Any]]]] = {
    "ring": (RING, EVEN, [HEADER]),
    "ring-by-default": (BY_DEFAULT, EVEN, [HEADER]),
    "ring-by-weight": (RING, UNEVEN, [HEADER]),
    "ring-that-is-small": (SMALL, UNEVEN, [HEADER]),
    "ring-of-one": (RING, (3,), [HEADER]),
    "maglev": (MAGLEV, EVEN, [HEADER]),
    "maglev-by-weight": (MAGLEV, UNEVEN, [HEADER]),
    "maglev-that-is-small": (TINY, UNEVEN, [HEADER]),
    "two-keys": (RING, EVEN, [HEADER, OTHER]),
    "two-keys-the-first-ends": (RING, EVEN, [HEADER | {"terminal": True}, OTHER]),
    "one-of-two-is-missing": (RING, EVEN, [{"header": {"header_name": "none"}}, HEADER]),
    "caller": (MAGLEV, EVEN, [SOURCE]),
    "caller-and-key": (MAGLEV, EVEN, [SOURCE, HEADER]),
}


@contextlib.asynccontextmanager
async def servers(ports: list[int]) -> AsyncIterator[None]:
    """HTTP servers that answer each request with their port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(head + b"%05d" % port)
        writer.close()

    running = [await asyncio.start_server(answer, CALLER, port) for port in ports]
    try:
        yield
    finally:
        for server in running:
            server.close()


def cluster(name: str, ports: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    policy, weights, _ = CASES[name]
    endpoints = [
        {
            "endpoint": {"address": stock_envoy.address(CALLER, port)},
            "load_balancing_weight": weight,
        }
        for port, weight in zip(ports, weights, strict=False)
    ]
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}
    return {"name": name, **policy}, assignment


def route(name: str) -> dict[str, Any]:
    return {"match": {"prefix": "/"}, "route": {"cluster": name, "hash_policy": CASES[name][2]}}


def listener(port: int) -> dict[str, Any]:
    """Each case is a path."""
    routes = [route(name) | {"match": {"path": f"/{name}"}} for name in CASES]
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = stock_envoy.address(CALLER, port)
    return {"name": "http", "address": address, "filter_chains": [{"filters": filters}]}


def attributes(number: int) -> dict[str, str]:
    return {"key": f"user-{number}", "other": str(number % 10) * (number % 50 + 1)}


def asked(port: int) -> dict[str, list[int]]:
    """Who answers each key, by case."""
    connection = http.client.HTTPConnection(CALLER, port, timeout=10)
    found: dict[str, list[int]] = {}
    for name in CASES:
        for number in range(KEYS):
            connection.request("GET", f"/{name}", headers=attributes(number))
            found.setdefault(name, []).append(int(connection.getresponse().read()))
    connection.close()
    return found


def ours(name: str, ports: list[int]) -> list[int]:
    described, assignment = cluster(name, ports)
    eds = {"type": "EDS", "eds_cluster_config": {"service_name": name}}
    host = {"name": "a", "domains": ["*"], "routes": [route(name)]}
    built = [
        messages.serialize(messages.from_json(type_name, value))
        for type_name, value in (
            ("envoy.config.route.v3.RouteConfiguration", {"name": "r", "virtual_hosts": [host]}),
            ("envoy.config.cluster.v3.Cluster", described | eds),
            ("envoy.config.endpoint.v3.ClusterLoadAssignment", assignment),
        )
    ]
    found = []
    for number in range(KEYS):
        [chosen] = engine.explain_route(built[0], attributes(number), CALLER)
        hashed = chosen["hash"]
        assert isinstance(hashed, int)
        endpoint = engine.explain_endpoint(name, built[1], name, built[2], hashed)
        assert endpoint is not None
        found.append(int(endpoint.rpartition(":")[2]))
    return found


@pytest.mark.asyncio
async def test_a_thousand_keys_go_where_envoy_sends_them(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    ports = [free_port() for _ in EVEN]
    http_port = free_port()
    clusters = []
    for name in CASES:
        described, assignment = cluster(name, ports)
        clusters.append(described | {"type": "STATIC", "load_assignment": assignment})
    resources = {"listeners": [listener(http_port)], "clusters": clusters}
    async with servers(ports), stock_envoy.standing_alone(resources, free_port(), tmp_path):
        theirs = await asyncio.to_thread(asked, http_port)
    for name in CASES:
        mine = await asyncio.to_thread(ours, name, ports)
        assert mine == theirs[name], name
    assert len(set(theirs["ring"])) == len(set(theirs["maglev"])) == len(EVEN)
    assert len(set(theirs["caller"])) == 1
