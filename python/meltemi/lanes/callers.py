"""Whose marks count, by caller, and where marks end.

Inside the mesh a mark is a hint, not an identity: a group's `marksFrom` says which workloads may
set it. Who is no workload of the mesh is a stranger, whose marks count where the group's
`edge.trustedSources` has its address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from meltemi.model import LaneGroup, Service, Workload


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
