"""Lanes that are valid one by one and wrong together: nobody enters, nobody serves, two claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import combinations

from meltemi.config import Issue, Object
from meltemi.config.load import of_kind
from meltemi.lanes.compile import owners
from meltemi.model import Lane, LaneEntry, LaneGroup, Mesh


def check(
    objects: Sequence[Object], mesh: Mesh, pods: Sequence[tuple[str, Mapping[str, str]]]
) -> Iterator[Issue]:
    """All findings. `pods` are namespaces and labels of what runs besides the mesh's workloads."""
    groups = {(group.namespace, group.name): group for group in mesh.lane_groups}
    lanes = {(item.ref.namespace, item.ref.name): item for item in of_kind(objects, "Lane")}
    for item in lanes.values():
        if (item.ref.namespace, item.spec.group) not in groups:
            yield item.issue(
                ("spec", "group"), "warning", "unknown-group",
                f"there is no LaneGroup {item.ref.namespace}/{item.spec.group}: "
                "the lane has no effect",
                "a lane and its group are in one namespace",
            )  # fmt: skip
    for item in of_kind(objects, "LaneGroup"):
        group = groups[item.ref.namespace, item.ref.name]
        of_group = {lane.name: lanes[group.namespace, lane.name] for lane in group.lanes}
        yield from _group(item, group, mesh)
        yield from _entries(group, of_group)
        yield from _instances(group, of_group, mesh, pods)


def _group(item: Object, group: LaneGroup, mesh: Mesh) -> Iterator[Issue]:
    owned = owners(mesh.lane_groups)
    for number, service in enumerate(group.services):
        place = ("spec", "services", number, "host")
        owner = owned[service.host].group
        if service.host not in mesh.services:
            yield item.issue(
                place, "warning", "unknown-host",
                f"there is no service {service.host}: its lanes have no effect",
                "name a service of the mesh",
            )  # fmt: skip
        elif owner is not group:
            yield item.issue(
                place, "warning", "host-taken",
                f"LaneGroup {owner.namespace}/{owner.name} has {service.host} already: "
                "here it has no effect",
                "a service is in one group; the lowest namespace/name wins",
            )  # fmt: skip
    known = {lane.name for lane in group.lanes}
    chains = [(("spec", "fallback"), group.fallback)] + [
        (("spec", "services", number, "fallback"), service.fallback or ())
        for number, service in enumerate(group.services)
    ]
    for path, chain in chains:
        for number, name in enumerate(chain):
            if name not in known:
                yield item.issue(
                    (*path, number), "warning", "unknown-lane",
                    f"the group has no Lane {name}: it is passed over",
                    f"its lanes: {', '.join(sorted(known))}" if known else "it has no lanes",
                )  # fmt: skip


def _entries(group: LaneGroup, objects: Mapping[str, Object]) -> Iterator[Issue]:
    open_lanes = [lane for lane in group.lanes if lane.enabled]
    for lane in open_lanes:
        if not any(_lets_in(entry) for entry in lane.entries):
            why = "lets in 0 percent" if lane.entries else "has no entry"
            yield objects[lane.name].issue(
                ("spec", "entry") if lane.entries else ("spec",),
                "warning", "lane-without-entry",
                f"no request gets into lane {lane.name}: it {why}",
                "entry: [headers: {uid: {exact: ...}}], unless callers set the mark themselves",
            )  # fmt: skip
    for first, second in combinations(open_lanes, 2):
        if first.priority == second.priority:
            yield from _both(objects, first, second)


def _both(objects: Mapping[str, Object], first: Lane, second: Lane) -> Iterator[Issue]:
    for number, entry in enumerate(second.entries):
        if any(_overlap(entry, other) for other in first.entries):
            yield objects[second.name].issue(
                ("spec", "entry", number), "warning", "lanes-conflict",
                f"lane {first.name} claims requests of this entry too, with the same priority: "
                f"they go to {min(first.name, second.name)}",
                "give one of them a higher priority",
            )  # fmt: skip


def _lets_in(entry: LaneEntry) -> bool:
    return entry.share is None or entry.share.percent > 0


def _overlap(left: LaneEntry, right: LaneEntry) -> bool:
    """Whether what fulfils all of one's conditions fulfils the other's. Shares overlap: all of them
    begin with the same keys."""
    ours, theirs = _conditions(left), _conditions(right)
    return _lets_in(left) and _lets_in(right) and (ours <= theirs or theirs <= ours)


def _conditions(entry: LaneEntry) -> frozenset[tuple[str, object]]:
    found: set[tuple[str, object]] = set()
    for field in fields(entry):
        value = getattr(entry, field.name)
        if field.name in ("headers", "cookies", "query_params"):
            found.update((field.name, each) for each in value)
        elif field.name != "share" and value:
            found.add((field.name, value))
    return frozenset(found)


def _instances(
    group: LaneGroup,
    objects: Mapping[str, Object],
    mesh: Mesh,
    pods: Iterable[tuple[str, Mapping[str, str]]],
) -> Iterator[Issue]:
    services = [mesh.services[each.host] for each in group.services if each.host in mesh.services]
    if not services:
        return
    behind = [set(each.labels) for of in services for _, some in of.endpoints for each in some]
    near = {service.namespace for service in services}
    behind += [set(labels.items()) for namespace, labels in pods if namespace in near]
    for lane in group.lanes:
        if lane.enabled and not any(labels.issuperset(lane.labels) for labels in behind):
            wanted = ", ".join(f"{key}: {value}" for key, value in lane.labels)
            yield objects[lane.name].issue(
                ("spec", "labels") if objects[lane.name].spec.labels else ("spec",),
                "warning", "lane-without-instances",
                f"no service of group {group.name} has an instance with {{{wanted}}}",
                "give a workload these labels",
            )  # fmt: skip
