"""A mesh made ready to be asked: one pass over it, for all the nodes that follow."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

from meltemi.model import (
    BUILT_IN_CODECS,
    DestinationRule,
    Instance,
    LocalRateLimit,
    Mesh,
    MetaRouter,
    Service,
    Workload,
    port_protocol,
)
from meltemi.model.protocol import TCP
from meltemi.translate.limits import of_interface
from meltemi.translate.listeners import InboundPort
from meltemi.translate.memo import Memo
from meltemi.translate.rules import DestinationRules, MetaRouters
from meltemi.xds.resource import Node


class Place(NamedTuple):
    """The replica that a node is the proxy of."""

    workload: Workload
    instance: Instance


class Served(NamedTuple):
    """That a service sends to a port of a workload, and in which protocol."""

    workload: str
    """`NAMESPACE/NAME`."""
    port: int
    protocol: str
    hostname: str


class Index:
    """Of one mesh. `memo` carries over what did not change since the mesh before."""

    def __init__(self, mesh: Mesh, memo: Memo) -> None:
        self.workloads = mesh.workloads
        self.services = sorted(mesh.services.values(), key=lambda s: (s.namespace, s.hostname))
        self.rules = DestinationRules(mesh.destination_rules)
        self.routers = MetaRouters(mesh.meta_routers)
        self.codecs = codecs(mesh)
        self._namespaces = frozenset(_namespaces(mesh))
        self._protocols = frozenset(self.codecs)
        self._places = {
            (workload.namespace, workload.pod(instance)): Place(workload, instance)
            for workload in mesh.workloads
            for instance in workload.instances
        }
        self._served: dict[tuple[str, int], Served] = {}
        self._sending: dict[tuple[str, int], list[Service]] = {}
        """By workload and port: every service that sends there."""
        for service in self.services:
            key = ("served", service.hostname)
            for served in memo.get(key, service, functools.partial(_served, service)):
                self._name(served)
                sending = self._sending.setdefault((served.workload, served.port), [])
                if service not in sending[-1:]:
                    sending.append(service)

    def namespace(self, claimed: str) -> str:
        """The namespace, or "" for one that nothing in the mesh names: all those see the same."""
        return claimed if claimed in self._namespaces else ""

    def place(self, node: Node) -> Place | None:
        """The replica that a node's id names, None for a node that is no part of the mesh."""
        place = self._places.get((node.namespace, node.pod))
        if place is not None and place.workload.node_id(place.instance) == node.id:
            return place
        return None

    def inbound(self, workload: Workload) -> tuple[InboundPort, ...]:
        """The ports of a workload. A service that sends to one says its protocol, else its name."""
        return tuple(self._inbound(workload))

    def _inbound(self, workload: Workload) -> Iterator[InboundPort]:
        for port in workload.ports:
            served = self._served.get((f"{workload.namespace}/{workload.name}", port.port))
            own_name = port_protocol(port.name, None, self._protocols)
            protocol = served.protocol if served else own_name
            yield InboundPort(
                port=port.port,
                host_port=port.host_port,
                protocol=protocol,
                codec=self.codecs.get(protocol, ""),
                service=served.hostname if served else "",
                limits=tuple(self._limits(workload, port.port)),
            )

    def _limits(self, workload: Workload, port: int) -> Iterator[tuple[str, LocalRateLimit]]:
        """Of every service that sends to the port. A request says no host: where there are
        several services, only its Dubbo interface tells them apart."""
        sending = self._sending.get((f"{workload.namespace}/{workload.name}", port), [])
        for service in sending:
            router = self.routers.router(service.hostname, workload.namespace)
            limit = router.local_rate_limit if router else None
            if limit is None or not limit.inbound:
                continue
            if len(sending) > 1 and service.interface:
                limit = of_interface(limit, service.interface)
            yield service.hostname, limit

    def _name(self, served: Served) -> None:
        """The first service wins, but one that says a protocol wins over one that says only TCP."""
        key = (served.workload, served.port)
        known = self._served.get(key)
        if known is None or (known.protocol == TCP and served.protocol != TCP):
            self._served[key] = served


def codecs(mesh: Mesh) -> dict[str, str]:
    """By protocol, in lower case."""
    return BUILT_IN_CODECS | {own.protocol.lower(): own.codec for own in mesh.application_protocols}


def _namespaces(mesh: Mesh) -> Iterator[str]:
    """Of all that a view depends on, and those that an exportTo names."""
    owners: tuple[Service | DestinationRule | MetaRouter, ...] = (
        *mesh.services.values(),
        *mesh.destination_rules,
        *mesh.meta_routers,
    )
    for owner in owners:
        yield owner.namespace
        yield from (name for name in owner.export_to if name not in (".", "*", "~"))


def _served(service: Service) -> tuple[Served, ...]:
    by_port = dict(service.endpoints)
    found = {
        Served(endpoint.workload, endpoint.port, port.protocol, service.hostname): None
        for port in service.ports
        for endpoint in by_port.get(port.number, ())
        if endpoint.workload
    }
    return tuple(found)
