"""Which further resources a resource needs: what a client asks for next.

Used by `client_state` and `client_on_demand`. Extensions that we do not know need nothing that we
could name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from meltemi.xds import messages

CHILD: Final = {messages.CLUSTER: messages.ENDPOINT, messages.LISTENER: messages.ROUTE}
"""Type whose resources name others -> the type of those others."""

Reference = tuple[str, str]
"""Type URL and name of a resource."""

EDS: Final = 3
"""envoy.config.cluster.v3.Cluster.DiscoveryType.EDS"""
TYPED_STRUCTS: Final = ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct")
HTTP_CONNECTION_MANAGER: Final = (
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
TCP_PROXY: Final = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
THRIFT_PROXY: Final = "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy"


def children(type_url: str, body: bytes) -> frozenset[str]:
    """Names of the resources that this one needs. Raises ValueError when it is no such resource."""
    if type_url not in CHILD:
        return frozenset()
    parsed = messages.parse(type_url, body)
    if type_url == messages.CLUSTER:
        return _endpoints(parsed)
    return frozenset(_routes(parsed))


def needed(type_url: str, body: bytes) -> frozenset[Reference]:
    """What a client that asks for all by name asks for next: also the clusters that a route, or a
    listener with routes in it, names. Raises ValueError when it is no such resource."""
    if type_url == messages.ROUTE:
        found = _clusters_of(messages.parse(type_url, body))
        return frozenset((messages.CLUSTER, name) for name in found)
    further = frozenset((CHILD[type_url], name) for name in children(type_url, body))
    if type_url != messages.LISTENER:
        return further
    configs = list(_configs(messages.parse(type_url, body)))
    inline = {name for config in configs for name in _clusters_inside(config)}
    if not any(_kind(config) == HTTP_CONNECTION_MANAGER for config in configs):
        inline.update(name for config in configs for name in _clusters_behind(config))
    return further | {(messages.CLUSTER, name) for name in inline}


def _endpoints(cluster: Any) -> frozenset[str]:
    if cluster.WhichOneof("cluster_discovery_type") != "type" or cluster.type != EDS:
        return frozenset()
    return frozenset({cluster.eds_cluster_config.service_name or cluster.name})


def _routes(listener: Any) -> Iterator[str]:
    for config in _configs(listener):
        yield from _routes_of(config)


def _configs(listener: Any) -> Iterator[Any]:
    """The packed configuration of every filter."""
    if listener.HasField("api_listener"):
        yield listener.api_listener.api_listener
    chains = list(listener.filter_chains)
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        for each in chain.filters:
            yield each.typed_config


def _kind(typed_config: Any) -> str:
    return str(typed_config.type_url.rpartition("/")[2])


def _clusters_behind(typed_config: Any) -> Iterator[str]:
    """Clusters that connections go to, by a filter that only forwards them."""
    if _kind(typed_config) == TCP_PROXY:
        yield from _clusters_of_action(messages.unpack(typed_config))


def _clusters_inside(typed_config: Any) -> Iterator[str]:
    """Clusters of the routes that stand in a filter itself."""
    name = _kind(typed_config)
    if name == HTTP_CONNECTION_MANAGER:
        manager = messages.unpack(typed_config)
        if manager.HasField("route_config"):
            yield from _clusters_of(manager.route_config)
    elif name == THRIFT_PROXY:
        for route in messages.unpack(typed_config).route_config.routes:
            yield from _clusters_of_action(route.route)


def _clusters_of(routes: Any) -> Iterator[str]:
    for host in routes.virtual_hosts:
        for route in host.routes:
            if route.HasField("route"):
                yield from _clusters_of_action(route.route)


def _clusters_of_action(action: Any) -> Iterator[str]:
    if action.cluster:
        yield action.cluster
    for each in action.weighted_clusters.clusters:
        if each.name:
            yield each.name


def _routes_of(typed_config: Any) -> Iterator[str]:
    name = _kind(typed_config)
    if name == HTTP_CONNECTION_MANAGER or typed_config.type_url == messages.META_PROTOCOL_PROXY:
        found = messages.unpack(typed_config)
        if found.HasField("rds"):
            yield found.rds.route_config_name
    elif name in TYPED_STRUCTS:
        struct = messages.unpack(typed_config)
        if struct.type_url.rpartition("/")[2] == messages.META_PROTOCOL_PROXY.rpartition("/")[2]:
            yield from _routes_of_json(struct.value)


def _routes_of_json(value: Any) -> Iterator[str]:
    if "rds" not in value.fields:
        return
    rds = value.fields["rds"].struct_value.fields
    for key in ("route_config_name", "routeConfigName"):
        if key in rds and rds[key].string_value:
            yield rds[key].string_value
