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
    """`connectionPool` of a DestinationRule, and its annotation for `max_in_flight`.

    What is None has no limit."""

    max_connections: int | None = None
    connect_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    max_in_flight: int | None = None
    """Requests that one connection may carry at once; None: what the codec says (Thrift: 1)."""
    max_pending_requests: int | None = None
    """`http.http1MaxPendingRequests`: requests that wait for a connection."""
    max_requests: int | None = None
    """`http.http2MaxRequests`: requests in flight."""
    max_retries: int | None = None
    """`http.maxRetries`: requests that are being tried again."""


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """`outlierDetection` of a DestinationRule. None: Envoy's own default."""

    consecutive_5xx: int | None = None
    """0: never."""
    consecutive_gateway_errors: int | None = None
    """0: never."""
    split_local_origin: bool = False
    """Failures to reach an endpoint are counted apart from those that it answers."""
    consecutive_local_origin_failures: int | None = None
    """Where they are counted apart."""
    interval_s: float | None = None
    base_ejection_time_s: float | None = None
    max_ejection_percent: int | None = None
    min_health_percent: int = 0
    """With fewer healthy endpoints, requests go to all of them; Istio's 0: never."""


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """`retryBudget` of a DestinationRule: requests tried again at once, by how many there are."""

    percent: float = 20.0
    min_retry_concurrency: int = 3
    """So many always."""


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """What of `trafficPolicy` takes effect. None: not said here, the wider policy holds."""

    load_balancer: LoadBalancer | ConsistentHash | None = None
    connection_pool: ConnectionPool | None = None
    unsafe: str | None = None
    """Why requests must be refused rather than sent: a security setting without its behaviour.
    "": said here, and plain (`tls: {mode: DISABLE}`), which overrides a wider policy's reason."""
    outlier_detection: OutlierDetection | None = None
    retry_budget: RetryBudget | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Endpoints that carry all `labels`, and of each of `without` not all."""

    labels: tuple[tuple[str, str], ...]
    without: tuple[tuple[tuple[str, str], ...], ...] = ()
    lane: str = ""
    """Whose instances these are, for metrics: a lane's name or `BASELINE`; "": nobody asks."""


@dataclass(frozen=True, slots=True)
class Subset:
    """Endpoints of a host that carry all `labels`."""

    name: str
    labels: tuple[tuple[str, str], ...]
    policy: TrafficPolicy = TrafficPolicy()
    port_policies: tuple[tuple[int, TrafficPolicy], ...] = ()
    tiers: tuple[Selection, ...] = ()
    """Of a lane, instead of `labels`: each is asked where those before have no healthy endpoint."""


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
