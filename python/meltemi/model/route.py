"""Where requests go: the rules of a MetaRouter."""

from __future__ import annotations

from dataclasses import dataclass

from meltemi.model.limit import LocalRateLimit
from meltemi.model.match import StringMatch

Mutation = tuple[tuple[str, str | None], ...]
"""Changes of attributes: name, and the value that it gets; None takes the attribute out."""


@dataclass(frozen=True, slots=True)
class Destination:
    """`host` as a fully qualified name; `port` None means the port that was called."""

    host: str
    subset: str = ""
    port: int | None = None


@dataclass(frozen=True, slots=True)
class WeightedDestination:
    destination: Destination
    weight: int


@dataclass(frozen=True, slots=True)
class MetaRoute:
    """Attributes are ANDed; names are in lower case; no attribute matches every request."""

    name: str
    match: tuple[tuple[str, StringMatch], ...]
    destinations: tuple[WeightedDestination, ...]
    request_mutation: Mutation = ()
    response_mutation: Mutation = ()


@dataclass(frozen=True, slots=True)
class MetaRouter:
    namespace: str
    name: str
    host: str
    routes: tuple[MetaRoute, ...]
    export_to: tuple[str, ...] = ()
    local_rate_limit: LocalRateLimit | None = None
    lanes_only: bool = False
    """No MetaRouter of the operators' routes the host: clients that read VirtualServices do."""
