"""Who is there: a name that others call, its ports and its endpoints."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Resolution(enum.Enum):
    """How the endpoints of a service are found (Istio, ServiceEntry.Resolution)."""

    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a service. `protocol` is what `port_protocol` says: `thrift`, `tcp`."""

    number: int
    name: str
    protocol: str
    target_port: int
    unsafe: str = ""
    """Why requests must be refused: a security setting whose behaviour is not there."""
    http2: bool = False
    """Whether HTTP proxies speak HTTP/2 to it, and not HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that serves a port of a service."""

    address: str
    port: int
    labels: tuple[tuple[str, str], ...] = ()
    weight: int = 1
    locality: str = ""
    workload: str = ""
    """`NAMESPACE/NAME` of the workload behind it, where that is known."""
    priority: int = 0
    """In its cluster: asked where no endpoint of a lower number is healthy."""
    lane: str = ""
    """In a lane's cluster, of an instance that is not the lane's: whose it is, another lane's or
    that of `BASELINE`."""
    ready: bool = True
    """False: who runs it says that it cannot be called. Callers are not told of it."""


@dataclass(frozen=True, slots=True)
class Service:
    """A `Service` or one host of a `ServiceEntry`; `hostname` is fully qualified, in lower case."""

    hostname: str
    namespace: str
    name: str
    ports: tuple[ServicePort, ...]
    resolution: Resolution = Resolution.STATIC
    addresses: tuple[str, ...] = ()
    export_to: tuple[str, ...] = ()
    """Namespaces that see it; empty or `*`: all; `.`: its own."""
    endpoints: tuple[tuple[int, tuple[Endpoint, ...]], ...] = ()
    """Per port number."""
    external: bool = False
    """A ServiceEntry: called by its hosts as they are, not by a Kubernetes name."""
    outside: bool = False
    """Not a part of the mesh (`location: MESH_EXTERNAL`): what is of the mesh alone ends here."""
    interface: str = ""
    """The Dubbo interface that it stands for, as its annotation says; "" where it says none."""

    def visible_from(self, namespace: str) -> bool:
        """Whether `exportTo` lets a caller in `namespace` see it."""
        return visible(self.export_to, self.namespace, namespace)


def visible(export_to: tuple[str, ...], own: str, caller: str) -> bool:
    """Istio's exportTo: empty and `*` mean all, `.` the object's own namespace, `~` none."""
    if not export_to or "*" in export_to:
        return True
    return caller in export_to or ("." in export_to and caller == own)
