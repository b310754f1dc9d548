"""What a client without a sidecar knows, as a control plane would send it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meltemi.engine import Call, Router
from meltemi.xds import messages

HOST = "reviews:9080"
PATH = "/reviews.ReviewsService/ReviewProduct"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def give(router: Router, kind: str, name: str, fields: Mapping[str, Any]) -> None:
    """Updates `router` with one resource, which it has to take. `kind` is messages.LISTENER, …"""
    assert router.update(kind, "1", [(name, body(kind, fields))]) == []


def body(kind: str, fields: Mapping[str, Any]) -> bytes:
    return messages.serialize(messages.from_json(kind.removeprefix("type.googleapis.com/"), fields))


def listener(name: str = HOST, routes: str = "reviews") -> dict[str, Any]:
    source = {"route_config_name": routes, "config_source": {"ads": {}}}
    manager = {"@type": f"type.googleapis.com/{HCM}", "stat_prefix": "x", "rds": source}
    return {"name": name, "api_listener": {"api_listener": manager}}


def routes(
    *routes: Mapping[str, Any], name: str = "reviews", domains: Sequence[str] = ("*",)
) -> dict[str, Any]:
    host = {"name": "the-host", "domains": list(domains), "routes": list(routes)}
    return {"name": name, "virtual_hosts": [host]}


def to(*clusters: tuple[str, int], headers: Iterable[tuple[str, str]] = (), **more: Any) -> Any:
    """A route of calls with these headers to clusters with their weights."""
    weights = [{"name": name, "weight": weight} for name, weight in clusters]
    match = [{"name": name, "string_match": {"exact": value}} for name, value in headers]
    return {
        "name": "the-route",
        "match": {"prefix": "/", "headers": match},
        "route": {"weighted_clusters": {"clusters": weights}, **more},
    }


def cluster(name: str, **more: Any) -> dict[str, Any]:
    source: dict[str, Any] = {"eds_config": {"ads": {}}}
    return {"name": name, "type": "EDS", "eds_cluster_config": source, **more}


def endpoints(name: str, ports: Iterable[int], **more: Any) -> dict[str, Any]:
    def one(port: int) -> dict[str, Any]:
        address = {"socket_address": {"address": "127.0.3.4", "port_value": port}}
        return {"endpoint": {"address": address}, **more}

    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [one(port) for port in ports]}]}


def put_cluster(router: Router, name: str, ports: Iterable[int], **more: Any) -> None:
    give(router, messages.CLUSTER, name, cluster(name, **more))
    give(router, messages.ENDPOINT, name, endpoints(name, ports))


def mesh(*taken: Mapping[str, Any], clusters: Mapping[str, Iterable[int]]) -> Router:
    """A router that knows `reviews:9080` with these routes, and these clusters with their ports."""
    router = Router(seed=1)
    give(router, messages.LISTENER, HOST, listener())
    give(router, messages.ROUTE, "reviews", routes(*taken))
    for name, ports in clusters.items():
        put_cluster(router, name, ports)
    return router


def call(router: Router, *headers: tuple[str, str]) -> Call:
    return router.call(HOST, HOST, PATH, headers)
