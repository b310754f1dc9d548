"""Local rate limits as Aeraki writes them into a listener (plugin/metaprotocol/filters.go)."""

from __future__ import annotations

from typing import Any, Final

from meltemi.model import LimitCondition, LocalRateLimit, StringMatch, TokenBucket
from meltemi.translate.routes import matcher
from meltemi.xds import messages

LOCAL_RATE_LIMIT_FILTER: Final = "aeraki.meta_protocol.filters.local_ratelimit"
LOCAL_RATE_LIMIT: Final = (
    "aeraki.meta_protocol_proxy.filters.local_ratelimit.v1alpha.LocalRateLimit"
)
INTERFACE: Final = "interface"
"""The attribute of a Dubbo request."""


def network_filter(hostname: str, limit: LocalRateLimit) -> dict[str, Any]:
    """The `meta_protocol_filter` of a service's limit, as JSON."""
    config = {"@type": messages.TYPE_PREFIX + LOCAL_RATE_LIMIT, **configuration(hostname, limit)}
    return {"name": LOCAL_RATE_LIMIT_FILTER, "config": config}


def configuration(hostname: str, limit: LocalRateLimit) -> dict[str, Any]:
    """MetaProtocol Proxy's LocalRateLimit as JSON; its counters are named after the host."""
    made: dict[str, Any] = {"stat_prefix": hostname}
    if limit.bucket is not None:
        made["token_bucket"] = _bucket(limit.bucket)
    if limit.conditions:
        made["conditions"] = [_condition(condition) for condition in limit.conditions]
    return made


def of_interface(limit: LocalRateLimit, interface: str) -> LocalRateLimit:
    """The limit for requests of one Dubbo interface, where a port serves several services."""
    only = (INTERFACE, StringMatch("exact", interface))
    conditions = [
        LimitCondition((only, *condition.match), condition.bucket) for condition in limit.conditions
    ]
    if limit.bucket is not None:
        conditions.append(LimitCondition((only,), limit.bucket))
    return LocalRateLimit(tuple(conditions), None, limit.inbound, limit.outbound)


def _condition(condition: LimitCondition) -> dict[str, Any]:
    metadata = [matcher(name, wanted) for name, wanted in condition.match]
    return {
        "match": {"metadata": metadata} if metadata else {},
        "token_bucket": _bucket(condition.bucket),
    }


def _bucket(bucket: TokenBucket) -> dict[str, Any]:
    return {
        "max_tokens": bucket.max_tokens,
        "tokens_per_fill": bucket.tokens_per_fill,
        "fill_interval": _duration(bucket.fill_interval_ns),
    }


def _duration(nanoseconds: int) -> str:
    """As in protobuf's JSON: `60s`, `0.020s`."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    if not rest:
        return f"{seconds}s"
    for digits in (3, 6, 9):
        step = 10 ** (9 - digits)
        if rest % step == 0:
            break
    return f"{seconds}.{rest // step:0{digits}d}s"
