"""Listeners as Kitex reads a sidecar's: one a service and port, found by the service's address, and
`virtualInbound` with what a server may be asked.

It takes from a listener the name of the routes alone, so there is nothing else in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from meltemi.model import LocalRateLimit, TokenBucket
from meltemi.translate import names
from meltemi.translate.listeners import InboundPort
from meltemi.translate.structs import struct
from meltemi.translate.thrift_proxy import THRIFT_FILTER
from meltemi.xds import messages

HTTP_FILTER: Final = "envoy.filters.network.http_connection_manager"
LOCAL_RATE_LIMIT_FILTER: Final = "envoy.filters.http.local_ratelimit"
LOCAL_RATE_LIMIT: Final = (
    messages.TYPE_PREFIX + "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
)
VIRTUAL_INBOUND: Final = "virtualInbound"
INBOUND_PORT: Final = 15006
"""Istio's."""

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_SECOND_NS = 1_000_000_000


def outbound(hostname: str, port: int, address: str, by_method: list[dict[str, Any]]) -> Any:
    """The listener `ADDRESS_PORT`; `by_method` are routes that Kitex tries before the others."""
    manager = messages.message(_MANAGER)(
        rds={
            "config_source": {"ads": {}, "resource_api_version": "V3"},
            "route_config_name": names.kitex_route(hostname, port),
        }
    )
    return messages.message("envoy.config.listener.v3.Listener")(
        name=names.listener(address, port),
        address={"socket_address": {"address": address, "port_value": port}},
        filter_chains=[{"filters": [*_thrift(by_method), _filter(manager)]}],
    )


def _thrift(routes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not routes:
        return []
    proxy = messages.message("envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy")(
        route_config={"routes": routes}
    )
    return [{"name": THRIFT_FILTER, "typed_config": messages.pack(proxy)}]


def is_limited(ports: Iterable[InboundPort]) -> bool:
    """Whether there is a `virtualInbound`. Without it Kitex limits nothing."""
    return any(port.limits for port in ports)


def inbound(ports: tuple[InboundPort, ...], address: str) -> Any:
    """`virtualInbound`: one filter chain for each port that has a limit."""
    chains, left_out = [], []
    for port in ports:
        limit, lacking = _limit(port)
        left_out += [f"localRateLimit of port {port.port}: {reason}" for reason in lacking]
        if limit is not None:
            chains.append(_chain(port.port, limit))
    more = {"filter_metadata": {"meltemi": struct({"left_out": left_out})}} if left_out else {}
    return messages.message("envoy.config.listener.v3.Listener")(
        name=VIRTUAL_INBOUND,
        address={"socket_address": {"address": address, "port_value": INBOUND_PORT}},
        filter_chains=chains,
        metadata=more,
    )


def _chain(port: int, tokens: int) -> dict[str, Any]:
    """Kitex takes the first filter's tokens as requests a second."""
    value = {
        "token_bucket": {
            "max_tokens": tokens,
            "tokens_per_fill": tokens,
            "fill_interval": "1s",
        }
    }
    limit = messages.pack(messages.typed_struct(LOCAL_RATE_LIMIT, value))
    name = names.inbound(port)
    route = {"match": {"prefix": "/"}, "route": {"cluster": name}}
    manager = messages.message(_MANAGER)(
        route_config={
            "name": name,
            "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}],
        },
        http_filters=[{"name": LOCAL_RATE_LIMIT_FILTER, "typed_config": limit}],
    )
    return {
        "filter_chain_match": {"destination_port": {"value": port}},
        "filters": [_filter(manager)],
    }


def _limit(port: InboundPort) -> tuple[int | None, list[str]]:
    """Requests a second, and what of the limits Kitex cannot keep."""
    lacking = []
    found = []
    for hostname, limit in port.limits:
        if limit.conditions:
            lacking.append(f"Kitex tests no conditions ({hostname})")
        rate = _per_second(limit)
        if rate is not None:
            found.append(rate)
    return (min(found) if found else None), lacking


def _per_second(limit: LocalRateLimit) -> int | None:
    bucket: TokenBucket | None = limit.bucket
    if bucket is None:
        return None
    # At least 1: Kitex takes 0 for no limit.
    return max(1, bucket.tokens_per_fill * _SECOND_NS // bucket.fill_interval_ns)


def _filter(manager: Any) -> dict[str, Any]:
    return {"name": HTTP_FILTER, "typed_config": messages.pack(manager)}
