"""What was made of each object for the last mesh, so that the next one makes only what is new.

Used by `meltemi.config.build` and what it calls. An object is known by identity: one that was not
read again is the same object. What comes out equal to what was there is the same value, so that
who comes behind sees by identity what did not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Generic, TypeVar

from meltemi.config.check import Object
from meltemi.model import ObjectRef

V = TypeVar("V")


class Remembered(Generic[V]):
    """One value for each object of a kind."""

    def __init__(self, make: Callable[[Object], V]) -> None:
        self._make = make
        self._items: list[Object] = []
        self._made: dict[ObjectRef, tuple[Object, V]] = {}
        self._values: tuple[V, ...] = ()

    def of(self, items: Sequence[Object]) -> tuple[V, ...]:
        """In the order of `items`; the same tuple where nothing changed."""
        if len(items) == len(self._items) and all(map(is_, items, self._items)):
            return self._values
        made = {}
        for item in items:
            known = self._made.get(item.ref)
            if known is None or known[0] is not item:
                value = self._make(item)
                known = (item, known[1] if known is not None and known[1] == value else value)
            made[item.ref] = known
        self._items, self._made = list(items), made
        values = tuple(value for _, value in made.values())
        if values != self._values:
            self._values = values
        return self._values
