"""Values as the text of Lua tables: data that can hold no code, whatever its strings are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

Value = str | bytes | int | bool | Sequence["Value"] | Mapping[str, "Value"]

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -./:=,")


def literal(value: Value) -> str:
    """Of a string every byte but letters, digits and a few signs is an escape (`\\ddd`): no quote,
    backslash or line end of it is ever one of Lua's."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return literal(value.encode())
        case bytes():
            return '"' + "".join(_byte(each) for each in value) + '"'
        case Mapping():
            return "{" + ",".join(f"[{literal(k)}]={literal(v)}" for k, v in value.items()) + "}"
        case _:
            return "{" + ",".join(literal(each) for each in value) + "}"


def _byte(byte: int) -> str:
    return chr(byte) if byte in _PLAIN else f"\\{byte:03d}"
