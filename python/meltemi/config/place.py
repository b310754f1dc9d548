"""A value of a document together with its path: what the rules read.

Reading never fails: what is absent, or of another type than asked for (the schema has told that
already), is nothing. So every rule can look at every document, and all errors come at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meltemi.config.issues import Finding, Path, Step


class Place:
    """`place["spec"]["ports"]` is where that is, whether or not it is there."""

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: Path = ()) -> None:
        self.value, self.path = value, path

    def __getitem__(self, step: Step) -> Place:
        value = self.value
        if isinstance(value, dict):
            return Place(value.get(step), (*self.path, step))
        if isinstance(value, list) and isinstance(step, int) and step < len(value):
            return Place(value[step], (*self.path, step))
        return Place(None, (*self.path, step))

    @property
    def there(self) -> bool:
        """Whether it has a value; null is none, as Kubernetes drops it."""
        return self.value is not None

    @property
    def text(self) -> str:
        """The string, or an empty one."""
        return self.value if isinstance(self.value, str) else ""

    @property
    def number(self) -> float:
        """The number, or 0."""
        known = isinstance(self.value, (int, float)) and not isinstance(self.value, bool)
        return self.value if known else 0

    @property
    def true(self) -> bool:
        return self.value is True

    @property
    def items(self) -> Iterator[Place]:
        """The elements of a list; null elements are left out."""
        if isinstance(self.value, list):
            for index, value in enumerate(self.value):
                if value is not None:
                    yield Place(value, (*self.path, index))

    @property
    def entries(self) -> Iterator[tuple[str, Place]]:
        """Keys and values of a mapping."""
        if isinstance(self.value, dict):
            for key, value in self.value.items():
                yield key, Place(value, (*self.path, key))

    def error(self, code: str, message: str, hint: str = "") -> Finding:
        return Finding(self.path, "error", code, message, hint)

    def warning(self, code: str, message: str, hint: str = "") -> Finding:
        return Finding(self.path, "warning", code, message, hint)
