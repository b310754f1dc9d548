"""What routes change in headers, a call without a sidecar changes as a stock Envoy does."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import stock_envoy
from meltemi import engine
from meltemi.xds import messages

Json = dict[str, Any]
Headers = list[tuple[str, str]]

HOSTS = 60
NAMES = ("x-a", "x-b", "x-c")
ACTIONS = (
    "APPEND_IF_EXISTS_OR_ADD",
    "ADD_IF_ABSENT",
    "OVERWRITE_IF_EXISTS_OR_ADD",
    "OVERWRITE_IF_EXISTS",
)
SENT: tuple[Headers, ...] = (
    [],
    [("x-a", "sent")],
    [("x-b", "sent"), ("x-c", "sent"), ("x-b", "again")],
)
ANSWERED: Headers = [("x-a", "answered"), ("x-c", "answered"), ("x-c", "again")]
ADS = {"ads": {}, "resource_api_version": "V3"}
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network."
    "http_connection_manager.v3.HttpConnectionManager"
)


def changes(chance: random.Random, level: str) -> Json:
    """Of each header at most one addition, and removals, of the request and of the reply."""
    found: Json = {}
    for way in ("request", "response"):
        adds = []
        for name in NAMES:
            if chance.random() < 0.5:
                header = {"key": name.title(), "value": f"{level} 100%%"}
                adds.append({"header": header, "append_action": chance.choice(ACTIONS)})
        found[f"{way}_headers_to_add"] = adds
        found[f"{way}_headers_to_remove"] = [name for name in NAMES if chance.random() < 0.25]
    return found


def configuration(chance: random.Random, name: str, *, most_specific: bool) -> Json:
    """A virtual host for each of many ways to change headers at every level."""
    hosts = []
    for place in range(HOSTS):
        weighted = {"name": "c", "weight": 1, **changes(chance, "cluster")}
        route = {
            "match": {"prefix": "/"},
            "route": {"weighted_clusters": {"clusters": [weighted]}},
            **changes(chance, "route"),
        }
        domain = f"{place}.test"
        host = {"name": domain, "domains": [domain], "routes": [route]}
        hosts.append(host | changes(chance, "host"))
    return {
        "name": name,
        "virtual_hosts": hosts,
        "most_specific_header_mutations_wins": most_specific,
        **changes(chance, "configuration"),
    }


def listener(port: int, routes: Json) -> Json:
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = {
        "@type": MANAGER,
        "stat_prefix": "http",
        "route_config": routes,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = stock_envoy.address("127.0.0.1", port)
    return {"name": routes["name"], "address": address, "filter_chains": [{"filters": filters}]}


def endpoints(port: int) -> Json:
    address = {"endpoint": {"address": stock_envoy.address("127.0.0.1", port)}}
    return {"cluster_name": "c", "endpoints": [{"lb_endpoints": [address]}]}


def named(headers: Headers) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name.lower() in NAMES:
            found.setdefault(name.lower(), []).append(value)
    return found


@contextlib.asynccontextmanager
async def server(port: int) -> AsyncIterator[None]:
    """An HTTP server whose replies hold the headers that it got."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
                pairs = [line.split(": ", 1) for line in lines]
                body = json.dumps(named([(pair[0], pair[1]) for pair in pairs])).encode()
                own = "".join(f"{name}: {value}\r\n" for name, value in ANSWERED)
                head = f"HTTP/1.1 200 OK\r\n{own}content-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
        writer.close()

    running = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield
    finally:
        running.close()


def by_envoy(port: int) -> list[tuple[dict[str, list[str]], dict[str, list[str]]]]:
    """Headers that the server got and that the caller got, by host and by what was sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    found = []
    for place in range(HOSTS):
        for sent in SENT:
            connection.putrequest("POST", "/", skip_host=True, skip_accept_encoding=True)
            for name, value in [("host", f"{place}.test"), ("content-length", "0"), *sent]:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            got = json.loads(answer.read())
            found.append((got, named(answer.getheaders())))
    connection.close()
    return found


def changed(headers: Headers, made: tuple[tuple[str, str, str], ...]) -> dict[str, list[str]]:
    found = named(headers)
    for word, name, value in made:
        there = name in found
        if word == "add":
            found.setdefault(name, []).append(value)
        elif word == "remove":
            found.pop(name, None)
        elif word == "set" or there == (word == "set-if-present"):
            found[name] = [value]
    return found


def by_a_client(routes: Json, port: int) -> list[tuple[dict[str, list[str]], dict[str, list[str]]]]:
    router = engine.Router(seed=1)
    manager = {"@type": MANAGER, "rds": {"route_config_name": routes["name"], "config_source": ADS}}
    cluster = {"name": "c", "type": "EDS", "eds_cluster_config": {"eds_config": ADS}}
    for kind, name, value in (
        ("listener.v3.Listener", "l", {"name": "l", "api_listener": {"api_listener": manager}}),
        ("route.v3.RouteConfiguration", routes["name"], routes),
        ("cluster.v3.Cluster", "c", cluster),
        ("endpoint.v3.ClusterLoadAssignment", "c", endpoints(port)),
    ):
        built = messages.serialize(messages.from_json(f"envoy.config.{kind}", value))
        url = f"type.googleapis.com/envoy.config.{kind}"
        assert router.update(url, "1", [(name, built)]) == []
    found = []
    for place in range(HOSTS):
        for sent in SENT:
            call = router.call("l", f"{place}.test", "/", sent)
            request = changed(sent, call.request_changes)
            found.append((request, changed(ANSWERED, call.response_changes)))
            call.succeeded()
    return found


@pytest.mark.asyncio
async def test_headers_are_changed_as_envoy_changes_them(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    chance = random.Random(1)
    tables = [
        configuration(chance, f"r{place}", most_specific=place % 2 == 1) for place in range(4)
    ]
    ports = [free_port() for _ in tables]
    upstream = free_port()
    resources = {
        "listeners": [listener(port, one) for port, one in zip(ports, tables, strict=True)],
        "clusters": [{"name": "c", "type": "STATIC", "load_assignment": endpoints(upstream)}],
    }
    async with server(upstream), stock_envoy.standing_alone(resources, free_port(), tmp_path):
        for port, routes in zip(ports, tables, strict=True):
            theirs = await asyncio.to_thread(by_envoy, port)
            ours = await asyncio.to_thread(by_a_client, routes, upstream)
            places = enumerate(zip(theirs, ours, strict=True))
            differ = [(place, *pair) for place, pair in places if pair[0] != pair[1]]
            assert differ == []
