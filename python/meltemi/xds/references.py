"""Which further resources a cluster or a listener needs: what a client asks for next.

Used by `client_state`. Extensions that we do not know need nothing that we could name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from meltemi.xds import messages

CHILD: Final = {messages.CLUSTER: messages.ENDPOINT, messages.LISTENER: messages.ROUTE}
"""Type whose resources name others -> the type of those others."""

EDS: Final = 3
"""envoy.config.cluster.v3.Cluster.DiscoveryType.EDS"""
TYPED_STRUCTS: Final = ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct")
HTTP_CONNECTION_MANAGER: Final = (
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)


def children(type_url: str, body: bytes) -> frozenset[str]:
    """Names of the resources that this one needs. Raises ValueError when it is no such resource."""
    if type_url not in CHILD:
        return frozenset()
    parsed = messages.parse(type_url, body)
    if type_url == messages.CLUSTER:
        return _endpoints(parsed)
    return frozenset(_routes(parsed))


def _endpoints(cluster: Any) -> frozenset[str]:
    if cluster.WhichOneof("cluster_discovery_type") != "type" or cluster.type != EDS:
        return frozenset()
    return frozenset({cluster.eds_cluster_config.service_name or cluster.name})


def _routes(listener: Any) -> Iterator[str]:
    if listener.HasField("api_listener"):
        yield from _routes_of(listener.api_listener.api_listener)
    chains = list(listener.filter_chains)
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        for each in chain.filters:
            yield from _routes_of(each.typed_config)


def _routes_of(typed_config: Any) -> Iterator[str]:
    name = typed_config.type_url.rpartition("/")[2]
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
