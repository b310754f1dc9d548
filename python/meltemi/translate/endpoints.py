"""Endpoints: who serves a port of a service, as Envoy's ClusterLoadAssignment."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final

from meltemi.model import Endpoint
from meltemi.translate.structs import struct
from meltemi.xds import messages

CLUSTER_ID: Final = "Kubernetes"
"""Istio's name of the one cluster there is; labels of metrics carry it."""

UNIX: Final = "unix://"


def selected(endpoints: Iterable[Endpoint], labels: tuple[tuple[str, str], ...]) -> list[Endpoint]:
    """Those that carry all `labels`: the endpoints of a subset."""
    wanted = set(labels)
    return [endpoint for endpoint in endpoints if wanted.issubset(endpoint.labels)]


@functools.lru_cache(maxsize=16_384)
def is_ip(address: str) -> bool:
    """Whether an endpoint's address can be connected to without asking a name server."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def load_assignment(cluster: str, endpoints: Iterable[Endpoint], *, named: bool = True) -> Any:
    """One locality after the other, each as heavy as its endpoints together (as Istio does; gRPC
    ignores a locality without a weight). `named`: with the workload behind each."""
    localities: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        localities.setdefault(endpoint.locality, []).append(endpoint)
    return messages.message("envoy.config.endpoint.v3.ClusterLoadAssignment")(
        cluster_name=cluster,
        endpoints=[
            {
                "locality": locality(name),
                "lb_endpoints": [_lb_endpoint(endpoint, named) for endpoint in members],
                "load_balancing_weight": {"value": sum(weight(member) for member in members)},
            }
            for name, members in localities.items()
        ],
    )


def weight(endpoint: Endpoint) -> int:
    """At least 1: Envoy refuses 0, and Istio reads it as not said."""
    return max(1, endpoint.weight)


def locality(name: str) -> dict[str, str]:
    """`REGION/ZONE/SUBZONE` in its parts."""
    parts = [*name.split("/"), "", ""][:3]
    return {
        key: part for key, part in zip(("region", "zone", "sub_zone"), parts, strict=True) if part
    }


def address(endpoint: Endpoint) -> dict[str, Any]:
    """Envoy's Address: an IP or a name with a port, or the path of a Unix socket."""
    if endpoint.address.startswith(UNIX):
        return {"pipe": {"path": endpoint.address.removeprefix(UNIX)}}
    return {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}}


def _lb_endpoint(endpoint: Endpoint, named: bool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "endpoint": {"address": address(endpoint)},
        "health_status": "HEALTHY",
        "load_balancing_weight": {"value": weight(endpoint)},
    }
    if named and endpoint.workload:
        made["metadata"] = {"filter_metadata": {"istio": struct({"workload": _workload(endpoint)})}}
    return made


def _workload(endpoint: Endpoint) -> str:
    """Istio's `name;namespace;app;version;cluster`, from which metrics name the other side."""
    namespace, _, name = endpoint.workload.partition("/")
    labels = dict(endpoint.labels)
    app, version = app_name(labels, name), app_version(labels)
    return ";".join((name, namespace, app, version, CLUSTER_ID))


def app_name(labels: Mapping[str, str], workload: str) -> str:
    """What metrics call the application: the first label that says it, else the workload's name."""
    names = ("app", "service.istio.io/canonical-name", "app.kubernetes.io/name")
    return next((labels[name] for name in names if labels.get(name)), workload)


def app_version(labels: Mapping[str, str]) -> str:
    """What metrics call its version; `latest` is Istio's word where nothing says one."""
    names = ("version", "service.istio.io/canonical-revision", "app.kubernetes.io/version")
    return next((labels[name] for name in names if labels.get(name)), "latest")
