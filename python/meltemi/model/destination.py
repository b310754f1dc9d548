"""How a host is called once a route chose it: subsets and traffic policies."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class LoadBalancer(enum.Enum):
    """`loadBalancer.simple` of a DestinationRule; Istio's default is LEAST_REQUEST."""

    LEAST_REQUEST = "LEAST_REQUEST"
    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"


@dataclass(frozen=True, slots=True)
class ConsistentHash:
    """`loadBalancer.consistentHash` of a DestinationRule: what of a request decides who serves it.

    Neither `attribute` nor `source_ip`: nothing does, and requests are spread by chance."""

    attribute: str = ""
    """`httpHeaderName`: any attribute of a request, by its name without case."""
    source_ip: bool = False
    minimum_ring_size: int | None = None
    """None: Envoy's own default."""
    table_size: int | None = None
    """Of Maglev, which is used instead of a ring where this is set; a prime."""


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """`connectionPool.tcp` of a DestinationRule, and its annotation for `max_in_flight`."""

    max_connections: int | None = None
    connect_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    max_in_flight: int | None = None
    """Requests that one connection may carry at once; None: what the codec says (Thrift: 1)."""


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """What of `trafficPolicy` takes effect. None: not said here, the wider policy holds."""

    load_balancer: LoadBalancer | ConsistentHash | None = None
    connection_pool: ConnectionPool | None = None
    unsafe: str | None = None
    """Why requests must be refused rather than sent: a security setting without its behaviour.
    "": said here, and plain (`tls: {mode: DISABLE}`), which overrides a wider policy's reason."""


@dataclass(frozen=True, slots=True)
class Subset:
    """Endpoints of a host that carry all `labels`."""

    name: str
    labels: tuple[tuple[str, str], ...]
    policy: TrafficPolicy = TrafficPolicy()
    port_policies: tuple[tuple[int, TrafficPolicy], ...] = ()


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """`host` is fully qualified (or a wildcard `*.x`)."""

    namespace: str
    name: str
    host: str
    policy: TrafficPolicy = TrafficPolicy()
    port_policies: tuple[tuple[int, TrafficPolicy], ...] = ()
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
