"""Builds and serializes resources, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from meltemi.translate.memo import Memo
from meltemi.xds import messages
from meltemi.xds.resource import Resource

Named = Mapping[str, Resource]


class Builder:
    """What was built for the last mesh and for this one."""

    def __init__(self, built: Counter[str] | None = None) -> None:
        self.memo = Memo()
        self.built: Counter[str] = Counter() if built is None else built
        """How many resources of each type were built and serialized since the start."""
        self._generation = 0
        self._scopes: dict[Hashable, Builder] = {}

    def next_generation(self) -> None:
        """Called once for each new mesh."""
        self._generation += 1
        self.memo.next_generation()

    def scope(self, key: Hashable) -> Builder:
        """A builder that forgets by itself: not with each mesh, but where it is used with a new
        one. What is asked for only after a change of one service must not be forgotten before."""
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = Builder(self.built)
        if scope._generation != self._generation:
            scope._generation = self._generation
            scope.memo.next_generation()
        return scope

    def keep_scopes(self, wanted: Callable[[Hashable], bool]) -> None:
        """Forgets those of other keys."""
        self._scopes = {key: scope for key, scope in self._scopes.items() if wanted(key)}

    def resource(
        self,
        type_url: str,
        name: str,
        made_from: Any,
        make: Callable[[], Any],
        *,
        of: Hashable = None,
    ) -> Resource:
        """The resource of that name as `make` builds it from `made_from`.

        `of` tells apart the many resources of one name, each for another kind of node."""

        def build() -> Resource:
            self.built[type_url] += 1
            return messages.resource(name, make())

        return self.memo.get((type_url, name, of), made_from, build)

    def merged(self, key: Hashable, parts: tuple[Named, ...]) -> Named:
        """All parts in one mapping: the same object as long as no part changes."""
        return self.memo.get(
            key, parts, lambda: {name: made for part in parts for name, made in part.items()}
        )

    def replaced(self, key: Hashable, before: Named, parts: list[Named]) -> Named:
        """`before` with the resources of `parts`, which are of names that it has: in its order."""

        def build() -> Named:
            made = dict(before)
            for part in parts:
                made.update(part)
            return made

        return self.memo.get(("replaced", key), (before, parts), build)

    def same(self, key: Hashable, value: Any) -> Any:
        """The object that was known under `key` if it is equal, else `value`."""
        return self.memo.get(key, value, lambda: value)
