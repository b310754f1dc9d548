"""What differs between two mappings of resources: looked for once, for all streams that ask.

Mappings of the source never change in place, so that a pair of them is known by identity. Used by
`server_delta`; an edit of one resource then costs a stream that one name, not a walk over all."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping
from typing import Any, Final

from meltemi.xds.resource import Resource
from meltemi.xds.server_state import version_of_set

REMEMBERED: Final = 64
"""Pairs, and versions: those of the views of a few meshes. The oldest are forgotten."""

View = Mapping[str, Resource]


class Differences:
    """For all streams of one server; holds on to the mappings that it was asked about last."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, int], tuple[View, View, frozenset[str]]] = {}
        self._versions: dict[int, tuple[View, str]] = {}

    def names(self, before: View, after: View) -> frozenset[str]:
        """Names that are in one of them only, or whose resource is another version."""
        key = (id(before), id(after))
        known = self._names.get(key)
        if known is None:
            _make_room(self._names)
            known = self._names[key] = (before, after, frozenset(_differing(before, after)))
        return known[2]

    def version(self, view: View) -> str:
        """The version of all resources of the mapping together."""
        known = self._versions.get(id(view))
        if known is None:
            _make_room(self._versions)
            known = self._versions[id(view)] = (view, version_of_set(view.values()))
        return known[1]


def _differing(before: View, after: View) -> set[str]:
    if len(before) == len(after) and all(map(operator.eq, before, after)):
        # The names of an edit are those before it, in their order: no look-up for each.
        changed = map(operator.is_not, before.values(), after.values())
        each = zip(after, before.values(), after.values(), strict=True)
        pairs = itertools.compress(each, changed)
        return {name for name, former, now in pairs if former.version != now.version}
    found = before.keys() ^ after.keys()
    for name, resource in after.items():
        former = before.get(name)
        if former is not resource and former is not None and former.version != resource.version:
            found.add(name)
    return found


def _make_room(remembered: dict[Any, Any]) -> None:
    if len(remembered) >= REMEMBERED:
        del remembered[next(iter(remembered))]
