"""Services and their endpoints: `Service`, `ServiceEntry`, `WorkloadEntry` and workloads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import is_
from typing import Any

from meltemi.config import dubbo_interface
from meltemi.config.check import Object
from meltemi.config.issues import Issue
from meltemi.config.kinds import DUBBO_AUTHORIZATION
from meltemi.config.load import of_kind
from meltemi.config.remembered import Remembered
from meltemi.config.rules.names import is_address
from meltemi.config.rules.workload_entry import UNIX
from meltemi.config.schema.service import ServiceSpec
from meltemi.config.schema.service_entry import ServiceEntrySpec
from meltemi.config.schema.types import pairs, texts
from meltemi.config.schema.workload_entry import WorkloadEntrySpec
from meltemi.model import (
    Endpoint,
    ObjectRef,
    Resolution,
    Service,
    ServicePort,
    Workload,
    port_protocol,
)
from meltemi.model.protocol import ENGINE_CODECS, speaks_http2

_EXPORT_TO = "networking.istio.io/exportTo"
_RESOLUTIONS = {resolution.value: resolution for resolution in Resolution}


@dataclass(frozen=True, slots=True)
class _Backend:
    """What can serve a port: the replicas of a workload, or a workload entry."""

    name: str
    labels: tuple[tuple[str, str], ...]
    addresses: tuple[str, ...]
    ports: Mapping[str, int]
    """By name: of a workload its own, of an entry those of the service."""
    entry: bool
    weight: int = 1
    locality: str = ""


class _Near:
    """The backends of a namespace, in order, ready to be selected by their labels."""

    def __init__(self, backends: list[_Backend]) -> None:
        self.backends = backends
        self._by_label: dict[tuple[str, str], list[_Backend]] = {}
        for backend in backends:
            for pair in backend.labels:
                self._by_label.setdefault(pair, []).append(backend)

    def selected(self, labels: Mapping[str, str]) -> list[_Backend]:
        """Those that carry all `labels`: of those with the rarest one."""
        if not labels:
            return list(self.backends)
        wanted = set(labels.items())
        rarest = min((self._by_label.get(pair, []) for pair in wanted), key=len)
        return [backend for backend in rarest if wanted.issubset(backend.labels)]


_NOBODY = _Near([])


@dataclass(frozen=True, slots=True)
class _Made:
    """What an object became, and what that depends on besides itself."""

    item: Object
    near: _Near
    guarded: str | None
    services: tuple[Service, ...]
    issues: tuple[Issue, ...]


@dataclass(frozen=True, slots=True)
class _Last:
    """The services of the mesh before, and all that they were made of."""

    items: tuple[Object, ...]
    workloads: Sequence[Workload]
    codecs: Mapping[str, str]
    guarded: Mapping[str, str]
    found: Mapping[str, Service]
    issues: tuple[Issue, ...]

    def made_of(
        self,
        items: tuple[Object, ...],
        workloads: Sequence[Workload],
        codecs: Mapping[str, str],
        guarded: Mapping[str, str],
    ) -> bool:
        return (
            len(items) == len(self.items)
            and all(map(is_, items, self.items))
            and (workloads is self.workloads or workloads == self.workloads)
            and (codecs, guarded) == (self.codecs, self.guarded)
        )


class ServiceBuilder:
    """Builds the services of one mesh after another, each service again only where it changed."""

    def __init__(self) -> None:
        self._entries = Remembered(_entry_backend)
        self._near: dict[str, _Near] = {}
        self._codecs: Mapping[str, str] = {}
        self._known: dict[ObjectRef, _Made] = {}
        self._last: _Last | None = None

    def build(
        self,
        objects: Sequence[Object],
        workloads: Sequence[Workload],
        codecs: Mapping[str, str],
        issues: list[Issue],
    ) -> Mapping[str, Service]:
        """By hostname, of objects in the order of `Loaded`. `codecs`: of each known protocol, in
        lower case."""
        guarded: dict[str, str] = {}
        for policy in of_kind(objects, DUBBO_AUTHORIZATION):
            guarded.setdefault(policy.ref.namespace, policy.ref.name)
        kinds = ("Service", "ServiceEntry", "WorkloadEntry")
        items = tuple(chain.from_iterable(of_kind(objects, kind) for kind in kinds))
        before = self._last
        if before is not None and before.made_of(items, workloads, codecs, guarded):
            issues.extend(before.issues)
            return before.found
        found_issues: list[Issue] = []
        near = self._near = self._backends(objects, workloads)
        if codecs != self._codecs:
            self._codecs, self._known = codecs, {}
        found: dict[str, Service] = {}
        owners: dict[str, Object] = {}
        known: dict[ObjectRef, _Made] = {}
        for kind in ("Service", "ServiceEntry"):  # Kubernetes' own names come first
            for item in of_kind(objects, kind):
                namespace = item.ref.namespace
                made = self._one(item, near.get(namespace, _NOBODY), guarded.get(namespace))
                known[item.ref] = made
                found_issues.extend(made.issues)
                for index, service in enumerate(made.services):
                    first = owners.setdefault(service.hostname, item)
                    if first is item:
                        found.setdefault(service.hostname, service)
                    else:
                        found_issues.append(_taken(item, index, service.hostname, first))
        self._known = known
        self._last = _Last(items, workloads, codecs, guarded, found, tuple(found_issues))
        issues.extend(found_issues)
        return found

    def _backends(
        self, objects: Sequence[Object], workloads: Iterable[Workload]
    ) -> dict[str, _Near]:
        backends: dict[str, list[_Backend]] = {}
        for workload in workloads:
            backends.setdefault(workload.namespace, []).append(_of_workload(workload))
        entries = of_kind(objects, "WorkloadEntry")
        for item, backend in zip(entries, self._entries.of(entries), strict=True):
            backends.setdefault(item.ref.namespace, []).append(backend)
        near = {}
        for namespace, members in backends.items():
            before = self._near.get(namespace)
            same = before is not None and before.backends == members
            near[namespace] = before if before is not None and same else _Near(members)
        return near

    def _one(self, item: Object, near: _Near, guarded: str | None) -> _Made:
        before = self._known.get(item.ref)
        if (
            before is not None
            and before.item is item
            and before.near is near
            and before.guarded == guarded
        ):
            return before
        issues: list[Issue] = []
        make = _kubernetes if isinstance(item.spec, ServiceSpec) else _entry
        services = [
            _authorized(service, guarded)
            for service in make(item, near, frozenset(self._codecs), issues)
        ]
        if services:
            issues.extend(_without_codec(item, services[0], self._codecs))
            if services[0].external:
                issues.extend(dubbo_interface.check(item, services[0], self._codecs))
        if before is not None and len(before.services) == len(services):
            for index, former in enumerate(before.services):
                if former == services[index]:
                    services[index] = former
        return _Made(item, near, guarded, tuple(services), tuple(issues))


def _entry_backend(item: Object) -> _Backend:
    spec: WorkloadEntrySpec = item.spec
    labels = {**(item.metadata.labels or {}), **(spec.labels or {})}
    return _of_entry(spec, labels, f"{item.ref.namespace}/{item.ref.name}")


def _authorized(service: Service, policy: str | None) -> Service:
    """Closes the Dubbo ports of a namespace whose authorization policy nothing enforces yet."""
    if policy is None:
        return service
    why = f"{DUBBO_AUTHORIZATION} {service.namespace}/{policy} is not there yet"
    ports = tuple(
        replace(port, unsafe=why) if port.protocol == "dubbo" else port for port in service.ports
    )
    return replace(service, ports=ports)


def _without_codec(item: Object, service: Service, codecs: Mapping[str, str]) -> Iterator[Issue]:
    """A warning for each port whose protocol nothing here reads yet."""
    for port in service.ports:
        codec = codecs.get(port.protocol)
        if codec is not None and codec not in ENGINE_CODECS:
            index = [given.name or "" for given in item.spec.ports or ()].index(port.name)
            yield item.issue(
                ("spec", "ports", index),
                "warning",
                "not-there-yet",
                f"port {port.number} speaks {port.protocol}, whose codec is not there yet",
                "it is forwarded as TCP: routes of a MetaRouter have no effect",
            )


def _taken(item: Object, index: int, hostname: str, first: Object) -> Issue:
    return item.issue(
        ("spec", "hosts", index),
        "warning",
        "host-taken",
        f"{hostname} belongs to {first.ref.kind} {first.ref.namespace}/{first.ref.name}"
        f" ({first.file}:{first.line}): this one has no effect",
        "give each host to one object",
    )


def _of_workload(workload: Workload) -> _Backend:
    return _Backend(
        f"{workload.namespace}/{workload.name}",
        workload.labels,
        tuple(instance.address for instance in workload.instances),
        {port.name: port.port for port in workload.ports},
        entry=False,
    )


def _of_entry(spec: WorkloadEntrySpec, labels: Mapping[str, str], name: str) -> _Backend:
    address = spec.address or ""
    return _Backend(
        name,
        pairs(labels),
        (address,) if address else (),
        spec.ports or {},
        entry=True,
        weight=spec.weight or 1,
        locality=spec.locality or "",
    )


def _without_names(
    item: Object, backends: Iterable[_Backend], issues: list[Issue]
) -> list[_Backend]:
    """Leaves out entries whose address has to be looked up, and says so."""
    found = []
    for backend in backends:
        names = [address for address in backend.addresses if not is_address(address)]
        if not names or names[0].startswith(UNIX):
            found.append(backend)
            continue
        issues.append(
            item.issue(
                ("spec",),
                "warning",
                "not-there-yet",
                f"WorkloadEntry {backend.name} has the name {names[0]} for an address:"
                " it gets no requests of this service",
                "use its IP address",
            )
        )
    return found


def _endpoints(backends: Iterable[_Backend], port: int) -> Iterator[Endpoint]:
    for backend in backends:
        for address in backend.addresses:
            yield Endpoint(
                address, port, backend.labels, backend.weight, backend.locality, backend.name
            )


def _kubernetes(
    item: Object, near: _Near, known: frozenset[str], issues: list[Issue]
) -> Iterator[Service]:
    spec: ServiceSpec = item.spec
    namespace, name = item.ref.namespace, item.ref.name
    selected = near.selected(spec.selector) if spec.selector else []
    chosen = _without_names(item, selected, issues)
    ports: list[ServicePort] = []
    endpoints: list[tuple[int, tuple[Endpoint, ...]]] = []
    for index, port in enumerate(spec.ports or ()):
        if port.protocol not in (None, "TCP"):
            continue
        port_name = port.name or ""
        target = port.target_port if port.target_port is not None else port.port
        protocol = port_protocol(port_name, port.app_protocol, known)
        number = target if isinstance(target, int) else port.port
        served: list[Endpoint] = []
        for backend in chosen:
            at = _port_of(backend, port_name, target)
            if at is None or (not backend.entry and at not in backend.ports.values()):
                issues.append(_undeclared(item, index, backend, target))
            if at is not None:
                served.extend(_endpoints([backend], at))
                number = at if isinstance(target, str) else number
        http2 = speaks_http2(port_name, port.app_protocol)
        ports.append(ServicePort(port.port, port_name, protocol, number, http2=http2))
        endpoints.append((port.port, tuple(served)))
    exported = (item.metadata.annotations or {}).get(_EXPORT_TO, "")
    yield Service(
        hostname=f"{name}.{namespace}.svc.cluster.local",
        namespace=namespace,
        name=name,
        ports=tuple(ports),
        export_to=tuple(part.strip() for part in exported.split(",") if part.strip()),
        endpoints=tuple(endpoints),
    )


def _port_of(backend: _Backend, service_port: str, target: Any) -> int | None:
    """Where a backend serves: an entry by the service's port name, a workload by targetPort."""
    if backend.entry and service_port in backend.ports:
        return backend.ports[service_port]
    if isinstance(target, str):
        return backend.ports.get(target)
    return int(target)


