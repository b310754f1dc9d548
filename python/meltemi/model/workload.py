"""What runs: the processes of a mesh and their addresses."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class MeshMode(enum.Enum):
    """How a workload takes part in the mesh."""

    SIDECAR = "sidecar"
    PROXYLESS = "proxyless"
    GATEWAY = "gateway"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class WorkloadPort:
    name: str
    port: int
    host_port: int | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One replica: a process, or an endpoint that somebody else runs."""

    ordinal: int
    address: str
    """INSTANCE_IP, the advertised address."""
    host: str
    """HOST: where the application itself listens; `address` where no sidecar stands before it."""
    service_addresses: tuple[tuple[str, str], ...] = ()
    """With a sidecar: (hostname of a service, this replica's own virtual IP for it)."""


@dataclass(frozen=True, slots=True)
class Workload:
    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    ports: tuple[WorkloadPort, ...] = ()
    mode: MeshMode = MeshMode.SIDECAR
    instances: tuple[Instance, ...] = ()

    def pod(self, instance: Instance) -> str:
        """The replica's name: `NAME-ORDINAL`."""
        return f"{self.name}-{instance.ordinal}"

    def node_id(self, instance: Instance) -> str:
        """Istio's node id of the replica's proxy: `sidecar~IP~POD.NS~NS.svc.cluster.local`, and of
        a gateway `router~…`."""
        pod, namespace = self.pod(instance), self.namespace
        kind = "router" if self.mode is MeshMode.GATEWAY else "sidecar"
        return f"{kind}~{instance.address}~{pod}.{namespace}~{namespace}.svc.cluster.local"
