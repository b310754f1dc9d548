"""What is wrong with documents, one by one and together: `meltemi analyze`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from meltemi import config
from meltemi.analysis import gateways, lanes, pods, together, unreachable
from meltemi.config import Issue, Loaded, Source, references
from meltemi.config.load import of_kind
from meltemi.model import Mesh
from meltemi.model.addresses import Addresses

_SAID_BETTER = frozenset(
    ("unknown-subset", "unknown-gateway", "host-taken", "unreachable-route", "unreachable-match")
)
"""Codes of single checks: what is said of a place with all documents at hand takes their place."""


def analyze(sources: Iterable[Source], namespace: str = "default") -> tuple[list[Issue], Loaded]:
    """All issues in the order of files and lines, and what was read."""
    read = list(sources)
    loaded = config.load(read, namespace)
    mesh, issues = config.build(loaded.objects, Addresses())
    found = list(_together(loaded, mesh, pods.pods(read, namespace)))
    places = {(each.file, each.line, each.column) for each in found}
    alone = [
        each
        for each in (*loaded.issues, *issues, *references.check(loaded.objects, mesh))
        if each.code not in _SAID_BETTER or (each.file, each.line, each.column) not in places
    ]
    every = dict.fromkeys((*alone, *found))
    return sorted(every, key=lambda each: (each.file, each.line, each.column, each.code)), loaded


def _together(
    loaded: Loaded, mesh: Mesh, kubernetes: Sequence[tuple[str, pods.Labels]]
) -> Iterator[Issue]:
    objects = loaded.objects
    yield from together.conflicting_hosts(objects)
    yield from together.meta_router_wins(objects, mesh)
    yield from together.destinations(objects, mesh)
    yield from together.destination_rules(objects, mesh, kubernetes)
    yield from together.service_entries(objects)
    yield from gateways.check(objects, mesh, kubernetes)
    yield from lanes.check(objects, mesh, kubernetes)
    for item in of_kind(objects, "VirtualService"):
        yield from unreachable.of_virtual_service(item, item.spec)
    for item in of_kind(objects, "MetaRouter"):
        yield from unreachable.of_meta_router(item, item.spec)
