"""Routes of a port with a codec, as Aeraki maps a MetaRouter onto Envoy's RouteConfiguration.

Both MetaProtocol Proxy and the engine read it back: the headers of a match are attributes, headers
to add are mutations (aeraki, internal/xds/utils.go). Headers to remove only the engine reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from meltemi.model import (
    ConsistentHash,
    MetaRoute,
    MetaRouter,
    Mutation,
    StringMatch,
    WeightedDestination,
)
from meltemi.translate import names
from meltemi.xds import messages

DEFAULT_ROUTE: Final = "default"
"""The only route where no rule says otherwise, and of an inbound listener."""

VIRTUAL_HOST: Final = "dummy"


def route_configuration(
    hostname: str,
    port: int,
    router: MetaRouter | None,
    hashed: Mapping[str, ConsistentHash] | None = None,
) -> Any:
    """Named `HOST_PORT`. A MetaRouter without routes routes like none. `hashed` are the clusters
    that balance by hash, and by what."""
    hashed = hashed or {}
    if router is not None and router.routes:
        routes = [meta_route(route, port, hashed) for route in router.routes]
    else:
        cluster = names.outbound(port, "", hostname)
        action = {"cluster": cluster} | hash_policy([cluster], hashed)
        routes = [{"name": DEFAULT_ROUTE, "match": {"prefix": "/"}, "route": action}]
    return messages.message("envoy.config.route.v3.RouteConfiguration")(
        name=names.route(hostname, port),
        virtual_hosts=[{"name": VIRTUAL_HOST, "domains": ["*"], "routes": routes}],
    )


def cluster_of(weighted: WeightedDestination, port: int) -> str:
    """Whether or not that host or subset exists: the engine's error names it."""
    destination = weighted.destination
    return names.outbound(destination.port or port, destination.subset, destination.host)


def meta_route(route: MetaRoute, port: int, hashed: Mapping[str, ConsistentHash]) -> dict[str, Any]:
    """One route of a MetaRouter, as its host's `port` has it."""
    match: dict[str, Any] = {"prefix": "/"}
    if route.match:
        match["headers"] = [matcher(name, condition) for name, condition in route.match]
    made: dict[str, Any] = {
        "name": route.name,
        "match": match,
        "route": _action(route.destinations, port, hashed),
    }
    for side, mutation in (
        ("request", route.request_mutation),
        ("response", route.response_mutation),
    ):
        if added := _headers(mutation):
            made[f"{side}_headers_to_add"] = added
        if removed := [key for key, value in mutation if value is None]:
            made[f"{side}_headers_to_remove"] = removed
    return made


def matcher(name: str, condition: StringMatch) -> dict[str, Any]:
    """A HeaderMatcher in the fields that MetaProtocol Proxy knows: its Envoy is older than
    `string_match`."""
    match condition.kind:
        case "exact":
            return {"name": name, "exact_match": condition.value}
        case "prefix":
            return {"name": name, "prefix_match": condition.value}
        case "regex":
            regex = {"google_re2": {}, "regex": condition.value}
            return {"name": name, "safe_regex_match": regex}
        case "present":
            return {"name": name, "present_match": True}


def _action(
    destinations: tuple[WeightedDestination, ...], port: int, hashed: Mapping[str, ConsistentHash]
) -> dict[str, Any]:
    used = [cluster_of(each, port) for each in destinations if each.weight > 0]
    policy = hash_policy(used, hashed)
    if len(destinations) == 1:
        return {"cluster": cluster_of(destinations[0], port)} | policy
    clusters = [
        {"name": cluster_of(weighted, port), "weight": {"value": weighted.weight}}
        for weighted in destinations
    ]
    total = sum(weighted.weight for weighted in destinations)
    return {"weighted_clusters": {"clusters": clusters, "total_weight": {"value": total}}} | policy


def hash_policy(clusters: Iterable[str], hashed: Mapping[str, ConsistentHash]) -> dict[str, Any]:
    """A route has one list for all its clusters. As Istio, each cluster adds its own key; a key
    that is there already is not added again: it would change the hash of every request, so that
    the first percent for a new version moved all callers of the old one."""
    policies: list[dict[str, Any]] = []
    for cluster in clusters:
        balancer = hashed.get(cluster)
        if balancer is None:
            continue
        if balancer.attribute:
            policy: dict[str, Any] = {"header": {"header_name": balancer.attribute}}
        elif balancer.source_ip:
            policy = {"connection_properties": {"source_ip": True}}
        else:
            continue
        if policy not in policies:
            policies.append(policy)
    return {"hash_policy": policies} if policies else {}


def _headers(mutation: Mutation) -> list[dict[str, Any]]:
    overwrite = "OVERWRITE_IF_EXISTS_OR_ADD"
    return [
        {"header": {"key": key, "value": value}, "append_action": overwrite}
        for key, value in mutation
        if value is not None
    ]
