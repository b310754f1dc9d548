"""A call without a sidecar takes the route that a stock Envoy would take."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stock_envoy
from meltemi import engine
from meltemi.xds import messages

Json = dict[str, Any]
Request = tuple[str, str, tuple[tuple[str, str], ...]]
"""Authority, path, headers."""

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network."
    "http_connection_manager.v3.HttpConnectionManager"
)


def text(kind: str, value: str, *, ignore_case: bool = False) -> Json:
    return {"string_match": {kind: value, "ignore_case": ignore_case}}


def regex(pattern: str) -> Json:
    return {"safe_regex": {"regex": pattern}}


TEXTS: list[Json] = [
    text("exact", "Blue"),
    text("exact", "Blue", ignore_case=True),
    text("exact", ""),
    text("prefix", "Bl"),
    text("prefix", "bL", ignore_case=True),
    text("suffix", "ue"),
    text("suffix", "UE", ignore_case=True),
    text("contains", "lu"),
    text("contains", "LU", ignore_case=True),
    {"string_match": regex("[A-Z].*e")},
    {"string_match": regex("lu")},
    {"exact_match": "Blue"},
    {"prefix_match": "Bl"},
    {"suffix_match": "ue"},
    {"contains_match": "lu"},
    {"safe_regex_match": {"regex": "B(lue)?"}},
    {"range_match": {"start": "-2", "end": "7"}},
    {"range_match": {"start": "7", "end": "8"}},
    {"present_match": True},
    {"present_match": False},
    {},
]
HEADERS: list[Json] = [
    {"name": "Lane", **wanted, "invert_match": invert, "treat_missing_header_as_empty": missing}
    for wanted in TEXTS
    for invert in (False, True)
    for missing in (False, True)
]
OTHERS: list[Json] = [
    {"path": "/a/b"},
    {"path": "/A/b", "case_sensitive": False},
    {"prefix": "/a"},
    {"prefix": "/A", "case_sensitive": False},
    {"prefix": "/a/b?x"},
    {"path": "/a/b?x=1"},
    {"path_separated_prefix": "/a"},
    {"path_separated_prefix": "/A", "case_sensitive": False},
    {"path_separated_prefix": "/a/b"},
    regex("/a/.*"),
    regex("/a"),
    regex("/A/b") | {"case_sensitive": False},
    {"prefix": "/", "grpc": {}},
    {"prefix": "/", "headers": [{"name": ":path", **text("exact", "/a/b")}]},
    {"prefix": "/", "headers": [{"name": ":path", **text("suffix", "?x=1")}]},
    {"prefix": "/", "headers": [{"name": ":authority", **text("suffix", ".test")}]},
    {"prefix": "/", "headers": [{"name": "host", **text("suffix", ".test")}]},
    {"prefix": "/", "query_parameters": [{"name": "x"}]},
    {"prefix": "/", "query_parameters": [{"name": "x", "present_match": True}]},
    {"prefix": "/", "query_parameters": [{"name": "x", "present_match": False}]},
    {"prefix": "/", "query_parameters": [{"name": "X", "present_match": True}]},
    {"prefix": "/", "query_parameters": [{"name": "x", **text("exact", "1")}]},
    {"prefix": "/", "query_parameters": [{"name": "x", **text("prefix", "é ")}]},
    {"prefix": "/", "query_parameters": [{"name": "x", **text("exact", "")}]},
    {"prefix": "/", "query_parameters": [{"name": "x", **text("contains", "+")}]},
    {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 100}}},
    {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 0}}},
    {
        "prefix": "/",
        "headers": [
            {"name": "lane", **text("prefix", "B")},
            {"name": "lane", **text("suffix", "e")},
        ],
    },
    {
        "prefix": "/a",
        "headers": [
            {"name": "lane", **text("prefix", "B")},
            {"name": "user", "present_match": True},
        ],
    },
]
MATCHES = [{"prefix": "/", "headers": [header]} for header in HEADERS] + OTHERS

LANES: list[tuple[tuple[str, str], ...]] = [
    (),
    (("lane", ""),),
    *[
        (("Lane", value),)
        for value in ("Blue", "blue", "BLUE", "B", "ue", "lu", "clue", "Blue,Blue", "7", "-2", "6")
    ],
    *[(("lane", value),) for value in ("+6", "6x", "07", "7.0", "99999999999999999999")],
    (("lane", "Blue"), ("LANE", "e")),
    (("lane", "Blue"), ("user", "u")),
    (("content-type", "application/grpc"),),
    (("content-type", "application/grpc+proto"),),
    (("content-type", "application/grpc-web"),),
]
PATHS = [
    *["/", "/a", "/a/", "/a/b", "/A/b", "/a/B", "/ab", "/a/b/c", "/a/b?x=1", "/a?x=1", "/a/b?x"],
    *["/?y=2&x=1", "/?x=2&x=1", "/?x=", "/?x=%c3%a9%20b", "/?x=1+1", "/?x=%2B", "/?X=1", "/?x=%zz"],
    *["/?&x=1", "/?y&x=1", "/a/b;x=1"],
]

DOMAINS = [
    ["reviews", "reviews:9080"],
    ["reviews.default.svc.cluster.local", "10.0.0.1", "[::1]:80"],
    ["*.svc.cluster.local"],
    ["*.default.svc.cluster.local", "*-dev.test"],
    ["*.local", "Upper.Case"],
    ["reviews.*", "10.0.*"],
    ["reviews.default.*"],
    ["*"],
]
AUTHORITIES = [
    *[
        "reviews",
        "REVIEWS",
        "reviews:9080",
        "reviews:9081",
        "reviews.",
        "review",
        "reviews.default",
    ],
    *["reviews.default.svc.cluster.local", "reviews.default.svc.cluster.local:9080"],
    *["ratings.default.svc.cluster.local", "ratings.other.svc.cluster.local", "x.local", ".local"],
    *["a-dev.test", "-dev.test", "upper.case", "UPPER.CASE:80", "10.0.0.1", "10.0.0.2", "10.0."],
    *["[::1]:80", "[::1]", "reviews.default.svc", "svc.cluster.local", "reviews.default.:1"],
]


def says(name: str, match: Json) -> Json:
    direct = {"status": 200, "body": {"inline_string": name}}
    return {"name": name, "match": match, "direct_response": direct}


def by_match() -> Json:
    """A virtual host for each match, so that no route hides another one."""
    rest = says("rest", {"prefix": "/"})
    hosts = [
        {"name": f"m{place}", "domains": [f"m{place}.test"], "routes": [says("it", match), rest]}
        for place, match in enumerate(MATCHES)
    ]
    return {"name": "by_match", "virtual_hosts": hosts}


def by_domain(*, ignore_port: bool, rest: bool) -> Json:
    domains = DOMAINS if rest else DOMAINS[:-1]
    hosts = [
        {"name": f"h{place}", "domains": some, "routes": [says(f"h{place}", {"prefix": "/"})]}
        for place, some in enumerate(domains)
    ]
    name = f"by_domain_{ignore_port}_{rest}"
    return {"name": name, "virtual_hosts": hosts, "ignore_port_in_host_matching": ignore_port}


def in_order() -> Json:
    """All matches in one virtual host: the first one that holds counts."""
    routes = [says(f"r{place}", match) for place, match in enumerate(MATCHES)]
    return {
        "name": "in_order",
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes[::-1]}],
    }


def asked() -> Iterator[tuple[Json, list[Request]]]:
    calls = [(path, headers) for headers in LANES for path in ("/a/b?x=1",)]
    calls += [(path, ()) for path in PATHS]
    hosts = [f"m{place}.test" for place in range(len(MATCHES))]
    yield by_match(), [(host, *call) for host in hosts for call in calls]
    mixed = [("any.test", path, headers) for headers in LANES for path in PATHS]
    yield in_order(), mixed
    for ignore_port in (False, True):
        for rest in (False, True):
            configuration = by_domain(ignore_port=ignore_port, rest=rest)
            yield configuration, [(authority, "/", ()) for authority in AUTHORITIES]


def listener(port: int, routes: Json) -> Json:
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = {
        "@type": MANAGER,
        "stat_prefix": "http",
        "route_config": routes,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": routes["name"],
        "address": stock_envoy.address("127.0.0.1", port),
        "filter_chains": [{"filters": filters}],
    }


def of_envoy(port: int, requests: list[Request]) -> list[str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    found: list[str | None] = []
    for authority, path, headers in requests:
        connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("host", authority)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("content-length", "0")
        connection.endheaders()
        answer = connection.getresponse()
        # A caller of gRPC is told in a header.
        said = answer.read().decode() or answer.getheader("grpc-message")
        assert answer.status in (200, 404), (authority, path, headers, answer.status, said)
        found.append(said if answer.status == 200 else None)
    connection.close()
    return found


def of_a_client(routes: Json, requests: list[Request]) -> list[str | None]:
    router = engine.Router(seed=1)
    manager = {"@type": MANAGER, "rds": {"route_config_name": routes["name"]}}
    api = {"name": "l", "api_listener": {"api_listener": manager}}
    for url, name, value in ((LISTENER, "l", api), (ROUTES, routes["name"], routes)):
        built = messages.from_json(url.rpartition("/")[2], value)
        assert router.update(url, "1", [(name, messages.serialize(built))]) == []
    found: list[str | None] = []
    for authority, path, headers in requests:
        try:
            router.call("l", authority, path, headers)
        except engine.DirectResponse as answer:
            found.append(answer.body)
        except engine.NoRoute:
            found.append(None)
    return found


@pytest.mark.asyncio
async def test_a_call_takes_the_route_that_envoy_takes(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    tables = list(asked())
    ports = [free_port() for _ in tables]
    listeners = [listener(port, routes) for port, (routes, _) in zip(ports, tables, strict=True)]
    resources = {"listeners": listeners, "clusters": []}
    async with stock_envoy.standing_alone(resources, free_port(), tmp_path):
        for port, (routes, requests) in zip(ports, tables, strict=True):
            theirs = await asyncio.to_thread(of_envoy, port, requests)
            ours = await asyncio.to_thread(of_a_client, routes, requests)
            compared = zip(requests, theirs, ours, strict=True)
            differ = [one for one in compared if one[1] != one[2]]
            assert differ == [], (routes["name"], len(differ))
            assert len(set(theirs)) > 1, routes["name"]
