"""Lanes at a gateway: the rules of its own decide which requests go where, and a request with a
mark goes to the lane's instances there.

Unlike in the mesh a lane's route keeps all that the route of the gateway says: its match, its
rewrite, its timeout. Where a service stands at the edge is not the lane's matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from meltemi.lanes.compile import owners
from meltemi.lanes.routes import (
    HEADER,
    lanes_at,
    marked,
    open_lanes,
    subset_name,
    to_baseline,
)
from meltemi.model import (
    HttpDestination,
    HttpMatch,
    HttpRoute,
    Lane,
    LaneGroup,
    Service,
    VirtualService,
)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Those that a host has."""

    group: LaneGroup
    lanes: tuple[Lane, ...]


def lanes_of(groups: Sequence[LaneGroup], services: Mapping[str, Service]) -> dict[str, Lanes]:
    """By host. A host that is none of `services` has no lanes."""
    return {
        host: Lanes(owner.group, lanes_at(owner.group, owner.service, services[host]))
        for host, owner in owners(groups).items()
        if host in services
    }


def at_gateway(rule: VirtualService, lanes: Mapping[str, Lanes]) -> VirtualService:
    """`rule` with a route for each lane of the hosts that it leads to, before the one there is."""
    if not lanes:
        return rule
    return replace(
        rule, routes=tuple(each for route in rule.routes for each in _routes(route, lanes))
    )


def _routes(route: HttpRoute, lanes: Mapping[str, Lanes]) -> Iterator[HttpRoute]:
    hosts = [
        host
        for host in dict.fromkeys(to.destination.host for to in route.destinations)
        if host in lanes
    ]
    # Without a choice between subsets the lane's own cluster falls back to what the route says, and
    # spans know what was asked for.
    chooses = any(to.destination.subset for to in route.destinations)
    base = route
    for host in hosts:
        base = to_baseline(base, host)
    groups = {(each.namespace, each.name): each for each in (lanes[host].group for host in hosts)}
    for group in groups.values():
        theirs = [host for host in hosts if lanes[host].group is group]
        for lane in open_lanes(group):
            at = {host for host in theirs if not chooses or lane in lanes[host].lanes}
            if at:
                yield _in_lane(base, group, lane, at)
    yield base


def _in_lane(base: HttpRoute, group: LaneGroup, lane: Lane, hosts: set[str]) -> HttpRoute:
    mark = (HEADER, marked(group, lane))
    matches = base.matches or (HttpMatch(),)
    name = ".".join(part for part in (base.name, subset_name(lane.name)) if part)
    return replace(
        base,
        name=name,
        lane=lane.name,
        matches=tuple(replace(each, headers=(*each.headers, mark)) for each in matches),
        destinations=tuple(_destinations(base.destinations, lane, hosts)),
    )


def _destinations(
    given: Sequence[HttpDestination], lane: Lane, hosts: set[str]
) -> Iterator[HttpDestination]:
    """Shares between subsets of one host do not hold in a lane: together they go there."""
    found: dict[tuple[str, str, int | None], HttpDestination] = {}
    for to in given:
        target = to.destination
        if target.host in hosts:
            target = replace(target, subset=subset_name(lane.name))
        key = (target.host, target.subset, target.port)
        known = found.get(key)
        weight = to.weight + (known.weight if known else 0)
        found[key] = replace(known or to, destination=target, weight=weight)
    yield from found.values()
