"""Endpoints: who serves a port of a service, as Envoy's ClusterLoadAssignment."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from meltemi.model import Endpoint, Selection, Subset
from meltemi.translate.structs import struct
from meltemi.xds import messages

CLUSTER_ID: Final = "Kubernetes"
"""Istio's name of the one cluster there is; labels of metrics carry it."""

UNIX: Final = "unix://"

LANE: Final = "lane"
"""In the metadata `meltemi` of an endpoint of a lane's cluster: whose instance it is, where it is
not the lane's own."""

WHOLE_PRIORITY: Final = 100_000
"""The overprovisioning factor of a lane, in percent: as long as one endpoint of a thousand is
healthy a priority takes all requests, and none is lost to the next one as Envoy's 140 would."""


def selected(endpoints: Iterable[Endpoint], subset: Subset) -> Iterator[Endpoint]:
    """The endpoints of a subset that can be called. Of a lane each in its first tier, tiers without
    any left out: priorities have no gaps."""
    left = [each for each in endpoints if each.ready]
    priority = 0
    for tier in subset.tiers or (Selection(subset.labels),):
        members: list[Endpoint] = []
        others: list[Endpoint] = []
        for endpoint in left:
            (members if _is_of(endpoint, tier) else others).append(endpoint)
        for each in members:
            is_own = not priority and not tier.lane
            yield each if is_own else replace(each, priority=priority, lane=tier.lane)
        left, priority = others, priority + bool(members)


def _is_of(endpoint: Endpoint, selection: Selection) -> bool:
    carried = set(endpoint.labels)
    return carried.issuperset(selection.labels) and not any(
        carried.issuperset(labels) for labels in selection.without
    )


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
    localities: dict[tuple[int, str], list[Endpoint]] = {}
    for endpoint in endpoints:
        localities.setdefault((endpoint.priority, endpoint.locality), []).append(endpoint)
    spread: dict[str, Any] = {}
    if any(priority for priority, _ in localities):
        spread["policy"] = {"overprovisioning_factor": {"value": WHOLE_PRIORITY}}
    return messages.message("envoy.config.endpoint.v3.ClusterLoadAssignment")(
        cluster_name=cluster,
        endpoints=[
            {
                "locality": locality(name),
                "priority": priority,
                "lb_endpoints": [_lb_endpoint(endpoint, named) for endpoint in members],
                "load_balancing_weight": {"value": sum(weight(member) for member in members)},
            }
            for (priority, name), members in localities.items()
        ],
        **spread,
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
    if named and (metadata := dict(_metadata(endpoint))):
        made["metadata"] = {"filter_metadata": metadata}
    return made


def _metadata(endpoint: Endpoint) -> Iterator[tuple[str, Any]]:
    if endpoint.workload:
        yield "istio", struct({"workload": _workload(endpoint)})
    if endpoint.lane:
        yield "meltemi", struct({LANE: endpoint.lane})


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
