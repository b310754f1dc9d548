"""A mesh made ready to be asked: one pass over it, for all the nodes that follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from meltemi.lanes.callers import MarkRule, denied_keys, ending_keys, mark_rules
from meltemi.model import (
    BUILT_IN_CODECS,
    DestinationRule,
    Instance,
    LocalRateLimit,
    Mesh,
    MetaRouter,
    Service,
    VirtualService,
    Workload,
    port_protocol,
)
from meltemi.model.edited import edited
from meltemi.model.protocol import TCP
from meltemi.translate import name_table
from meltemi.translate.gateways import GatewayPort, Gateways
from meltemi.translate.limits import of_interface
from meltemi.translate.listeners import InboundPort
from meltemi.translate.rules import DestinationRules, MetaRouters
from meltemi.translate.virtual_services import Caller, VirtualServices
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


_Owners = (
    Mapping[str, Service]
    | tuple[DestinationRule, ...]
    | tuple[MetaRouter, ...]
    | tuple[VirtualService, ...]
)


class Index:
    """Of one mesh. What it has in common with the one `before` is taken over from there."""

    services: list[Service]
    """In the order of (namespace, hostname)."""
    rules: DestinationRules
    routers: MetaRouters
    virtual_services: VirtualServices
    gateways: Gateways
    _offers: dict[str, _Offer]
    _served: dict[tuple[str, int], Served]
    _sending: dict[tuple[str, int], list[Service]]
    """By workload and port: every service that sends there."""
    _places: dict[tuple[str, str], Place]
    _addresses: dict[str, str] | None
    """Of services, once somebody asked."""
    _mark_rules: tuple[MarkRule, ...] | None
    """The same."""

    def __init__(self, mesh: Mesh, before: Index | None = None) -> None:
        self.mesh = mesh
        self.workloads = mesh.workloads
        self.codecs = codecs(mesh)
        self._protocols = frozenset(self.codecs)
        self.routers = MetaRouters(
            mesh.meta_routers, before.routers if before is not None else None
        )
        if before is not None and before.mesh.services is mesh.services:
            self.services, self._offers = before.services, before._offers
            self._served, self._sending = before._served, before._sending
            self._addresses = before._addresses
        else:
            self._addresses = None
            self.services = sorted(mesh.services.values(), key=_namespace_and_host)
            self._offers = _offers(self.services, before._offers if before is not None else {})
            self._served = _by_port(self._offers.values())
            self._sending = _sending(self._offers.values())
        self._mark_rules = None
        if before is not None and before.mesh.workloads is mesh.workloads:
            self._places = before._places
            if before.mesh.lane_groups is mesh.lane_groups:
                self._mark_rules = before._mark_rules
        else:
            self._places = _places(mesh)
        if before is not None and before.mesh.destination_rules is mesh.destination_rules:
            self.rules = before.rules
        else:
            self.rules = DestinationRules(mesh.destination_rules)
        if before is not None and before.mesh.virtual_services is mesh.virtual_services:
            self.virtual_services = before.virtual_services
        else:
            self.virtual_services = VirtualServices(mesh.virtual_services)
        of_gateways = (mesh.gateways, mesh.gateway_services)
        if before is not None and before.gateways.made_from == of_gateways:
            self.gateways = before.gateways
        else:
            self.gateways = Gateways(*of_gateways)
        owners: list[_Owners] = [
            mesh.services,
            mesh.destination_rules,
            mesh.meta_routers,
            mesh.virtual_services,
            mesh.gateway_services,
        ]
        former: list[_Named] = before._named if before is not None else []
        self._named: list[_Named] = [
            _named(each, former[place] if former else None) for place, each in enumerate(owners)
        ]

    def namespace(self, claimed: str) -> str:
        """The namespace, or "" for one that nothing in the mesh names: all those see the same."""
        named = any(claimed in named.namespaces for named in self._named)
        return claimed if named or claimed in self.virtual_services.source_namespaces else ""

    def caller(self, node: Node) -> Caller:
        """What rules tell of a node: by its workload's labels, else by those that it claims."""
        place = self.place(node)
        return self.virtual_services.caller(place.workload.labels if place else node.labels)

    def place(self, node: Node) -> Place | None:
        """The replica that a node's id names, None for a node that is no part of the mesh."""
        place = self._places.get((node.namespace, node.pod))
        if place is not None and place.workload.node_id(place.instance) == node.id:
            return place
        return None

    @property
    def addresses(self) -> dict[str, str]:
        """Of each service, by hostname, for clients that know services by addresses."""
        if self._addresses is None:
            self._addresses = name_table.addresses(self.services)
        return self._addresses

    def gateway_ports(self, workload: Workload) -> tuple[GatewayPort, ...]:
        """What a gateway opens."""
        return self.gateways.ports(workload, self.mesh.services, self.rules)

    @property
    def mark_rules(self) -> tuple[MarkRule, ...]:
        """Whose marks of lanes count with who serves requests."""
        if self._mark_rules is None:
            self._mark_rules = mark_rules(self.mesh.lane_groups, self.workloads)
        return self._mark_rules

    def denied_marks(self, workload: Workload) -> tuple[str, ...]:
        """The keys of marks that requests of the workload may not have."""
        return denied_keys(self.mesh.lane_groups, workload)

    def ending_marks(self, service: Service) -> tuple[str, ...]:
        """The keys of marks that requests to the service do not have any more."""
        return ending_keys(self.mesh.lane_groups, service)

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
                marks=self.mark_rules,
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


