"""Objects to the mesh: services and their endpoints, rules, workloads and their addresses.

Pure but for `addresses`, which remembers. Next: `meltemi.translate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from meltemi.config import gateways, lanes, policies, services, virtual_services
from meltemi.config.check import Object
from meltemi.config.issues import Issue
from meltemi.config.load import of_kind
from meltemi.config.remembered import Remembered
from meltemi.config.schema.application_protocol import ApplicationProtocolSpec
from meltemi.config.schema.types import pairs
from meltemi.config.schema.workload import WorkloadSpec
from meltemi.lanes import with_lanes
from meltemi.lanes.at_gateways import at_gateway, lanes_of
from meltemi.lanes.compile import Rules
from meltemi.model import (
    ApplicationProtocol,
    DestinationRule,
    Instance,
    LaneGroup,
    Mesh,
    MeshMode,
    Service,
    VirtualService,
    Workload,
    WorkloadPort,
)
from meltemi.model.addresses import Addresses, OutOfAddresses
from meltemi.model.protocol import BUILT_IN_CODECS
from meltemi.model.service import visible as is_visible


def build(objects: Iterable[Object], addresses: Addresses) -> tuple[Mesh, list[Issue]]:
    """The mesh of valid objects, and what is wrong with them together (warnings, mostly).

    Never raises: what cannot be is left out, and said."""
    return MeshBuilder().build(sorted(objects, key=lambda item: item.ref), addresses)


@dataclass(frozen=True, slots=True)
class _Placed:
    """The workloads, and the objects that they were made of."""

    items: tuple[Object, ...]
    alone: list[Workload]
    """Before they know what they can reach."""
    issues: list[Issue]


@dataclass(frozen=True, slots=True)
class _Reaching:
    """The workloads with their addresses for the services in `callable_`, which are of `found`."""

    placed: _Placed
    found: Mapping[str, Service]
    callable_: list[_Callable]
    workloads: tuple[Workload, ...]


@dataclass(frozen=True, slots=True)
class _Lanes:
    """What lane groups were made to, and of what."""

    groups: tuple[LaneGroup, ...]
    services: Mapping[str, Service]
    written: Rules
    made: Rules

    def same(
        self, groups: tuple[LaneGroup, ...], services: Mapping[str, Service], written: Rules
    ) -> bool:
        pairs_of_rules = zip(self.written, written, strict=True)
        unchanged = self.services is services and all(old is new for old, new in pairs_of_rules)
        return unchanged and self.groups == groups


class AtGateways:
    """The routes of VirtualServices at gateways, with those of lanes."""

    def __init__(self) -> None:
        self._remembered = Remembered(virtual_services.at_gateways)
        self._made_from: tuple[Any, ...] = ()
        self._made: tuple[VirtualService, ...] = ()

    def of(
        self,
        objects: Sequence[Object],
        groups: tuple[LaneGroup, ...],
        services: Mapping[str, Service],
    ) -> tuple[VirtualService, ...]:
        """The same tuple where nothing changed."""
        said = self._remembered.of(of_kind(objects, "VirtualService"))
        lanes = lanes_of(groups, services)
        made_from = (said, lanes)
        if made_from != self._made_from:
            self._made_from = made_from
            written = [each for each in said if each is not None]
            self._made = tuple(at_gateway(each, lanes) for each in written)
        return self._made


class MeshBuilder:
    """Builds one mesh after another; what is the same in both is the same value."""

    def __init__(self) -> None:
        self._rules = Remembered(policies.destination_rule)
        self._all_rules: tuple[DestinationRule | None, ...] = ()
        self._with_effect: tuple[DestinationRule, ...] = ()
        self._routers = Remembered(policies.meta_router)
        self._virtual = Remembered(virtual_services.virtual_service)
        self._all_virtual: tuple[VirtualService | None, ...] = ()
        self._virtual_with_effect: tuple[VirtualService, ...] = ()
        self._gateways = Remembered(gateways.gateway)
        self._at_gateways = AtGateways()
        self._services = services.ServiceBuilder()
        self._found: Mapping[str, Service] = MappingProxyType({})
        self._lanes: _Lanes | None = None
        self._placed: _Placed | None = None
        self._reaching: _Reaching | None = None

    def build(self, objects: Sequence[Object], addresses: Addresses) -> tuple[Mesh, list[Issue]]:
        """As the function `build`, of objects in the order of `Loaded`.

        `addresses` are asked for all that the mesh needs, or for nothing: where no workload changed
        and no service that one calls. They have to be those of the mesh before, or begin anew."""
        issues: list[Issue] = []
        protocols = tuple(_protocols(of_kind(objects, "ApplicationProtocol")))
        codecs = BUILT_IN_CODECS | {one.protocol: one.codec for one in protocols}
        items = tuple(of_kind(objects, "Workload"))
        placed = self._placed
        if placed is None or placed.items != items:
            placed = _place(items, addresses)
        issues.extend(placed.issues)
        found = self._services.build(objects, placed.alone, codecs, issues)
        if found != self._found:
            self._found = MappingProxyType(dict(found))
        groups, rules = self._with_lanes(objects)
        mesh = Mesh(
            services=self._found,
            destination_rules=rules.destination_rules,
            meta_routers=rules.meta_routers,
            virtual_services=rules.virtual_services,
            application_protocols=protocols,
            workloads=self._reach(placed, addresses, issues),
            lane_groups=groups,
            gateways=self._gateways.of(of_kind(objects, "Gateway")),
            gateway_services=self._at_gateways.of(objects, groups, self._found),
        )
        return mesh, issues

    def _with_lanes(self, objects: Sequence[Object]) -> tuple[tuple[LaneGroup, ...], Rules]:
        """The rules that there are, and those that lanes stand for."""
        written = Rules(
            self._valid_rules(objects),
            self._virtual_services(objects),
            self._routers.of(of_kind(objects, "MetaRouter")),
        )
        groups = lanes.lane_groups(objects)
        before = self._lanes
        if not groups:
            self._lanes = None
            return groups, written
        if before is None or not before.same(groups, self._found, written):
            made = with_lanes(groups, self._found, written)
            self._lanes = before = _Lanes(groups, self._found, written, made)
        return groups, before.made

    def _valid_rules(self, objects: Sequence[Object]) -> tuple[DestinationRule, ...]:
        rules = self._rules.of(of_kind(objects, "DestinationRule"))
        if rules is not self._all_rules:
            self._all_rules = rules
            self._with_effect = tuple(rule for rule in rules if rule is not None)
        return self._with_effect

    def _virtual_services(self, objects: Sequence[Object]) -> tuple[VirtualService, ...]:
        found = self._virtual.of(of_kind(objects, "VirtualService"))
        if found is not self._all_virtual:
            self._all_virtual = found
            self._virtual_with_effect = tuple(each for each in found if each is not None)
        return self._virtual_with_effect

    def _reach(
        self, placed: _Placed, addresses: Addresses, issues: list[Issue]
    ) -> tuple[Workload, ...]:
        before = self._reaching
        same = before is not None and before.placed is placed
        if before is not None and same and before.found is self._found:
            return before.workloads
        callable_ = _callable(self._found.values())
        if before is not None and same and before.callable_ == callable_:
            self._reaching = replace(before, found=self._found)
            return before.workloads
        if placed is self._placed:
            _place(placed.items, addresses)  # asks for what is still in use
        unreached: list[Issue] = []
        workloads = tuple(
            _with_services(placed.alone, callable_, addresses, placed.items, unreached)
        )
        issues.extend(unreached)
        if before is not None and before.workloads == workloads:
            workloads = before.workloads
        self._placed = self._reaching = None
        if not (placed.issues or unreached):  # there may be an address next time
            self._placed = placed
            self._reaching = _Reaching(placed, self._found, callable_, workloads)
        return workloads


class _Callable(NamedTuple):
    """What decides whether a workload has an address for a service."""

    hostname: str
    namespace: str
    export_to: tuple[str, ...]


def _callable(found: Iterable[Service]) -> list[_Callable]:
    return sorted(
        _Callable(service.hostname, service.namespace, service.export_to)
        for service in found
        if "*" not in service.hostname
    )


def _place(items: tuple[Object, ...], addresses: Addresses) -> _Placed:
    issues: list[Issue] = []
    made = (_workload(item, addresses, issues) for item in items)
    return _Placed(items, [workload for workload in made if workload is not None], issues)


def _protocols(objects: Iterable[Object]) -> Iterator[ApplicationProtocol]:
    for item in objects:
        spec: ApplicationProtocolSpec = item.spec
        yield ApplicationProtocol(spec.protocol.lower(), spec.codec)


def _workload(item: Object, addresses: Addresses, issues: list[Issue]) -> Workload | None:
    spec: WorkloadSpec = item.spec
    namespace, name = item.ref.namespace, item.ref.name
    mode = MeshMode(spec.mesh or "sidecar")
    instances = []
    for ordinal in range(1 if spec.replicas is None else spec.replicas):
        key = f"{namespace}/{name}-{ordinal}"
        try:
            address = addresses.address(f"instance/{key}")
            host = addresses.address(f"host/{key}") if mode is MeshMode.SIDECAR else address
        except OutOfAddresses as error:
            issues.append(_no_address(item, f"{name}-{ordinal}", error))
            break
        instances.append(Instance(ordinal, address, host))
    return Workload(
        namespace,
        name,
        pairs(item.metadata.labels),
        tuple(spec.command or ()),
        tuple((spec.env or {}).items()),
        tuple(WorkloadPort(port.name, port.port, port.host_port) for port in spec.ports or ()),
        mode,
        tuple(instances),
    )


def _with_services(
    workloads: Iterable[Workload],
    callable_services: Iterable[_Callable],
    addresses: Addresses,
    objects: Iterable[Object],
    issues: list[Issue],
) -> Iterator[Workload]:
    """Gives each replica with a sidecar an address of its own for each service that it sees."""
    visible: dict[str, list[str]] = {}
    for workload in workloads:
        if workload.mode is not MeshMode.SIDECAR:
            yield workload
            continue
        namespace = workload.namespace
        if namespace not in visible:
            visible[namespace] = [
                service.hostname
                for service in callable_services
                if is_visible(service.export_to, service.namespace, namespace)
            ]
        try:
            yield _reaching(workload, visible[namespace], addresses)
        except OutOfAddresses as error:
            ref = ("Workload", namespace, workload.name)
            item = next(o for o in objects if (o.ref.kind, o.ref.namespace, o.ref.name) == ref)
            issues.append(_no_address(item, "its services", error))
            yield workload


def _reaching(workload: Workload, hostnames: list[str], addresses: Addresses) -> Workload:
    instances = []
    for instance in workload.instances:
        pod = f"{workload.namespace}/{workload.pod(instance)}"
        reached = tuple(
            (hostname, addresses.address(f"service/{pod}/{hostname}")) for hostname in hostnames
        )
        instances.append(Instance(instance.ordinal, instance.address, instance.host, reached))
    return Workload(
        workload.namespace,
        workload.name,
        workload.labels,
        workload.command,
        workload.env,
        workload.ports,
        workload.mode,
        tuple(instances),
    )


def _no_address(item: Object, what: str, error: OutOfAddresses) -> Issue:
    return item.issue(
        ("spec",), "error", "out-of-addresses", f"no address for {what}: {error}",
        "fewer replicas, or services exported to fewer namespaces (exportTo)",
    )  # fmt: skip
