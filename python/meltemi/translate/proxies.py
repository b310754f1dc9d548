"""What is a proxy's own: the listeners at its addresses, and the application behind it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from meltemi.model import LaneGroup, MeshMode
from meltemi.translate import (
    clusters,
    gateway_listeners,
    gateway_routes,
    kitex_listeners,
    listeners,
    names,
    thrift_proxy,
)
from meltemi.translate.builder import Builder, Named
from meltemi.translate.endpoints import is_ip
from meltemi.translate.gateways import GatewayPort
from meltemi.translate.index import Index
from meltemi.translate.listeners import LOOPBACK, InboundPort, OutboundPort
from meltemi.translate.views import View
from meltemi.xds import messages
from meltemi.xds.resource import TRACER, Client, Node, Resource

_BINDING = (Client.SIDECAR, Client.ENVOY)
"""Who has sockets that applications and other proxies connect to."""


def is_nobody(index: Index, node: Node) -> bool:
    """Whether it has neither a place in the mesh nor sockets: all those get the same."""
    return node.client not in _BINDING and index.place(node) is None


def _tracer(node: Node) -> dict[str, Any] | None:
    """Where a gateway said that its spans go; None also where that is not Envoy's form."""
    said = node.metadata.get(TRACER)
    if not isinstance(said, Mapping) or not isinstance(said.get("name"), str):
        return None
    config = said.get("typed_config")
    if not isinstance(config, Mapping) or not isinstance(config.get("@type"), str):
        return None
    return {"name": said["name"], "typed_config": dict(config)}


class Proxy:
    """One node. A proxy that the mesh does not know gets what any client may know."""

    def __init__(self, builder: Builder, index: Index, node: Node, shared: View) -> None:
        place = index.place(node)
        # What a stranger claims to be must not fill our memory: nothing of it is remembered.
        self._builder = builder if place else Builder()
        self._node, self._shared = node, shared
        self._instance = place.instance if place else None
        own = self._instance.address if self._instance else node.address
        self._address = own if is_ip(own) else LOOPBACK
        self._is_sidecar = place is not None and place.workload.mode is MeshMode.SIDECAR
        self._groups: tuple[LaneGroup, ...] = ()
        self._tracer = _tracer(node)
        self._gateway: tuple[GatewayPort, ...] = ()
        self._is_gateway = node.client is Client.ENVOY and (
            place is not None and place.workload.mode is MeshMode.GATEWAY
        )
        if place is not None and self._is_gateway:
            self._gateway = index.gateway_ports(place.workload)
            self._groups = index.mesh.lane_groups
        self._inbound: tuple[InboundPort, ...] = ()
        self._denied_marks = index.denied_marks(place.workload) if place else ()
        if place is not None and (
            (self._is_sidecar and self._binds) or node.client is Client.KITEX
        ):
            self._inbound = index.inbound(place.workload)

    @property
    def _binds(self) -> bool:
        return self._node.client in _BINDING

    def listeners(self) -> Named:
        """By name. Clients that have no use for our listeners get none."""
        if self._node.client is Client.KITEX and kitex_listeners.is_limited(self._inbound):
            return self._with_virtual_inbound()
        if self._is_gateway:
            return self._builder.memo.get(
                ("gateway listeners", self._address),
                (
                    [(port.number, port.host_port) for port in self._gateway],
                    self._tracer,
                ),
                lambda: {made.name: made for made in self._gateway_listeners()},
            )
        if not self._binds:
            return self._shared.listeners
        return self._builder.memo.get(
            ("listeners", self._node.client, self._address),
            (self._shared.ports, self._instance, self._inbound, self._denied_marks),
            lambda: {made.name: made for made in self._listeners()},
        )

    def routes(self) -> Named:
        """Those of the view; a gateway has its own."""
        if not self._is_gateway:
            return self._shared.routes
        return self._builder.memo.get(
            ("gateway routes", self._address),
            self._gateway,
            lambda: {made.name: made for made in map(self._gateway_routes, self._gateway)},
        )

    def clusters(self) -> Named:
        """Those of the view, and the application's own."""
        if self._instance is None or not self._inbound or not self._binds:
            return self._shared.clusters
        host = self._instance.host
        return self._builder.memo.get(
            ("clusters", self._node.client, self._address),
            (self._shared.clusters, host, self._inbound),
            lambda: {**self._shared.clusters, **self._applications(host)},
        )

    def extensions(self) -> Named:
        """Of a gateway; the same for all."""
        if not self._is_gateway:
            return {}

        def build() -> Named:
            return {
                name: messages.resource(name, config)
                for name, config in gateway_listeners.colouring(self._groups).items()
            }

        made: Named = self._builder.memo.get("gateway extensions", self._groups, build)
        return made

    def _gateway_routes(self, port: GatewayPort) -> Resource:
        make = functools.partial(gateway_routes.route_configuration, port)
        name = gateway_routes.name(port.number)
        return self._builder.resource(messages.ROUTE, name, port, make, of=self._address)

    def _gateway_listeners(self) -> Iterator[Resource]:
        for port in self._gateway:
            places = [(self._address, port.number)]
            if port.host_port is not None:
                places.append((LOOPBACK, port.host_port))
            for address, number in places:
                yield self._builder.resource(
                    messages.LISTENER,
                    names.listener(address, number),
                    (port.number, self._tracer),
                    functools.partial(
                        gateway_listeners.listener,
                        address,
                        number,
                        port.number,
                        self._tracer,
                    ),
                    of="gateway",
                )

    def _with_virtual_inbound(self) -> Named:
        """What Kitex limits its own server by is a listener of the node's own."""
        name = kitex_listeners.VIRTUAL_INBOUND
        made = self._builder.resource(
            messages.LISTENER,
            name,
            (self._inbound, self._address),
            functools.partial(kitex_listeners.inbound, self._inbound, self._address),
        )
        return self._builder.merged(
            ("kitex listeners", self._address), (self._shared.listeners, {name: made})
        )

    def _listeners(self) -> Iterator[Resource]:
        filters: ModuleType = thrift_proxy if self._node.client is Client.ENVOY else listeners
        for address, called in self._called():
            if self._denied_marks:
                called = replace(called, denied_marks=self._denied_marks)
            yield self._listener(filters, address, called.port, called)
        for served in self._inbound:
            yield self._listener(filters, self._address, served.port, served)
            if served.host_port is not None:
                yield self._listener(filters, LOOPBACK, served.host_port, served)

    def _called(self) -> Iterator[tuple[str, OutboundPort]]:
        own = self._instance.service_addresses if self._instance else ()
        if own or self._is_sidecar or not self._binds:
            return listeners.called(self._shared.ports, dict(own))
        return listeners.called_at(self._shared.ports, self._address)

    def _listener(
        self, filters: ModuleType, address: str, number: int, port: OutboundPort | InboundPort
    ) -> Resource:
        if isinstance(port, OutboundPort):
            make = functools.partial(filters.outbound, port, address)
        else:
            make = functools.partial(filters.inbound, port, address, number)
        name = names.listener(address, number)
        return self._builder.resource(messages.LISTENER, name, port, make, of=filters.__name__)

    def _applications(self, host: str) -> Named:
        return {
            names.inbound(port.port): self._builder.resource(
                messages.CLUSTER,
                names.inbound(port.port),
                port,
                functools.partial(clusters.application, port.port, host, port.service),
                of=host,
            )
            for port in self._inbound
        }
