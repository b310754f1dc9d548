"""For which hosts two meshes differ: all that a view of the first has to be built again for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meltemi.model import DestinationRule, Mesh, MetaRouter, VirtualService
from meltemi.model.edited import edited

_Rule = DestinationRule | MetaRouter | VirtualService


def affected(before: Mesh, after: Mesh) -> frozenset[str] | None:
    """Hostnames whose service, or a rule for it, is not the same object any more, whoever sees it.

    None where that may be any: a protocol or a wildcard rule changed."""
    if before.application_protocols != after.application_protocols:
        return None
    hosts: set[str] = set()
    if before.services is not after.services:
        hosts.update(before.services.keys() ^ after.services.keys())
        former = before.services
        hosts.update(name for name, now in after.services.items() if former.get(name) is not now)
    ruled = set(_others(before.destination_rules, after.destination_rules))
    if before.services is not after.services:
        ruled.update(before.services.keys() ^ after.services.keys())
    hosts.update(ruled)
    if before.lane_groups != after.lane_groups:  # where marks end
        hosts.update(name for name, service in after.services.items() if service.outside)
    hosts.update(_leading_to(hosts, after.virtual_services))
    hosts.update(_others(before.virtual_services, after.virtual_services))
    if any(host.startswith("*") for host in hosts):
        return None
    hosts.update(_others(before.meta_routers, after.meta_routers))
    if ruled:
        others = (router for router in after.meta_routers if router.host not in hosts)
        hosts.update([router.host for router in others if _leads_to(router, ruled)])
    return frozenset(hosts)


def _leads_to(router: MetaRouter, hosts: set[str]) -> bool:
    """A route says by what the clusters that it leads to balance."""
    return any(to.destination.host in hosts for route in router.routes for to in route.destinations)


def _others(before: Sequence[_Rule], after: Sequence[_Rule]) -> Iterator[str]:
    """Hosts of the rules that only one of the two has."""
    left, right = edited(before, after)
    former = {id(rule): rule for rule in before[left]}
    for rule in after[right]:
        if former.pop(id(rule), None) is None:
            yield from _hosts(rule)
    for rule in former.values():
        yield from _hosts(rule)


def _hosts(rule: _Rule) -> tuple[str, ...]:
    return rule.hosts if isinstance(rule, VirtualService) else (rule.host,)


def _leading_to(hosts: set[str], rules: Sequence[VirtualService]) -> set[str]:
    """Hosts of rules with a destination among `hosts`: its service says which port is meant."""
    return {
        host
        for rule in rules
        if hosts and any(to.destination.host in hosts for r in rule.routes for to in r.destinations)
        for host in rule.hosts
    }
