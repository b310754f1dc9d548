"""Remembers what was built from which values, so that only what changed is built again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Memo:
    """Values by key and by the input that they were made from; inputs are compared, not hashed.

    Comparing is what makes it cheap: the parts of a mesh that did not change are mostly the same
    objects. What was not asked for during a whole generation is forgotten after the next."""

    def __init__(self) -> None:
        self._now: dict[Hashable, list[tuple[Any, Any]]] = {}
        self._before: dict[Hashable, list[tuple[Any, Any]]] = {}

    def next_generation(self) -> None:
        """Called once for each new mesh."""
        self._before, self._now = self._now, {}

    def get(self, key: Hashable, made_from: Any, make: Callable[[], T]) -> T:
        """What `make` returned when `key` was asked for with an equal `made_from`, else anew."""
        known = self._now.setdefault(key, [])
        for entries in (known, self._before.get(key, [])):
            for place, (input_, value) in enumerate(entries):
                if input_ is made_from:
                    pass
                elif input_ == made_from:
                    # The newer of two equal inputs is the one that is asked for again.
                    entries[place] = (made_from, value)
                else:
                    continue
                if entries is not known:
                    known.append((made_from, value))
                found: T = value
                return found
        made = make()
        known.append((made_from, made))
        return made
