"""For which hosts two meshes differ: all that a view of the first has to be built again for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meltemi.model import DestinationRule, Mesh, MetaRouter
from meltemi.model.edited import edited


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
    hosts.update(_others(before.destination_rules, after.destination_rules))
    if any(host.startswith("*") for host in hosts):
        return None
    hosts.update(_others(before.meta_routers, after.meta_routers))
    return frozenset(hosts)


def _others(
    before: Sequence[DestinationRule | MetaRouter], after: Sequence[DestinationRule | MetaRouter]
) -> Iterator[str]:
    """Hosts of the rules that only one of the two has."""
    left, right = edited(before, after)
    former = {id(rule): rule for rule in before[left]}
    for rule in after[right]:
        if former.pop(id(rule), None) is None:
            yield rule.host
    for rule in former.values():
        yield rule.host
