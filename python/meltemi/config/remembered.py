"""What was made of each object for the last mesh, so that the next one makes only what is new.

Used by `meltemi.config.build` and what it calls. An object is known by identity: one that was not
read again is the same object. What comes out equal to what was there is the same value, so that
who comes behind sees by identity what did not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from meltemi.config.check import Object
from meltemi.model.edited import edited

V = TypeVar("V")


class Remembered(Generic[V]):
    """One value for each object of a kind."""

    def __init__(self, make: Callable[[Object], V]) -> None:
        self._make = make
        self._items: Sequence[Object] = ()
        self._values: tuple[V, ...] = ()

    def of(self, items: Sequence[Object]) -> tuple[V, ...]:
        """In the order of `items`; the same tuple where nothing changed."""
        left, right = edited(self._items, items)
        former = zip(self._items[left], self._values[left], strict=True)
        known = {item.ref: (item, value) for item, value in former}
        made = tuple(self._one(item, known.get(item.ref)) for item in items[right])
        if made != self._values[left]:
            self._values = (*self._values[: left.start], *made, *self._values[left.stop :])
        self._items = items
        return self._values

    def _one(self, item: Object, former: tuple[Object, V] | None) -> V:
        if former is not None and former[0] is item:
            return former[1]
        value = self._make(item)
        return former[1] if former is not None and former[1] == value else value
