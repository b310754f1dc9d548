"""Where requests go: the http routes of a VirtualService, for clients without a sidecar."""

from __future__ import annotations

from dataclasses import dataclass

from meltemi.model.match import StringMatch
from meltemi.model.route import Destination

Headers = tuple[tuple[str, str], ...]
"""Names in lower case, and values."""


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """All conditions hold together; names of headers are in lower case."""

    name: str = ""
    uri: StringMatch | None = None
    ignore_uri_case: bool = False
    """Of an exact and a prefix `uri` only, as in Istio."""
    method: StringMatch | None = None
    """The HTTP method."""
    headers: tuple[tuple[str, StringMatch], ...] = ()
    without_headers: tuple[tuple[str, StringMatch], ...] = ()
    """None of these may hold; a header that is not there counts as empty."""
    port: int | None = None
    """That is called."""
    source_labels: tuple[tuple[str, str], ...] = ()
    """Of the caller, sorted."""
    source_namespace: str = ""
    """Of the caller; "" is any."""
    unsupported: tuple[str, ...] = ()
    """Conditions that are not there yet: the match takes no request."""


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """What is done to the headers of one direction."""

    set: Headers = ()
    add: Headers = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpDestination:
    destination: Destination
    weight: int
    request: HeaderChanges = HeaderChanges()
    response: HeaderChanges = HeaderChanges()


@dataclass(frozen=True, slots=True)
class Retries:
    """`attempts` 0: none. `retry_on` empty: Istio's default conditions."""

    attempts: int
    retry_on: tuple[str, ...] = ()
    per_try_timeout_s: float | None = None
    backoff_s: float | None = None


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """`matches` are ORed; none of them matches every request."""

    name: str = ""
    matches: tuple[HttpMatch, ...] = ()
    destinations: tuple[HttpDestination, ...] = ()
    timeout_s: float | None = None
    retries: Retries | None = None
    """None: Istio's default."""
    request: HeaderChanges = HeaderChanges()
    response: HeaderChanges = HeaderChanges()
    refused: str = ""
    """Why its requests are answered with an error, or ""."""


@dataclass(frozen=True, slots=True)
class VirtualService:
    """`hosts` are fully qualified, or wildcards `*.x`; the routes are those of the mesh."""

    namespace: str
    name: str
    hosts: tuple[str, ...]
    routes: tuple[HttpRoute, ...]
    export_to: tuple[str, ...] = ()
