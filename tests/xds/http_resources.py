"""Resources as stock clients want them: an HTTP listener, its route, an EDS cluster, endpoints."""

from __future__ import annotations

from typing import Any

from meltemi.xds import messages
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meltemi.xds.resource import Resource

ROUTER = "envoy.extensions.filters.http.router.v3.Router"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def ads(source: Any) -> None:
    """Says that a resource comes from the same stream."""
    source.ads.SetInParent()
    source.resource_api_version = 2  # V3


def manager(route_name: str) -> Any:
    made = messages.message(MANAGER)(stat_prefix="demo")
    made.rds.route_config_name = route_name
    ads(made.rds.config_source)
    router = made.http_filters.add(name="router")
    router.typed_config.CopyFrom(messages.pack(messages.message(ROUTER)()))
    return messages.pack(made)


def api_listener(name: str, route_name: str) -> Resource:
    """What gRPC asks for: a listener without a socket."""
    made = messages.message_of(LISTENER)(name=name)
    made.api_listener.api_listener.CopyFrom(manager(route_name))
    return messages.resource(name, made)


def http_listener(name: str, port: int, route_name: str) -> Resource:
    made = messages.message_of(LISTENER)(name=name)
    socket = made.address.socket_address
    socket.address, socket.port_value = "127.0.0.1", port
    added = made.filter_chains.add().filters.add(name="http")
    added.typed_config.CopyFrom(manager(route_name))
    return messages.resource(name, made)


def http_route(name: str, cluster: str) -> Resource:
    made = messages.message_of(ROUTE)(name=name)
    route = made.virtual_hosts.add(name="all", domains=["*"]).routes.add()
    route.match.prefix = ""
    route.route.cluster = cluster
    return messages.resource(name, made)


def eds_cluster(name: str) -> Resource:
    made = messages.message_of(CLUSTER)(name=name, type=3)
    made.connect_timeout.seconds = 1
    ads(made.eds_cluster_config.eds_config)
    return messages.resource(name, made)


def endpoints_at(name: str, port: int) -> Resource:
    made = messages.message_of(ENDPOINT)(cluster_name=name)
    locality = made.endpoints.add()
    locality.locality.region = "here"
    locality.load_balancing_weight.value = 1
    address = locality.lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    return messages.resource(name, made)
