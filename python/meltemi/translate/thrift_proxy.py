"""Listeners of a stock Envoy: no MetaProtocol filter, but a Thrift proxy of its own.

Its routes are part of the listener. It can test a method only for equality and knows a multiplexed
call as `SERVICE:METHOD`; other attributes are headers, which only THeader carries. A rule that it
cannot test is left out, never widened to match more than it says: the listener's metadata
`meltemi.left_out` names it and says why. It cannot change headers, and has no local rate limit for
requests: both are named there too."""

from __future__ import annotations

from typing import Any, Final

from meltemi.model import MetaRoute, StringMatch
from meltemi.translate import names
from meltemi.translate.listeners import InboundPort, OutboundPort, listener, tcp_proxy
from meltemi.translate.routes import cluster_of
from meltemi.translate.structs import struct
from meltemi.xds import messages

THRIFT: Final = "thrift"
THRIFT_FILTER: Final = "envoy.filters.network.thrift_proxy"
ROUTER_FILTER: Final = "envoy.filters.thrift.router"
NO_LIMIT: Final = "localRateLimit: Envoy's Thrift proxy has no local rate limit"
CANNOT_MUTATE: Final = "Envoy's Thrift proxy cannot change headers"


class CannotMatchError(Exception):
    """A condition that Envoy's Thrift proxy has no test for."""


def outbound(port: OutboundPort, address: str) -> Any:
    """As a sidecar's listener, in the filters that Envoy has."""
    name = names.outbound(port.port, "", port.service)
    if port.protocol != THRIFT:
        return listener(address, port.port, "OUTBOUND", tcp_proxy(name, name))
    left_out: list[str] = []
    routes = [_default(name)]
    if port.router is not None and port.router.routes:
        routes, left_out = _routes(port.router.routes, port.port)
    limit = port.router.local_rate_limit if port.router is not None else None
    if limit is not None and limit.outbound:
        left_out.append(NO_LIMIT)
    more = {"metadata": _left_out(left_out)} if left_out else {}
    route_config = names.route(port.service, port.port)
    return listener(
        address, port.port, "OUTBOUND", _thrift_proxy(name, route_config, routes), **more
    )


def inbound(port: InboundPort, address: str, number: int) -> Any:
    """The listener before the application."""
    cluster = names.inbound(port.port)
    stat_prefix = names.inbound(port.port, port.service)
    if port.protocol == THRIFT:
        network_filter = _thrift_proxy(stat_prefix, cluster, [_default(cluster)])
    else:
        network_filter = tcp_proxy(stat_prefix, cluster)
    more = {"metadata": _left_out([NO_LIMIT])} if port.limits else {}
    return listener(address, number, "INBOUND", network_filter, **more)


def _routes(rules: tuple[MetaRoute, ...], port: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The routes, and what had to be left out."""
    routes: list[dict[str, Any]] = []
    left_out: list[str] = []
    for rule in rules:
        try:
            match = _match(rule)
        except CannotMatchError as reason:
            left_out.append(f"route {rule.name!r}: {reason}")
        else:
            routes.append({"match": match, "route": _action(rule, port)})
            if rule.request_mutation or rule.response_mutation:
                left_out.append(f"mutations of route {rule.name!r}: {CANNOT_MUTATE}")
    return routes, left_out


def _match(rule: MetaRoute) -> dict[str, Any]:
    conditions = dict(rule.match)
    method, service = conditions.pop("method", None), conditions.pop("service", None)
    match = _called(method, service)
    if conditions:
        match["headers"] = [_header(name, condition) for name, condition in conditions.items()]
    return match


def _called(method: StringMatch | None, service: StringMatch | None) -> dict[str, Any]:
    for name, condition in (("method", method), ("service", service)):
        if condition is not None and condition.kind in ("prefix", "regex"):
            raise CannotMatchError(f"Envoy's Thrift proxy cannot test {name} by {condition.kind}")
    exact_method = method.value if method is not None and method.kind == "exact" else ""
    if service is None:
        return {"method_name": exact_method}
    if service.kind == "present":
        raise CannotMatchError("Envoy's Thrift proxy cannot test service for presence")
    if exact_method:
        return {"method_name": f"{service.value}:{exact_method}"}
    return {"service_name": service.value}


def _header(name: str, condition: StringMatch) -> dict[str, Any]:
    match condition.kind:
        case "exact":
            return {"name": name, "string_match": {"exact": condition.value}}
        case "prefix":
            return {"name": name, "string_match": {"prefix": condition.value}}
        case "regex":
            return {"name": name, "string_match": {"safe_regex": {"regex": condition.value}}}
        case "present":
            return {"name": name, "present_match": True}


def _action(rule: MetaRoute, port: int) -> dict[str, Any]:
    chosen = [weighted for weighted in rule.destinations if weighted.weight > 0]
    if len(rule.destinations) == 1 or not chosen:
        return {"cluster": cluster_of(rule.destinations[0], port)}
    clusters = [
        {"name": cluster_of(weighted, port), "weight": {"value": weighted.weight}}
        for weighted in chosen  # Envoy refuses a weight of 0
    ]
    return {"weighted_clusters": {"clusters": clusters}}


def _default(cluster: str) -> dict[str, Any]:
    return {"match": {"method_name": ""}, "route": {"cluster": cluster}}


def _thrift_proxy(stat_prefix: str, route_config: str, routes: list[dict[str, Any]]) -> Any:
    """Transport and protocol are detected. Clusters are not checked when the listener comes: one
    that is missing is the answer to the request, not a reason to refuse the listener."""
    router = messages.message("envoy.extensions.filters.network.thrift_proxy.router.v3.Router")()
    config = messages.message("envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy")(
        stat_prefix=stat_prefix,
        route_config={
            "name": route_config,
            "routes": routes,
            "validate_clusters": {"value": False},
        },
        thrift_filters=[{"name": ROUTER_FILTER, "typed_config": messages.pack(router)}],
    )
    return {"name": THRIFT_FILTER, "typed_config": messages.pack(config)}


def _left_out(reasons: list[str]) -> dict[str, Any]:
    return {"filter_metadata": {"meltemi": struct({"left_out": reasons})}}