def _undeclared(item: Object, index: int, backend: _Backend, target: Any) -> Issue:
    return item.issue(
        ("spec", "ports", index),
        "warning",
        "port-not-declared",
        f"{backend.name}, which this service selects, has no port {target}",
        "add it to the workload's spec.ports: a sidecar lets in what is declared there",
    )


def _entry(
    item: Object, near: _Near, known: frozenset[str], issues: list[Issue]
) -> Iterator[Service]:
    spec: ServiceEntrySpec = item.spec
    resolution = spec.resolution or "NONE"
    chosen: list[_Backend] = []
    if spec.workload_selector is not None and resolution != "NONE":
        chosen = near.selected(spec.workload_selector.labels or {})
        if resolution == "STATIC":
            chosen = _without_names(item, chosen, issues)
    chosen += [_of_entry(inline, inline.labels or {}, "") for inline in spec.endpoints or ()]
    ports: list[ServicePort] = []
    endpoints: list[tuple[int, tuple[Endpoint, ...]]] = []
    for port in spec.ports or ():
        target = port.target_port or port.number
        protocol = port_protocol(port.name, None, known)
        http2 = speaks_http2(port.name, port.protocol)
        ports.append(ServicePort(port.number, port.name, protocol, target, http2=http2))
        served = [
            endpoint
            for backend in chosen
            for endpoint in _endpoints([backend], _entry_port(backend, port.name, target))
        ]
        endpoints.append((port.number, tuple(served)))
    for host in spec.hosts:
        yield Service(
            hostname=host.lower().removesuffix("."),
            namespace=item.ref.namespace,
            name=item.ref.name,
            ports=tuple(ports),
            resolution=_RESOLUTIONS.get(resolution, Resolution.NONE),
            addresses=texts(spec.addresses),
            export_to=texts(spec.export_to),
            endpoints=tuple(endpoints),
            external=True,
            outside=_is_outside(spec),
            interface=dubbo_interface.of(item),
        )


def _is_outside(spec: ServiceEntrySpec) -> bool:
    """Istio's default is MESH_EXTERNAL; but who selects workloads means those of the mesh."""
    if spec.location is None:
        return spec.workload_selector is None
    return spec.location == "MESH_EXTERNAL"


def _entry_port(backend: _Backend, name: str, target: int) -> int:
    return backend.ports.get(name, target)
