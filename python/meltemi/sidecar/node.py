"""Which node a sidecar is: Istio's node id, and what the metrics call its workload."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

CLUSTER = "Kubernetes"  # Istio's name of the only cluster: one mesh is one cluster


class BadNode(ValueError):
    """A `--node` that is neither a full id nor POD.NAMESPACE."""


@dataclass(frozen=True, slots=True)
class SidecarNode:
    """`id` is `sidecar~ADDRESS~POD.NAMESPACE~NAMESPACE.svc.cluster.local`."""

    id: str
    address: str
    pod: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    cluster: str = CLUSTER

    @property
    def workload(self) -> str:
        """The pod's name without its ordinal."""
        name, _, ordinal = self.pod.rpartition("-")
        return name if name and ordinal.isdigit() else self.pod

    def metadata(self) -> dict[str, object]:
        """Of the xDS node: what kind of client this is, in Istio's words where it has them."""
        return {
            "MELTEMI_CLIENT": "sidecar",
            "NAME": self.pod,
            "NAMESPACE": self.namespace,
            "WORKLOAD_NAME": self.workload,
            "CLUSTER_ID": self.cluster,
            "INSTANCE_IPS": self.address,
            "LABELS": dict(self.labels),
        }

    def metric_labels(self) -> dict[str, str]:
        """What the engine writes beside its numbers. Istio's own fallbacks: the `app` label, else
        its canonical name, else the workload; the version is `latest` where nothing says one."""
        name = "service.istio.io/canonical-name"
        revision = "service.istio.io/canonical-revision"
        return {
            "workload": self.workload,
            "namespace": self.namespace,
            "app": self.labels.get("app") or self.labels.get(name) or self.workload,
            "version": self.labels.get("version") or self.labels.get(revision) or "latest",
            "cluster": self.cluster,
        }


def parse_node(
    text: str, address: str | None, labels: Mapping[str, str] | None = None
) -> SidecarNode:
    """A full id, or `POD.NAMESPACE` of the instance at `address`. Raises BadNode."""
    labels = labels or {}
    if "~" in text:
        parts = text.split("~")
        if len(parts) != 4 or not all(parts):
            raise BadNode(
                f"{text!r} is not a node id: that is "
                "sidecar~INSTANCE_IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local"
            )
        address, place = _address(parts[1]), parts[2]
        full = text
    else:
        address, place = _address(address or ""), text
        full = f"sidecar~{address}~{place}~{place.partition('.')[2]}.svc.cluster.local"
    pod, _, namespace = place.partition(".")
    if not pod or not namespace:
        raise BadNode(f"{place!r} is not POD.NAMESPACE")
    return SidecarNode(full, address, pod, namespace, labels)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise BadNode(f"{text!r} is not an IP address") from error
