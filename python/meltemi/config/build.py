"""Objects to the mesh: services and their endpoints, rules, workloads and their addresses.

Pure but for `addresses`, which remembers. Next: `meltemi.translate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType

from meltemi.config import policies, services
from meltemi.config.check import Object
from meltemi.config.issues import Issue
from meltemi.config.schema.application_protocol import ApplicationProtocolSpec
from meltemi.config.schema.destination_rule import DestinationRuleSpec
from meltemi.config.schema.meta_router import MetaRouterSpec
from meltemi.config.schema.types import pairs
from meltemi.config.schema.workload import WorkloadSpec
from meltemi.model import (
    ApplicationProtocol,
    Instance,
    Mesh,
    MeshMode,
    Service,
    Workload,
    WorkloadPort,
)
from meltemi.model.addresses import Addresses, OutOfAddresses
from meltemi.model.protocol import BUILT_IN_CODECS


def build(objects: Iterable[Object], addresses: Addresses) -> tuple[Mesh, list[Issue]]:
    """The mesh of valid objects, and what is wrong with them together (warnings, mostly).

    Never raises: what cannot be is left out, and said."""
    ordered = sorted(objects, key=lambda item: (item.ref.namespace, item.ref.name, item.ref.kind))
    issues: list[Issue] = []
    protocols = tuple(_protocols(ordered))
    codecs = BUILT_IN_CODECS | {one.protocol: one.codec for one in protocols}
    placed = [
        workload
        for item in ordered
        if isinstance(item.spec, WorkloadSpec)
        and (workload := _workload(item, addresses, issues)) is not None
    ]
    found = services.build(ordered, placed, codecs, issues)
    workloads = tuple(_with_services(placed, found.values(), addresses, ordered, issues))
    mesh = Mesh(
        services=MappingProxyType(found),
        destination_rules=tuple(
            rule
            for item in ordered
            if isinstance(item.spec, DestinationRuleSpec)
            and (rule := policies.destination_rule(item)) is not None
        ),
        meta_routers=tuple(
            policies.meta_router(item) for item in ordered if isinstance(item.spec, MetaRouterSpec)
        ),
        application_protocols=protocols,
        workloads=workloads,
    )
    return mesh, issues


def _protocols(objects: Iterable[Object]) -> Iterator[ApplicationProtocol]:
    for item in objects:
        if isinstance(item.spec, ApplicationProtocolSpec):
            yield ApplicationProtocol(item.spec.protocol.lower(), item.spec.codec)


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
    found: Iterable[Service],
    addresses: Addresses,
    objects: Iterable[Object],
    issues: list[Issue],
) -> Iterator[Workload]:
    """Gives each replica with a sidecar an address of its own for each service that it sees."""
    callable_services = sorted(
        (service for service in found if "*" not in service.hostname),
        key=lambda service: service.hostname,
    )
    visible: dict[str, list[str]] = {}
    for workload in workloads:
        if workload.mode is not MeshMode.SIDECAR:
            yield workload
            continue
        namespace = workload.namespace
        if namespace not in visible:
            visible[namespace] = [
                service.hostname for service in callable_services if service.visible_from(namespace)
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