def codecs(mesh: Mesh) -> dict[str, str]:
    """By protocol, in lower case."""
    return BUILT_IN_CODECS | {own.protocol.lower(): own.codec for own in mesh.application_protocols}


class _Named(NamedTuple):
    """The namespaces of all that a view depends on, and those that an exportTo names."""

    owners: _Owners
    namespaces: frozenset[str]


def _named(owners: _Owners, before: _Named | None) -> _Named:
    if before is not None and before.owners is owners:
        return before
    if before is not None and isinstance(before.owners, tuple) and isinstance(owners, tuple):
        left, right = edited(before.owners, owners)
        if list(map(_seen_by, before.owners[left])) == list(map(_seen_by, owners[right])):
            return _Named(owners, before.namespaces)
    found = set()
    for owner in owners.values() if isinstance(owners, Mapping) else owners:
        found.add(owner.namespace)
        if owner.export_to:
            found.update(name for name in owner.export_to if name not in (".", "*", "~"))
    return _Named(owners, frozenset(found))


def _seen_by(owner: DestinationRule | MetaRouter | VirtualService) -> tuple[str, tuple[str, ...]]:
    return owner.namespace, owner.export_to


class _Offer(NamedTuple):
    """A service, and what it sends to."""

    service: Service
    served: tuple[Served, ...]


def _offers(services: Iterable[Service], before: Mapping[str, _Offer]) -> dict[str, _Offer]:
    found = {}
    for service in services:
        known = before.get(service.hostname)
        if known is None or known.service is not service:
            known = _Offer(service, _served(service))
        found[service.hostname] = known
    return found


def _by_port(offers: Iterable[_Offer]) -> dict[tuple[str, int], Served]:
    """The first service wins, but one that says a protocol wins over one that says only TCP."""
    found: dict[tuple[str, int], Served] = {}
    for offer in offers:
        for served in offer.served:
            key = (served.workload, served.port)
            known = found.get(key)
            if known is None or (known.protocol == TCP and served.protocol != TCP):
                found[key] = served
    return found


def _sending(offers: Iterable[_Offer]) -> dict[tuple[str, int], list[Service]]:
    found: dict[tuple[str, int], list[Service]] = {}
    for offer in offers:
        for served in offer.served:
            sending = found.setdefault((served.workload, served.port), [])
            if not sending or sending[-1] is not offer.service:
                sending.append(offer.service)
    return found


def _places(mesh: Mesh) -> dict[tuple[str, str], Place]:
    return {
        (workload.namespace, workload.pod(instance)): Place(workload, instance)
        for workload in mesh.workloads
        for instance in workload.instances
    }


def _namespace_and_host(service: Service) -> tuple[str, str]:
    return service.namespace, service.hostname


def _served(service: Service) -> tuple[Served, ...]:
    by_port = dict(service.endpoints)
    found = {
        Served(endpoint.workload, endpoint.port, port.protocol, service.hostname): None
        for port in service.ports
        for endpoint in by_port.get(port.number, ())
        if endpoint.workload
    }
    return tuple(found)
