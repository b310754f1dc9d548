"""Clusters: how each port and subset of a service is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from meltemi.lanes.routes import subset_name
from meltemi.model import (
    BASELINE,
    ConnectionPool,
    ConsistentHash,
    DestinationRule,
    Endpoint,
    LoadBalancer,
    Resolution,
    Service,
    ServicePort,
    Subset,
    TrafficPolicy,
)
from meltemi.translate import endpoints, health, names, rules
from meltemi.translate.dialect import Dialect
from meltemi.translate.structs import duration, struct
from meltemi.xds import messages

CONNECT_TIMEOUT_S: Final = 10.0
"""Istio's default (mesh configuration, connectTimeout)."""

MAX_RING_SIZE: Final = 8 * 1024 * 1024
"""Envoy's own limit."""

HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

LANE_SUBSET: Final = subset_name("")
"""How the subsets of lanes begin."""

UPSTREAM_OPTIONS: Final = "meltemi.upstream"
REFUSE: Final = "refuse"
"""In the metadata `meltemi` of a cluster: why the engine answers each request with an error."""
UNMARKED: Final = "unmarked"
"""The same: keys of lanes' marks that requests lose there."""

EDS_SOURCE: Final[dict[str, Any]] = {
    "ads": {},
    "resource_api_version": "V3",
    "initial_fetch_timeout": {},
}
"""A timeout of 0, as Istio sends it: a cluster is not used before its endpoints are there."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Everything that one cluster and its endpoints are made from."""

    name: str
    hostname: str
    service: tuple[str, str]
    """Namespace and name."""
    port: int
    subset: str
    rule: tuple[str, str] | None
    """Namespace and name of the DestinationRule."""
    policy: TrafficPolicy
    dns: Resolution | None
    """Set when the addresses are names that the client has to resolve."""
    refuse: str
    """Why nothing may be sent there, or ""."""
    http2: bool = False
    """Whether HTTP proxies speak HTTP/2 to it."""
    unmarked: tuple[str, ...] = ()
    """Keys of lanes' marks that requests there do not have any more."""


def upstreams(
    service: Service,
    rule: DestinationRule | None,
    dialect: Dialect,
    unmarked: tuple[str, ...] = (),
) -> Iterator[tuple[Upstream, tuple[Endpoint, ...]]]:
    """Each port with each subset, and who serves it."""
    by_port = dict(service.endpoints)
    for port in service.ports:
        served_by = _served_by(service, port, by_port.get(port.number, ()))
        for subset in rules.subsets(rule).values():
            policy = rules.policy(rule, subset if subset.name else None, port.number)
            members = tuple(endpoints.selected(served_by, subset))
            if dialect in (Dialect.ENVOY, Dialect.SDK):
                members = tuple(_in_lane(members, subset, rule, dialect))
            if dialect is Dialect.KITEX:  # it asks the endpoints of all priorities alike
                members = tuple(each for each in members if not each.priority)
            dns, refuse = _reach(service, policy, served_by, dialect)
            refuse = port.unsafe or refuse
            upstream = Upstream(
                name=names.outbound(port.number, subset.name, service.hostname),
                hostname=service.hostname,
                service=(service.namespace, service.name),
                port=port.number,
                subset=subset.name,
                rule=(rule.namespace, rule.name) if rule else None,
                policy=policy,
                dns=dns,
                refuse=refuse,
                http2=port.http2 and dialect is Dialect.ENVOY,
                unmarked=unmarked,
            )
            yield upstream, () if refuse else members


def _in_lane(
    members: Iterable[Endpoint], subset: Subset, rule: DestinationRule | None, dialect: Dialect
) -> Iterator[Endpoint]:
    """Each with the lane that it is of, which spans say. A lane's own instances need it for Envoy
    alone, whose spans know an endpoint by its metadata; other clients know the cluster."""
    if subset.name.startswith(LANE_SUBSET):
        own = subset.name.removeprefix(LANE_SUBSET) if dialect is Dialect.ENVOY else ""
        for each in members:
            yield each if each.lane or not own else replace(each, lane=own)
        return
    lanes = [each for each in rule.subsets if each.name.startswith(LANE_SUBSET)] if rule else []
    for each in members:
        carried = set(each.labels)
        found = (lane for lane in lanes if lane.labels and carried.issuperset(lane.labels))
        name = next((lane.name.removeprefix(LANE_SUBSET) for lane in found), BASELINE)
        yield replace(each, lane=name) if lanes else each


def _served_by(
    service: Service, port: ServicePort, known: tuple[Endpoint, ...]
) -> tuple[Endpoint, ...]:
    """With resolution DNS and no endpoint, the host itself is the address (Istio, ServiceEntry)."""
    if not known and service.resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN):
        return (Endpoint(address=service.hostname, port=port.target_port),)
    return known


def _reach(
    service: Service, policy: TrafficPolicy, served_by: tuple[Endpoint, ...], dialect: Dialect
) -> tuple[Resolution | None, str]:
    if policy.unsafe:
        return None, policy.unsafe
    if service.resolution is Resolution.NONE:
        return None, f"{service.hostname} has resolution NONE, which is not there yet"
    for endpoint in served_by:
        if endpoints.is_ip(endpoint.address):
            continue
        if endpoint.address.startswith(endpoints.UNIX):
            if dialect.is_engine or dialect is Dialect.KITEX:
                return None, f"{endpoint.address} is a Unix socket, which is not there yet"
        elif dialect.is_engine or dialect is Dialect.GRPC:
            return None, f"{endpoint.address} is a name, and resolution DNS is not there yet"
        else:
            return service.resolution, ""
    return None, ""


