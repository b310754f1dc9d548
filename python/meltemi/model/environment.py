"""What a workload finds in its environment: its own addresses and those of the services it calls.

Names of services follow Kubernetes' convention (Kubernetes documentation, "Accessing the Service",
environment variables), names of what is traced OpenTelemetry's; the rest is the design, section
4."""

from __future__ import annotations

from urllib.parse import quote

from meltemi.model.mesh import Mesh
from meltemi.model.service import Service
from meltemi.model.workload import Instance, Workload


def environment(mesh: Mesh, workload: Workload, instance: Instance) -> dict[str, str]:
    """The variables of one replica; the workload's own `env` wins over all of them."""
    found = {
        "HOST": instance.host,
        "INSTANCE_IP": instance.address,
        "POD_NAME": workload.pod(instance),
        "POD_NAMESPACE": workload.namespace,
        **_traced_as(workload, instance),
    }
    if workload.ports:
        found["PORT"] = str(workload.ports[0].port)
    for port in workload.ports:
        found[f"PORT_{variable(port.name)}"] = str(port.port)
    own_addresses = dict(instance.service_addresses)
    for service in mesh.services.values():
        if service.ports and service.visible_from(workload.namespace):
            prefix = _prefix(service, workload.namespace)
            found.update(_service(service, prefix, own_addresses.get(service.hostname)))
    return {**found, **dict(workload.env)}


def variable(name: str) -> str:
    """A name as part of a variable: capitals, `_` for what no variable may hold."""
    return "".join(c if c.isalnum() else "_" for c in name).upper()


def _traced_as(workload: Workload, instance: Instance) -> dict[str, str]:
    """Who it is in OpenTelemetry's words (Environment Variable Specification, resource)."""
    labels = dict(workload.labels)
    said = {
        "service.version": labels.get("version", ""),
        "service.namespace": workload.namespace,
        "service.instance.id": workload.pod(instance),
    }
    attributes = ",".join(f"{name}={quote(value)}" for name, value in said.items() if value)
    return {
        "OTEL_SERVICE_NAME": labels.get("app") or workload.name,
        "OTEL_RESOURCE_ATTRIBUTES": attributes,
    }


def _prefix(service: Service, namespace: str) -> str:
    if service.external:
        return variable(service.hostname)
    if service.namespace == namespace:
        return variable(service.name)
    return variable(f"{service.name}_{service.namespace}")


def _service(service: Service, prefix: str, own_address: str | None) -> dict[str, str]:
    """HOST and PORT of the first port, and each port by its name."""
    found: dict[str, str] = {}
    endpoints = dict(service.endpoints)
    for port in service.ports:
        if own_address is not None:
            host, number = own_address, port.number
        elif endpoints.get(port.number):
            host, number = endpoints[port.number][0].address, endpoints[port.number][0].port
        else:
            continue
        found.setdefault(f"{prefix}_SERVICE_HOST", host)
        found.setdefault(f"{prefix}_SERVICE_PORT", str(number))
        if port.name:
            found[f"{prefix}_SERVICE_PORT_{variable(port.name)}"] = str(number)
    return found
