"""Whose marks count, by caller, and where marks end.

Inside the mesh a mark is a hint, not an identity: a group's `marksFrom` says which workloads may
set it. Who is no workload of the mesh is a stranger, whose marks count where the group's
`edge.trustedSources` has its address."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from meltemi.lanes.carriers import plain_key
from meltemi.model import LaneGroup, Service, Workload

NOBODY: Final[frozenset[str]] = frozenset()
MOST_CALLERS: Final = 4096
"""Whose answer is remembered."""


class MarkRule(NamedTuple):
    """Whose marks with `key` count. Where several are about a key, all of them have to hold."""

    key: str
    any_workload: bool
    workloads: tuple[str, ...]
    """`NAMESPACE/NAME`, where it is not any, in order."""
    networks: tuple[str, ...]
    """Of strangers."""


def may_mark(group: LaneGroup, workload: Workload) -> bool:
    """Whether the marks of its requests count."""
    if not group.marks_from:
        return True
    labels = set(workload.labels)
    return any(
        each.namespace in (None, workload.namespace) and labels.issuperset(each.labels)
        for each in group.marks_from
    )


class AddressRule(NamedTuple):
    """Whose marks with `key` count with a server that has no sidecar: by addresses."""

    key: str
    allowed: frozenset[str]
    """Of workloads."""
    others: frozenset[str]
    """Of workloads that may not, whatever network they are in; only where there are networks."""
    networks: tuple[str, ...]
    """Of strangers."""


def address_rule(group: LaneGroup, workloads: Sequence[Workload]) -> AddressRule | None:
    """None where the group does not limit who may mark."""
    if not group.marks_from:
        return None
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for workload in workloads:
        found[may_mark(group, workload)].update(each.address for each in workload.instances)
    others = frozenset(found[False]) if group.trusted_sources else NOBODY
    return AddressRule(group.baggage_key, frozenset(found[True]), others, group.trusted_sources)


class Callers:
    """Rules by address, ready to be asked. For any thread."""

    def __init__(self, rules: Sequence[AddressRule] = ()) -> None:
        self._rules = [
            (plain_key(rule.key), rule, [ipaddress.ip_network(each) for each in rule.networks])
            for rule in rules
        ]
        self._known: dict[str, frozenset[str]] = {}

    def denied(self, address: str) -> frozenset[str]:
        """The keys that the caller may not mark with, as `plain_key` gives them; mostly none."""
        if not self._rules:
            return NOBODY
        found = self._known.get(address)
        if found is None:
            found = frozenset(self._denied(address))
            if len(self._known) < MOST_CALLERS:
                self._known[address] = found
        return found

    def _denied(self, address: str) -> Iterator[str]:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            ip = None
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip
        plain = str(ip)
        for key, rule, networks in self._rules:
            if plain in rule.allowed:
                continue
            trusted = ip is not None and any(ip in network for network in networks)
            if plain in rule.others or not trusted:
                yield key


def mark_rules(groups: Iterable[LaneGroup], workloads: Sequence[Workload]) -> tuple[MarkRule, ...]:
    """For whoever serves requests: one a group, those that are equal once."""
    rules = (
        MarkRule(
            group.baggage_key,
            not group.marks_from,
            tuple(
                sorted(
                    f"{workload.namespace}/{workload.name}"
                    for workload in (workloads if group.marks_from else ())
                    if may_mark(group, workload)
                )
            ),
            group.trusted_sources,
        )
        for group in groups
    )
    return tuple(dict.fromkeys(rules))


def denied_keys(groups: Iterable[LaneGroup], workload: Workload) -> tuple[str, ...]:
    """The keys that requests of the workload itself may not have for a mark, in order."""
    return tuple(sorted({g.baggage_key for g in groups if not may_mark(g, workload)}))


def ending_keys(groups: Iterable[LaneGroup], service: Service) -> tuple[str, ...]:
    """The keys whose marks end at a service, in order: all, where it is outside of the mesh, but
    those of groups that it is a part of."""
    if not service.outside:
        return ()
    own = {
        group.baggage_key
        for group in groups
        if any(each.host == service.hostname for each in group.services)
    }
    return tuple(sorted({group.baggage_key for group in groups} - own))
