"""`DestinationRule` of networking.istio.io.

Source: istio/api networking/v1alpha3/destination_rule.proto and its CRD."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from meltemi.config.schema.types import (
    AnyDuration,
    Duration,
    DurationOrZero,
    Int32,
    Labels,
    NotYet,
    Percent,
    Port,
    Schema,
    UInt32,
    UInt64,
    not_yet,
)

Simple = Literal[
    "UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"
]
_DONE = (None, "UNSPECIFIED", "LEAST_CONN", "RANDOM", "ROUND_ROBIN", "LEAST_REQUEST")
NonNegative = Annotated[Int32, Field(ge=0)]


class PortSelector(Schema):
    number: UInt32 | None = None


class CookieAttribute(Schema):
    name: str
    value: str | None = None


class HttpCookie(Schema):
    name: str
    path: str | None = None
    ttl: AnyDuration | None = None
    attributes: list[CookieAttribute] | None = None


class RingHash(Schema):
    minimum_ring_size: UInt64 | None = None


class MagLev(Schema):
    table_size: UInt64 | None = None


class ConsistentHash(Schema):
    http_header_name: str | None = None
    http_cookie: Annotated[HttpCookie | None, not_yet] = None
    use_source_ip: bool | None = None
    http_query_parameter_name: Annotated[str | None, not_yet] = None
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: UInt64 | None = None


class Distribute(Schema):
    from_: Annotated[str | None, Field(alias="from")] = None
    to: dict[str, UInt32] | None = None


class Failover(Schema):
    from_: Annotated[str | None, Field(alias="from")] = None
    to: str | None = None


class LocalityLbSetting(Schema):
    distribute: list[Distribute] | None = None
    failover: list[Failover] | None = None
    failover_priority: list[str] | None = None
    enabled: bool | None = None


class ZoneAwareLbSetting(Schema):
    enabled: bool | None = None
    failover: list[Failover] | None = None
    failover_priority: list[str] | None = None
    min_cluster_size: UInt64 | None = None


class Warmup(Schema):
    duration: Duration
    minimum_percent: Annotated[float | None, Field(ge=0, le=100)] = None
    aggression: Annotated[float | None, Field(ge=1)] = None


class LoadBalancerSettings(Schema):
    simple: Annotated[Simple | None, NotYet(but=_DONE)] = None
    consistent_hash: ConsistentHash | None = None
    locality_lb_setting: Annotated[LocalityLbSetting | None, not_yet] = None
    zone_aware_lb_setting: Annotated[ZoneAwareLbSetting | None, not_yet] = None
    warmup_duration_secs: Annotated[Duration | None, not_yet] = None
    warmup: Annotated[Warmup | None, not_yet] = None


class TcpKeepalive(Schema):
    probes: UInt32 | None = None
    time: Duration | None = None
    interval: Duration | None = None


class TcpSettings(Schema):
    max_connections: NonNegative | None = None
    connect_timeout: Duration | None = None
    tcp_keepalive: Annotated[TcpKeepalive | None, not_yet] = None
    max_connection_duration: Annotated[Duration | None, not_yet] = None
    idle_timeout: DurationOrZero | None = None


class Http2KeepAlive(Schema):
    interval: Duration
    timeout: Duration


class HttpSettings(Schema):
    http1_max_pending_requests: NonNegative | None = None
    http2_max_requests: NonNegative | None = None
    max_requests_per_connection: Annotated[NonNegative | None, not_yet] = None
    max_retries: NonNegative | None = None
    idle_timeout: Annotated[Duration | None, not_yet] = None
    h2_upgrade_policy: Annotated[
        Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] | None,
        NotYet(but=(None, "DEFAULT", "DO_NOT_UPGRADE")),
    ] = None
    use_client_protocol: Annotated[bool | None, not_yet] = None
    max_concurrent_streams: Annotated[NonNegative | None, not_yet] = None
    http2_keep_alive: Annotated[Http2KeepAlive | None, not_yet] = None


class ConnectionPool(Schema):
    tcp: TcpSettings | None = None
    http: HttpSettings | None = None


class OutlierDetection(Schema):
    consecutive_errors: Int32 | None = None
    split_external_local_origin_errors: bool | None = None
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: Annotated[UInt32 | None, Field(alias="consecutive5xxErrors")] = None
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Percent | None = None
    min_health_percent: Percent | None = None


class ClientTls(Schema):
    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] | None = None
    client_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None
    credential_name: str | None = None
    subject_alt_names: list[str] | None = None
    sni: str | None = None
    insecure_skip_verify: bool | None = None
    ca_crl: str | None = None


class TlsNotYet(NotYet):
    """Never left out in silence: to a host that wants TLS nothing is sent in the clear."""

    def __init__(self) -> None:
        super().__init__(hint="requests to the host are answered with an error until it is")

    def asked(self, value: Any) -> bool:
        return isinstance(value, dict) and value.get("mode") not in (None, "DISABLE")


class SelectorNotYet(NotYet):
    """A rule of some workloads only must not hold for all."""

    def __init__(self) -> None:
        super().__init__(hint="the whole rule is left out, but for its tls")

    def asked(self, value: Any) -> bool:
        return isinstance(value, dict) and bool(value.get("matchLabels"))


class PolicySettings(Schema):
    """What a policy of all ports and that of one port have in common."""

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: Annotated[ClientTls | None, TlsNotYet()] = None


class PortTrafficPolicy(PolicySettings):
    port: PortSelector | None = None


class Tunnel(Schema):
    protocol: str | None = None
    target_host: str
    target_port: Port


class ProxyProtocol(Schema):
    version: Literal["V1", "V2"] | None = None


class RetryBudget(Schema):
    percent: Annotated[float | None, Field(ge=0, le=100)] = None
    min_retry_concurrency: UInt32 | None = None
    budget_interval: Annotated[AnyDuration | None, not_yet] = None


class TrafficPolicy(PolicySettings):
    port_level_settings: Annotated[list[PortTrafficPolicy] | None, Field(max_length=4096)] = None
    retry_budget: RetryBudget | None = None
    tunnel: Annotated[Tunnel | None, not_yet] = None
    proxy_protocol: Annotated[ProxyProtocol | None, not_yet] = None


class Subset(Schema):
    name: str
    labels: Labels | None = None
    traffic_policy: TrafficPolicy | None = None


class WorkloadSelector(Schema):
    match_labels: Annotated[Labels | None, Field(max_length=4096)] = None


class DestinationRuleSpec(Schema):
    host: str
    traffic_policy: TrafficPolicy | None = None
    subsets: list[Subset] | None = None
    export_to: list[str] | None = None
    workload_selector: Annotated[WorkloadSelector | None, SelectorNotYet()] = None
