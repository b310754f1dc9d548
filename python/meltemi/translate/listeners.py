"""Listeners of a sidecar: one for each service and port that its workload calls, one for each port
of the workload itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meltemi.lanes.callers import MarkRule
from meltemi.model import LocalRateLimit, MetaRouter, Service
from meltemi.model.protocol import ENGINE_CODECS
from meltemi.translate import marks, names
from meltemi.translate.limits import network_filter as limited
from meltemi.translate.routes import DEFAULT_ROUTE
from meltemi.xds import messages

META_PROTOCOL_FILTER: Final = "envoy.filters.network.meta_protocol_proxy"
ROUTER_FILTER: Final = "aeraki.meta_protocol.filters.router"
TCP_PROXY_FILTER: Final = "envoy.filters.network.tcp_proxy"
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class OutboundPort:
    """A port of a service that somebody calls."""

    service: str
    """Hostname."""
    port: int
    protocol: str
    codec: str
    """"" where no codec reads the protocol."""
    router: MetaRouter | None
    """The rule, where a listener holds its routes itself."""
    limit: LocalRateLimit | None = None
    """What each caller may ask, where the rule limits callers."""
    denied_marks: tuple[str, ...] = ()
    """Keys of lanes' marks that the workload that calls here may not set."""


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A port of a workload, served by the application behind the sidecar."""

    port: int
    host_port: int | None
    protocol: str
    codec: str
    service: str
    """The hostname of the service that names it, or ""."""
    limits: tuple[tuple[str, LocalRateLimit], ...] = ()
    """What the services that send here may be asked, each with its hostname."""
    marks: tuple[MarkRule, ...] = ()
    """Whose marks of lanes count."""


def outbound(port: OutboundPort, address: str) -> Any:
    """The listener of a service's port at this caller's own address for the service."""
    name = names.outbound(port.port, "", port.service)
    if port.codec in ENGINE_CODECS:
        rds = {
            "config_source": {"ads": {}, "resource_api_version": "V3"},
            "route_config_name": names.route(port.service, port.port),
        }
        filters = marks.of_nobody(port.denied_marks)
        filters += [limited(port.service, port.limit)] if port.limit else []
        network_filter = _meta_protocol(name, port.protocol, port.codec, filters, rds=rds)
    else:
        network_filter = tcp_proxy(name, name)
    return listener(address, port.port, "OUTBOUND", network_filter)


def inbound(port: InboundPort, address: str, number: int) -> Any:
    """The listener before the application: at the workload's address, or at its host port."""
    return listener(address, number, "INBOUND", _inbound_filter(port))


def _inbound_filter(port: InboundPort) -> Any:
    cluster = names.inbound(port.port)
    stat_prefix = names.inbound(port.port, port.service)
    if port.codec not in ENGINE_CODECS:
        return tcp_proxy(stat_prefix, cluster)
    route = {"name": DEFAULT_ROUTE, "match": {}, "route": {"cluster": cluster}}
    routes = {"name": cluster, "routes": [route]}
    filters = marks.by_caller(port.marks)
    filters += [limited(hostname, limit) for hostname, limit in port.limits]
    return _meta_protocol(stat_prefix, port.protocol, port.codec, filters, route_config=routes)


def _meta_protocol(
    stat_prefix: str, protocol: str, codec: str, filters: list[dict[str, Any]], **routes: Any
) -> Any:
    """MetaProtocol Proxy's filter as JSON in a TypedStruct, as Aeraki sends it."""
    value = {
        "stat_prefix": stat_prefix,
        "application_protocol": protocol,
        **routes,
        "codec": {"name": codec},
        "meta_protocol_filters": [*filters, {"name": ROUTER_FILTER}],
    }
    config = messages.typed_struct(messages.META_PROTOCOL_PROXY, value)
    return {"name": META_PROTOCOL_FILTER, "typed_config": messages.pack(config)}


def tcp_proxy(stat_prefix: str, cluster: str) -> Any:
    """The filter that forwards bytes, balanced by connection."""
    config = messages.message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy")(
        stat_prefix=stat_prefix, cluster=cluster
    )
    return {"name": TCP_PROXY_FILTER, "typed_config": messages.pack(config)}


def listener(address: str, port: int, direction: str, network_filter: Any, **more: Any) -> Any:
    """Envoy's Listener with one filter chain of one filter."""
    return messages.message("envoy.config.listener.v3.Listener")(
        name=names.listener(address, port),
        address={"socket_address": {"address": address, "port_value": port}},
        traffic_direction=direction,
        filter_chains=[{"filters": [network_filter]}],
        **more,
    )


def outbound_ports(
    service: Service,
    codecs: tuple[str, ...],
    router: MetaRouter | None,
    limit: LocalRateLimit | None,
) -> tuple[OutboundPort, ...]:
    """The ports of a service and the codec of each; `router` only where the listener needs it."""
    return tuple(
        OutboundPort(
            service=service.hostname,
            port=port.number,
            protocol=port.protocol,
            codec=codec,
            router=router,
            limit=limit if limit and limit.outbound else None,
        )
        for port, codec in zip(service.ports, codecs, strict=True)
    )


def called(
    ports: tuple[tuple[OutboundPort, ...], ...], service_addresses: Mapping[str, str]
) -> Iterator[tuple[str, OutboundPort]]:
    """Where a replica calls each service: at its own address for it, on the service's ports."""
    if not service_addresses:
        return
    for of_service in ports:
        for port in of_service:
            if port.service in service_addresses:
                yield service_addresses[port.service], port


def called_at(
    ports: tuple[tuple[OutboundPort, ...], ...], address: str
) -> Iterator[tuple[str, OutboundPort]]:
    """Where a proxy without addresses for services is called (a gateway, a proxy that the mesh does
    not know): at its own address, on the services' ports. Of two services on a port, the first."""
    taken = set()
    for of_service in ports:
        for port in of_service:
            if port.port not in taken:
                taken.add(port.port)
                yield address, port
