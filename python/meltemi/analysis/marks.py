"""What `explain` says of marks of lanes: those that do not count, and those that end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from meltemi.analysis.places import Replica
from meltemi.lanes.callers import denied_keys, ending_keys
from meltemi.lanes.carriers import carries, folded, plain_key, without
from meltemi.model import Mesh, Service


def counting(
    mesh: Mesh, callers: list[Replica], attributes: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The attributes without marks that the caller may not set, and what is to be said of that."""
    denied = denied_keys(mesh.lane_groups, callers[0].workload) if callers else ()
    left = dict(_unmarked(attributes, denied)) if denied else dict(attributes)
    if left == attributes:
        return left, []
    workload = callers[0].workload
    keys = ", ".join(denied)
    who = f"{workload.name}.{workload.namespace}"
    return left, [f"marks of lanes ({keys}) do not count from {who}: marksFrom does not have it"]


def ending(mesh: Mesh, service: Service, attributes: Mapping[str, str]) -> list[str]:
    """That marks of the request end at the service."""
    keys = ending_keys(mesh.lane_groups, service)
    if dict(_unmarked(attributes, keys)) == attributes:
        return []
    return [f"marks of lanes ({', '.join(keys)}) end here: the host is outside of the mesh"]


def _unmarked(attributes: Mapping[str, str], keys: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    plain = {plain_key(key) for key in keys}
    for name, value in attributes.items():
        carried = carries(name)
        if carried == "":
            left = without(value, plain)
            if left is not None:
                yield name, left
        elif carried is None or carried not in map(folded, plain):
            yield name, value
