"""Services and their endpoints: `Service`, `ServiceEntry`, `WorkloadEntry` and workloads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from meltemi.config import dubbo_interface
from meltemi.config.check import Object
from meltemi.config.issues import Issue
from meltemi.config.kinds import DUBBO_AUTHORIZATION
from meltemi.config.rules.names import is_address
from meltemi.config.rules.workload_entry import UNIX
from meltemi.config.schema.service import ServiceSpec
from meltemi.config.schema.service_entry import ServiceEntrySpec
from meltemi.config.schema.types import pairs, texts
from meltemi.config.schema.workload_entry import WorkloadEntrySpec
from meltemi.model import Endpoint, Resolution, Service, ServicePort, Workload, port_protocol
from meltemi.model.protocol import ENGINE_CODECS

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


def build(
    objects: Iterable[Object],
    workloads: Iterable[Workload],
    codecs: Mapping[str, str],
    issues: list[Issue],
) -> dict[str, Service]:
    """By hostname. `codecs`: of each known protocol, in lower case."""
    objects = list(objects)
    backends: dict[str, list[_Backend]] = {}
    for workload in workloads:
        backends.setdefault(workload.namespace, []).append(_of_workload(workload))
    for item in objects:
        if isinstance(item.spec, WorkloadEntrySpec):
            name = f"{item.ref.namespace}/{item.ref.name}"
            labels = {**(item.metadata.labels or {}), **(item.spec.labels or {})}
            backends.setdefault(item.ref.namespace, []).append(_of_entry(item.spec, labels, name))
    known = frozenset(codecs)
    guarded = {
        item.ref.namespace: item.ref.name
        for item in reversed(objects)
        if item.ref.kind == DUBBO_AUTHORIZATION
    }
    found: dict[str, Service] = {}
    owners: dict[str, Object] = {}
    kinds = (ServiceSpec, ServiceEntrySpec)  # Kubernetes' own names come first
    for item in (item for kind in kinds for item in objects if isinstance(item.spec, kind)):
        near = backends.get(item.ref.namespace, [])
        made = _kubernetes if isinstance(item.spec, ServiceSpec) else _entry
        for index, service in enumerate(made(item, near, known, issues)):
            if index == 0:
                issues.extend(_without_codec(item, service, codecs))
                if service.external:
                    issues.extend(dubbo_interface.check(item, service, codecs))
            first = owners.setdefault(service.hostname, item)
            if first is item:
                found.setdefault(service.hostname, _authorized(service, guarded))
            else:
                issues.append(_taken(item, index, service.hostname, first))
    return found


def _authorized(service: Service, guarded: Mapping[str, str]) -> Service:
    """Closes the Dubbo ports of a namespace whose authorization policy nothing enforces yet."""
    policy = guarded.get(service.namespace)
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


def _selected(backends: Iterable[_Backend], labels: Mapping[str, str]) -> list[_Backend]:
    wanted = set(labels.items())
    return [backend for backend in backends if wanted <= set(backend.labels)]


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
    item: Object, near: list[_Backend], known: frozenset[str], issues: list[Issue]
) -> Iterator[Service]:
    spec: ServiceSpec = item.spec
    namespace, name = item.ref.namespace, item.ref.name
    selected = _selected(near, spec.selector) if spec.selector else []
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
        ports.append(ServicePort(port.port, port_name, protocol, number))
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
    item: Object, near: list[_Backend], known: frozenset[str], issues: list[Issue]
) -> Iterator[Service]:
    spec: ServiceEntrySpec = item.spec
    resolution = spec.resolution or "NONE"
    chosen: list[_Backend] = []
    if spec.workload_selector is not None and resolution != "NONE":
        chosen = _selected(near, spec.workload_selector.labels or {})
        if resolution == "STATIC":
            chosen = _without_names(item, chosen, issues)
    chosen += [_of_entry(inline, inline.labels or {}, "") for inline in spec.endpoints or ()]
    ports: list[ServicePort] = []
    endpoints: list[tuple[int, tuple[Endpoint, ...]]] = []
    for port in spec.ports or ():
        target = port.target_port or port.number
        protocol = port_protocol(port.name, None, known)
        ports.append(ServicePort(port.number, port.name, protocol, target))
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
            interface=dubbo_interface.of(item),
        )


def _entry_port(backend: _Backend, name: str, target: int) -> int:
    return backend.ports.get(name, target)
