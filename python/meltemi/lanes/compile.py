"""Lane groups to routes and subsets, beside the rules that people wrote themselves.

Every caller's host of a group gets: a route for each lane (its mark, to the lane's subset), before
the routes that there are; these hold for the baseline, and where they name no subset they lead to
the baseline's. Clients of any kind follow the same: who reads a VirtualService, and sidecars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from meltemi.lanes import routes, subsets
from meltemi.lanes.routes import name_of, subset_name
from meltemi.model import (
    DestinationRule,
    Lane,
    LaneGroup,
    LaneService,
    MetaRouter,
    Service,
    VirtualService,
)

__all__ = ["Rules", "owners", "subset_name", "with_lanes"]


class Rules(NamedTuple):
    """Each in the order of (namespace, name)."""

    destination_rules: tuple[DestinationRule, ...]
    virtual_services: tuple[VirtualService, ...]
    meta_routers: tuple[MetaRouter, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose lanes a host has."""

    group: LaneGroup
    service: LaneService


def owners(groups: Iterable[LaneGroup]) -> dict[str, Owner]:
    """By host. Of two groups with a host the first one has it, by `namespace/name`."""
    found: dict[str, Owner] = {}
    for group in sorted(groups, key=lambda each: (each.namespace, each.name)):
        for service in group.services:
            found.setdefault(service.host, Owner(group, service))
    return found


def with_lanes(groups: Iterable[LaneGroup], services: Mapping[str, Service], rules: Rules) -> Rules:
    """`rules` with those that the groups stand for. A host that is no service has none."""
    destination_rules = list(rules.destination_rules)
    virtual_services = list(rules.virtual_services)
    routers = list(rules.meta_routers)
    for host, owner in owners(groups).items():
        service = services.get(host)
        if service is not None:
            destination_rules = _with_subsets(destination_rules, owner, service)
            virtual_services = _with_http_routes(virtual_services, owner, service)
            routers = _with_meta_routes(routers, owner, service)
    return Rules(
        tuple(sorted(destination_rules, key=_place)),
        tuple(sorted(virtual_services, key=_place)),
        tuple(sorted(routers, key=_place)),
    )


def _place(rule: DestinationRule | VirtualService | MetaRouter) -> tuple[str, str]:
    return rule.namespace, rule.name


def _for_all(export_to: tuple[str, ...]) -> bool:
    return not export_to or "*" in export_to


def _wild(host: str, pattern: str) -> bool:
    return pattern.startswith("*") and host.endswith(pattern[1:])


def _with_subsets(
    rules: list[DestinationRule], owner: Owner, service: Service
) -> list[DestinationRule]:
    """In each namespace the rule that its callers follow: an exact one, else a copy of the
    narrowest wildcard; in the service's own, where there is none for all, a new one."""
    host = service.hostname
    made = [
        replace(rule, subsets=subsets.added(rule, owner.group, owner.service))
        if rule.host == host
        else rule
        for rule in rules
    ]
    exact = {rule.namespace for rule in rules if rule.host == host and _for_all(rule.export_to)}
    wild = [rule for rule in rules if _wild(host, rule.host) and rule.namespace not in exact]
    for rule in sorted(wild, key=lambda each: -len(each.host)):
        if rule.namespace not in exact:
            if _for_all(rule.export_to):
                exact.add(rule.namespace)
            own = replace(rule, host=host, name=f"{rule.name}-{service.name}")
            made.append(replace(own, subsets=subsets.added(own, owner.group, owner.service)))
    if service.namespace not in exact:
        new = DestinationRule(service.namespace, name_of(owner.group, service), host)
        made.append(replace(new, subsets=subsets.added(new, owner.group, owner.service)))
    return made


def _with_http_routes(
    rules: list[VirtualService], owner: Owner, service: Service
) -> list[VirtualService]:
    host = service.hostname
    made: list[VirtualService] = []
    for_all = False
    for rule in rules:
        if host not in rule.hosts:
            made.append(rule)
            continue
        others = tuple(each for each in rule.hosts if each != host)
        if others:
            made.append(replace(rule, hosts=others))
        made.append(_virtual_service(rule, owner, service))
        for_all = for_all or _for_all(rule.export_to)
    if for_all:
        return made
    wild = [(each, rule) for rule in rules for each in rule.hosts if _wild(host, each)]
    for _, rule in sorted(wild, key=lambda found: -len(found[0])):
        made.append(_virtual_service(rule, owner, service))
        if _for_all(rule.export_to):
            return made
    new = VirtualService(service.namespace, name_of(owner.group, service), (host,), ())
    return [*made, _virtual_service(new, owner, service)]


def _virtual_service(rule: VirtualService, owner: Owner, service: Service) -> VirtualService:
    """For the host alone; without routes of its own it leads to the baseline."""
    host = service.hostname
    lanes = _lanes(owner, service, bool(rule.routes))
    own = tuple(routes.to_baseline(route, host) for route in rule.routes)
    own = own or (routes.http_baseline(host),)
    in_lanes = routes.http_lanes(owner.group, lanes, host, rule.routes)
    return replace(rule, hosts=(host,), routes=(*in_lanes, *own))


def _lanes(owner: Owner, service: Service, has_routes: bool) -> Sequence[Lane]:
    """Routes that people wrote decide where a lane without instances goes; where there are none,
    its own cluster does, which is counted as the lane's."""
    if has_routes:
        return routes.lanes_at(owner.group, owner.service, service)
    return routes.open_lanes(owner.group)


def _with_meta_routes(
    routers: list[MetaRouter], owner: Owner, service: Service
) -> list[MetaRouter]:
    host = service.hostname
    made = [
        _meta_router(router, owner, service) if router.host == host else router
        for router in routers
    ]
    if any(router.host == host and _for_all(router.export_to) for router in routers):
        return made
    new = MetaRouter(service.namespace, name_of(owner.group, service), host, ())
    return [*made, _meta_router(new, owner, service)]


def _meta_router(router: MetaRouter, owner: Owner, service: Service) -> MetaRouter:
    host = service.hostname
    lanes = _lanes(owner, service, bool(router.routes))
    own = tuple(routes.meta_to_baseline(route, host) for route in router.routes)
    return replace(
        router,
        routes=(
            *routes.meta_lanes(owner.group, lanes, host),
            *(own or (routes.meta_baseline(host),)),
        ),
        lanes_only=not own,
    )
