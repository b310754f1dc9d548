"""Lanes: instances of an application's services that belong together, and who gets to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from meltemi.model.match import StringMatch

Labels = tuple[tuple[str, str], ...]
Mode = Literal["permissive", "strict"]

BUCKETS: Final = 100
"""Of the keys of a share: one of N percent holds N of them."""
BASELINE = "baseline"
"""What is in no lane; no lane has this name."""


@dataclass(frozen=True, slots=True)
class Share:
    """A percentage of requests. The same key is always in it, and in every larger one."""

    percent: int
    by: Literal["request", "header", "cookie", "baggage", "source-address"] = "request"
    """`request`: each by chance."""
    name: str = ""
    """Of the header (in lower case), the cookie or the member of baggage."""


@dataclass(frozen=True, slots=True)
class LaneEntry:
    """Which requests get the mark at the edge: all conditions hold together."""

    headers: tuple[tuple[str, StringMatch], ...] = ()
    """Names in lower case."""
    cookies: tuple[tuple[str, StringMatch], ...] = ()
    query_params: tuple[tuple[str, StringMatch], ...] = ()
    uri: StringMatch | None = None
    method: StringMatch | None = None
    source_addresses: tuple[str, ...] = ()
    """Networks, one of which the caller is in."""
    share: Share | None = None
    """None: all of them."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A request is in the lane when a member of its baggage is the group's key with this name."""

    name: str
    labels: Labels
    """Of its instances."""
    enabled: bool = True
    """Off: its mark means nothing, and its instances get no request."""
    priority: int = 0
    """Of a request with the marks of two lanes the higher one decides."""
    mode: Mode | None = None
    """None: the group's."""
    entries: tuple[LaneEntry, ...] = ()
    """Each lets in requests of its own."""


@dataclass(frozen=True, slots=True)
class LaneService:
    """`host` is fully qualified. What is None is as the group says."""

    host: str
    mode: Mode | None = None
    fallback: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class WorkloadSelector:
    """Workloads of `namespace` (None: of any) that have all of `labels`."""

    namespace: str | None = None
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class LaneGroup:
    """Lanes through the same services. `lanes` by name."""

    namespace: str
    name: str
    services: tuple[LaneService, ...]
    baggage_key: str
    lanes: tuple[Lane, ...] = ()
    baseline: Labels = ()
    """Of the instances that are in no lane; empty: those that carry the labels of none."""
    mode: Mode = "permissive"
    fallback: tuple[str, ...] = ()
    """Lanes that are asked before the baseline, where a lane has no healthy instance."""
    trusted_sources: tuple[str, ...] = ()
    """Networks whose callers keep their marks at the edge; everybody else's are taken away."""
    marks_from: tuple[WorkloadSelector, ...] = ()
    """Workloads inside the mesh whose requests' marks count; empty: all."""

    def mode_of(self, lane: Lane, service: LaneService) -> Mode:
        """The service's own exception, else the lane's, else the group's."""
        return service.mode or lane.mode or self.mode

    def fallback_of(self, service: LaneService) -> tuple[str, ...]:
        return self.fallback if service.fallback is None else service.fallback
