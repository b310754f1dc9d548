"""Where requests go: the http routes of a VirtualService, for clients without a sidecar and for
gateways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    gateways: tuple[str, ...] = ()
    """`NAMESPACE/NAME` of those that it is for; empty: all of its VirtualService."""
    scheme: StringMatch | None = None
    """This and the next two are of gateways only; elsewhere they are `unsupported`."""
    authority: StringMatch | None = None
    query_params: tuple[tuple[str, StringMatch], ...] = ()


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
class Redirect:
    """`code` as Istio takes it: 301, 302, 303, 307 or 308. What is "" or None stays as it was."""

    code: int = 301
    uri: str = ""
    prefix_rewrite: str = ""
    authority: str = ""
    scheme: str = ""
    port: int | Literal["request"] | None = None
    """None: the scheme's own; `request`: that of the gateway's server."""


@dataclass(frozen=True, slots=True)
class DirectResponse:
    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What is "" stays as it was. `regex`: an expression, and what takes its place."""

    uri: str = ""
    authority: str = ""
    regex: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Shares in millionths of the requests; 0: none."""

    delay_s: float = 0
    delay_share: int = 0
    abort_status: int | None = None
    abort_grpc_status: int | None = None
    abort_share: int = 0


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where a copy of a share of the requests goes, in millionths; answers are thrown away."""

    destination: Destination
    share: int


@dataclass(frozen=True, slots=True)
class Cors:
    """Which pages of other origins may call; lists of what they may send and see."""

    origins: tuple[StringMatch, ...]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age_s: float | None = None
    credentials: bool | None = None
    forwards_preflights: bool = True
    """Of origins that may not call: to the destination, which answers them."""


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """`matches` are ORed; none of them matches every request. What follows `refused` is there for
    gateways only."""

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
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite | None = None
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    lane: str = ""
    """Whose requests it is for."""


@dataclass(frozen=True, slots=True)
class VirtualService:
    """`hosts` are fully qualified, or wildcards `*.x`; the routes are those of the mesh, or where
    it names `gateways` those of gateways."""

    namespace: str
    name: str
    hosts: tuple[str, ...]
    routes: tuple[HttpRoute, ...]
    export_to: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    """`NAMESPACE/NAME` of each."""
