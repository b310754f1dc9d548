"""Lanes at a gateway: the rules of its own decide which requests go where, and a request with a
mark goes to the lane's instances there.

Unlike in the mesh a lane's route keeps all that the route of the gateway says: its match, its
rewrite, its timeout. Where a service stands at the edge is not the lane's matter."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from meltemi.lanes.compile import Owner, owners
from meltemi.lanes.routes import HEADER, marked, open_lanes, subset_name, to_baseline
from meltemi.model import (
    HttpDestination,
    HttpMatch,
    HttpRoute,
    Lane,
    LaneGroup,
    VirtualService,
)


def at_gateway(
    rule: VirtualService, groups: Sequence[LaneGroup], services: Collection[str]
) -> VirtualService:
    """`rule` with a route for each lane of the hosts that it leads to, before the route there is.

    A host that is none of `services` has no lanes."""
    by_host = {host: owner for host, owner in owners(groups).items() if host in services}
    if not by_host:
        return rule
    return replace(
        rule, routes=tuple(each for route in rule.routes for each in _routes(route, by_host))
    )


def _routes(route: HttpRoute, by_host: dict[str, Owner]) -> Iterator[HttpRoute]:
    hosts = dict.fromkeys(to.destination.host for to in route.destinations)
    groups = {
        (by_host[host].group.namespace, by_host[host].group.name): by_host[host].group
        for host in hosts
        if host in by_host
    }
    base = route
    for host in hosts:
        if host in by_host:
            base = to_baseline(base, host)
    for group in groups.values():
        theirs = {host for host, owner in by_host.items() if owner.group is group}
        for lane in open_lanes(group):
            yield _in_lane(base, group, lane, theirs)
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
