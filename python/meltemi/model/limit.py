"""How many requests a service takes: the local rate limit of a MetaRouter."""

from __future__ import annotations

from dataclasses import dataclass

from meltemi.model.match import StringMatch


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Starts full; gets `tokens_per_fill` at the end of each interval, up to `max_tokens`."""

    max_tokens: int
    tokens_per_fill: int
    fill_interval_ns: int


@dataclass(frozen=True, slots=True)
class LimitCondition:
    """Attributes are ANDed; names are in lower case; no attribute matches every request."""

    match: tuple[tuple[str, StringMatch], ...]
    bucket: TokenBucket


@dataclass(frozen=True, slots=True)
class LocalRateLimit:
    """The first condition that matches decides, else `bucket`, else the request passes."""

    conditions: tuple[LimitCondition, ...]
    bucket: TokenBucket | None
    inbound: bool = True
    """The sidecars of the service's workloads enforce it, each for itself."""
    outbound: bool = False
    """The sidecars of its callers do, each for itself."""
