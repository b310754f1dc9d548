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

    def __init__(self) -> None:
        self.memo = Memo()
        self.built: Counter[str] = Counter()
        """How many resources of each type were built and serialized since the start."""

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

    def same(self, key: Hashable, value: Any) -> Any:
        """The object that was known under `key` if it is equal, else `value`."""
        return self.memo.get(key, value, lambda: value)
