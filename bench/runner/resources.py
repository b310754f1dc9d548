"""The xDS resources that our engine is measured with: what the control plane would send."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meltemi.xds import messages

FILTER = "envoy.filters.network.meta_protocol_proxy"
ROUTER = "aeraki.meta_protocol.filters.router"
LIMIT = "aeraki.meta_protocol.filters.local_ratelimit"
LIMIT_TYPE = (
    "type.googleapis.com/aeraki.meta_protocol_proxy.filters.local_ratelimit.v1alpha.LocalRateLimit"
)
ENOUGH = 1_000_000_000
"""Tokens: more than any load takes in a second."""
ROUTES = "bench.default.svc.cluster.local_9090"
"""The name of the route table."""


def listener(
    port: int,
    *,
    address: str = "127.0.0.1",
    routes: str = ROUTES,
    protocol: str = "thrift",
    filters: Sequence[Mapping[str, Any]] = (),
) -> tuple[str, bytes]:
    """An outbound listener of a protocol whose routes arrive as the table `routes`; `filters` stand
    before the router."""
    name = f"{address}_{port}"
    source = {"ads": {}, "resource_api_version": "V3"}
    proxy = messages.typed_struct(
        messages.META_PROTOCOL_PROXY,
        {
            "stat_prefix": f"outbound|{port}||bench",
            "application_protocol": protocol,
            "rds": {"config_source": source, "route_config_name": routes},
            "codec": {"name": f"aeraki.meta_protocol.codec.{protocol}"},
            "meta_protocol_filters": [*filters, {"name": ROUTER}],
        },
    )
    made = messages.message("envoy.config.listener.v3.Listener")(
        name=name,
        address={"socket_address": {"address": address, "port_value": port}},
        traffic_direction="OUTBOUND",
        filter_chains=[{"filters": [{"name": FILTER, "typed_config": messages.pack(proxy)}]}],
    )
    return name, messages.serialize(made)


def local_limit(method: str = "sayHello") -> dict[str, Any]:
    """The filter of a local rate limit with a condition that calls of `method` meet, and a bucket
    that never runs empty."""
    bucket = {"max_tokens": ENOUGH, "tokens_per_fill": ENOUGH, "fill_interval": "1s"}
    condition = {
        "match": {"metadata": [{"name": "method", "exact_match": method}]},
        "token_bucket": bucket,
    }
    config = {"@type": LIMIT_TYPE, "stat_prefix": "bench", "conditions": [condition]}
    return {"name": LIMIT, "config": config}


def table(routes: Iterable[Mapping[str, Any]], *, name: str = ROUTES) -> tuple[str, bytes]:
    """A route table of `route`s."""
    made = messages.message("envoy.config.route.v3.RouteConfiguration")(
        name=name,
        virtual_hosts=[{"name": "dummy", "domains": ["*"], "routes": list(routes)}],
    )
    return name, messages.serialize(made)


def route(name: str, clusters: Mapping[str, int], *, method: str | None = None) -> dict[str, Any]:
    """A route to clusters by weight, of one method or of all."""
    match: dict[str, Any] = {"prefix": "/"}
    if method is not None:
        match["headers"] = [{"name": "method", "exact_match": method}]
    weighted = {
        "clusters": [{"name": c, "weight": {"value": w}} for c, w in clusters.items()],
        "total_weight": {"value": sum(clusters.values())},
    }
    return {"name": name, "match": match, "route": {"weighted_clusters": weighted}}


def cluster(name: str, *, in_flight: int = 0) -> tuple[str, bytes]:
    """A cluster whose endpoints arrive by EDS; `in_flight`: requests of one upstream connection at
    once (0: what the codec says, a connection a request for Thrift)."""
    made = messages.message("envoy.config.cluster.v3.Cluster")(
        name=name,
        type="EDS",
        eds_cluster_config={"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        connect_timeout={"seconds": 1},
        lb_policy="ROUND_ROBIN",
    )
    if in_flight:
        options = messages.message("meltemi.v1alpha1.UpstreamOptions")(
            max_in_flight_per_connection=in_flight
        )
        made.typed_extension_protocol_options["meltemi.upstream"].CopyFrom(messages.pack(options))
    return name, messages.serialize(made)


def endpoints(name: str, ports: Sequence[int], *, address: str = "127.0.0.1") -> tuple[str, bytes]:
    """The endpoints of a cluster: loopback ports."""
    found = [
        {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
        for port in ports
    ]
    made = messages.message("envoy.config.endpoint.v3.ClusterLoadAssignment")(
        cluster_name=name, endpoints=[{"lb_endpoints": found}]
    )
    return name, messages.serialize(made)
