"""The routes of lanes: a mark to a subset, for clients that read a VirtualService and sidecars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from meltemi.lanes.mark import mark_pattern
from meltemi.model import (
    BASELINE,
    Destination,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    Lane,
    LaneGroup,
    LaneService,
    MetaRoute,
    Service,
    StringMatch,
    WeightedDestination,
    WorkloadSelector,
)

HEADER: Final = "baggage"
ATTRIBUTES: Final = (HEADER, "rpc_transit_baggage", "rpc_persist_baggage")
"""Where a request through a sidecar has its baggage: a header of THeader or an attachment of Dubbo,
and Kitex' metainfo in TTHeader. The first that has a mark decides."""

_ALL: Final = 100


def subset_name(lane: str) -> str:
    """Of a lane, or of `BASELINE`."""
    return f"lane-{lane}"


def name_of(group: LaneGroup, service: Service) -> str:
    """Of the rules for a service that has none of its own."""
    return f"lanes-{group.name}-{service.name}"


def open_lanes(group: LaneGroup) -> list[Lane]:
    """Those whose mark counts, in the order in which it does."""
    lanes = (lane for lane in group.lanes if lane.enabled)
    return sorted(lanes, key=lambda lane: (-lane.priority, lane.name))


def lanes_at(group: LaneGroup, at: LaneService, service: Service) -> tuple[Lane, ...]:
    """The open lanes that are not the baseline at a service: strict ones, and those that have an
    instance there or fall back to a lane that has. Of a service without any endpoint, as where
    none is known, all of them."""
    instances = {endpoint.labels for _, endpoints in service.endpoints for endpoint in endpoints}
    lanes = open_lanes(group)
    having = {
        lane.name
        for lane in lanes
        if not instances or any(set(lane.labels) <= set(labels) for labels in instances)
    }
    reachable = having.intersection(group.fallback_of(at))
    return tuple(
        lane
        for lane in lanes
        if lane.name in having or reachable or group.mode_of(lane, at) == "strict"
    )


def marked(group: LaneGroup, lane: Lane) -> StringMatch:
    return StringMatch("regex", mark_pattern(group.baggage_key, lane.name))


def http_lanes(
    group: LaneGroup, lanes: Iterable[Lane], host: str, own: Sequence[HttpRoute]
) -> tuple[HttpRoute, ...]:
    """What the route of `own` that takes every request says of time, retries and headers holds in
    a lane too."""
    said = next((each for each in own if not each.matches), HttpRoute())
    return tuple(
        HttpRoute(
            name=subset_name(lane.name),
            matches=tuple(_by(group, lane)),
            destinations=_http(host, lane.name),
            timeout_s=said.timeout_s,
            retries=said.retries,
            request=said.request,
            response=said.response,
        )
        for lane in lanes
    )


def _by(group: LaneGroup, lane: Lane) -> Iterator[HttpMatch]:
    """Requests of the callers whose marks count."""
    headers = ((HEADER, marked(group, lane)),)
    for who in group.marks_from or (WorkloadSelector(),):
        yield HttpMatch(
            headers=headers, source_labels=who.labels, source_namespace=who.namespace or ""
        )


def http_baseline(host: str) -> HttpRoute:
    return HttpRoute(name=subset_name(BASELINE), destinations=_http(host, BASELINE))


def _http(host: str, lane: str) -> tuple[HttpDestination, ...]:
    return (HttpDestination(Destination(host, subset_name(lane)), _ALL),)


def to_baseline(route: HttpRoute, host: str) -> HttpRoute:
    """Where it leads to the whole host, to its baseline instead."""
    return replace(
        route,
        destinations=tuple(
            replace(to, destination=_narrowed(to.destination, host)) for to in route.destinations
        ),
    )


def meta_lanes(group: LaneGroup, lanes: Sequence[Lane], host: str) -> tuple[MetaRoute, ...]:
    return tuple(
        MetaRoute(
            name=subset_name(lane.name),
            match=((attribute, marked(group, lane)),),
            destinations=_meta(host, lane.name),
        )
        for attribute in ATTRIBUTES
        for lane in lanes
    )


def meta_baseline(host: str) -> MetaRoute:
    return MetaRoute(subset_name(BASELINE), (), _meta(host, BASELINE))


def _meta(host: str, lane: str) -> tuple[WeightedDestination, ...]:
    return (WeightedDestination(Destination(host, subset_name(lane)), _ALL),)


def meta_to_baseline(route: MetaRoute, host: str) -> MetaRoute:
    """As `to_baseline`."""
    return replace(
        route,
        destinations=tuple(
            replace(to, destination=_narrowed(to.destination, host)) for to in route.destinations
        ),
    )


def _narrowed(to: Destination, host: str) -> Destination:
    if to.host != host or to.subset:
        return to
    return replace(to, subset=subset_name(BASELINE))
