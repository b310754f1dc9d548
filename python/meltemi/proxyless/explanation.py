"""What `mesh.explain` gives: the engine's account of a decision, as values and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Explanation(dict[str, Any]):
    """The account itself, to be asked by key; `str` writes it for people."""

    def __str__(self) -> str:
        return "\n".join(_lines(self, ""))


def _lines(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, held in value.items():
        name = key.replace("_", " ")
        if isinstance(held, Mapping) and held:
            yield f"{indent}{name}:"
            yield from _lines(held, indent + "  ")
        elif isinstance(held, list | tuple) and held and isinstance(held[0], Mapping):
            yield f"{indent}{name}:"
            for each in held:
                first, *rest = list(_lines(each, "")) or [""]
                yield f"{indent}- {first}"
                yield from (f"{indent}  {line}" for line in rest)
        else:
            yield f"{indent}{name}: {_word(held)}"


def _word(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_word(each) for each in value) or "-"
    return "-" if value == {} else str(value)