def cluster(upstream: Upstream, members: tuple[Endpoint, ...], dialect: Dialect) -> Any:
    """Envoy's Cluster. Addresses come by EDS on the same stream, but names (`upstream.dns`)."""
    pool = upstream.policy.connection_pool or ConnectionPool()
    made = messages.message("envoy.config.cluster.v3.Cluster")(
        name=upstream.name,
        connect_timeout=duration(pool.connect_timeout_s or CONNECT_TIMEOUT_S),
        metadata={"filter_metadata": _metadata(upstream, dialect)},
        **_balancing(upstream.policy.load_balancer, dialect),
        **health.settings(upstream.policy, dialect),
    )
    if upstream.dns is None:
        made.type = made.EDS
        made.eds_cluster_config.service_name = upstream.name
        _assign(made.eds_cluster_config.eds_config, EDS_SOURCE)
    else:
        _resolve(made, upstream, members)
        if dialect is Dialect.KITEX:
            made.type = made.LOGICAL_DNS  # the one that it reads with names
    if dialect.is_engine:
        _engine_options(made, upstream, pool)
    if upstream.http2:
        options = messages.message(HTTP_OPTIONS)(
            explicit_http_config={"http2_protocol_options": {}}
        )
        made.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(messages.pack(options))
    return made


def application(port: int, address: str, hostname: str) -> Any:
    """The cluster of the application behind this sidecar, at HOST:port."""
    own = Endpoint(address=address, port=port)
    return messages.message("envoy.config.cluster.v3.Cluster")(
        name=names.inbound(port),
        type="STATIC",
        connect_timeout=duration(CONNECT_TIMEOUT_S),
        load_assignment=endpoints.load_assignment(names.inbound(port), [own]),
        metadata={"filter_metadata": {"istio": struct({"services": [{"host": hostname}]})}}
        if hostname
        else {},
    )


def _resolve(made: Any, upstream: Upstream, members: tuple[Endpoint, ...]) -> None:
    round_robin = upstream.dns is Resolution.DNS_ROUND_ROBIN and len(members) == 1
    made.type = made.LOGICAL_DNS if round_robin else made.STRICT_DNS
    made.load_assignment.CopyFrom(endpoints.load_assignment(upstream.name, members))


def _balancing(balancer: LoadBalancer | ConsistentHash | None, dialect: Dialect) -> dict[str, Any]:
    """Istio's default is LEAST_REQUEST. PASSTHROUGH needs the original destination, which a
    listener of its own does not have: it balances like the default."""
    if dialect is Dialect.GRPC:
        # Its client refuses a whole answer for a policy that it lacks.
        return {"lb_policy": "ROUND_ROBIN"}
    if isinstance(balancer, ConsistentHash):
        return _by_hash(balancer)
    if balancer is None or balancer is LoadBalancer.PASSTHROUGH:
        balancer = LoadBalancer.LEAST_REQUEST
    return {"lb_policy": balancer.value}


def _by_hash(balancer: ConsistentHash) -> dict[str, Any]:
    """As Istio writes it (ApplyRingHashLoadBalancer)."""
    if balancer.table_size is not None:
        size = {"table_size": {"value": balancer.table_size}}
        return {"lb_policy": "MAGLEV", "maglev_lb_config": size}
    if balancer.minimum_ring_size is None:
        return {"lb_policy": "RING_HASH"}
    size = {"minimum_ring_size": {"value": min(balancer.minimum_ring_size, MAX_RING_SIZE)}}
    return {"lb_policy": "RING_HASH", "ring_hash_lb_config": size}


def _engine_options(made: Any, upstream: Upstream, pool: ConnectionPool) -> None:
    """What only the engine understands."""
    if pool.idle_timeout_s or pool.max_in_flight:
        options = messages.message("meltemi.v1alpha1.UpstreamOptions")(
            max_in_flight_per_connection=pool.max_in_flight or 0
        )
        if pool.idle_timeout_s:
            options.idle_timeout.CopyFrom(duration(pool.idle_timeout_s))
        made.typed_extension_protocol_options[UPSTREAM_OPTIONS].CopyFrom(messages.pack(options))
    if upstream.policy.unsafe:
        tls = messages.message("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext")
        made.transport_socket.name = "envoy.transport_sockets.tls"
        made.transport_socket.typed_config.CopyFrom(messages.pack(tls(sni=upstream.hostname)))


def _metadata(upstream: Upstream, dialect: Dialect) -> dict[str, Any]:
    """As Istio writes it: the rule behind a cluster, its service and subset."""
    namespace, name = upstream.service
    istio: dict[str, Any] = {
        "default_original_port": upstream.port,
        "services": [{"host": upstream.hostname, "name": name, "namespace": namespace}],
    }
    if upstream.rule:
        kind = "/apis/networking.istio.io/v1/namespaces/{}/destination-rule/{}"
        istio["config"] = kind.format(*upstream.rule)
    if upstream.subset:
        istio["subset"] = upstream.subset
    made = {"istio": struct(istio)}
    own = {REFUSE: upstream.refuse, UNMARKED: list(upstream.unmarked)}
    if dialect.is_engine and any(own.values()):
        made["meltemi"] = struct({name: value for name, value in own.items() if value})
    if dialect is Dialect.ENVOY:
        made["meltemi"] = struct({"service": name})
    return made


def _assign(field: Any, value: dict[str, Any]) -> None:
    field.CopyFrom(type(field)(**value))
