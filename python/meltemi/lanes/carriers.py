"""Where marks travel in an HTTP request, and how they are taken out of it.

A mark is a member of baggage, so it may come in all that is read as baggage: `baggage` itself,
`ot-baggage-KEY` and `uberctx-KEY` of older tracers, and Kitex' metainfo (`rpc-transit-`,
`rpc-persist-`) with any of these. Names of headers are compared with `-` for `_`, since CGI and
WSGI fold the two. The key of a member is compared without case, without what is around it, and
after one percent-decoding: as the most lenient reader behind the edge may read it.

Texts are what latin-1 makes of the bytes on the wire. Servers inside the mesh ask here; colouring
at the edge is the engine's, by the same rules (`crates/colouring/src/carriers.rs`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote_to_bytes

BAGGAGE: Final = "baggage"

_CARRIER: Final = re.compile(
    r"(?:rpc-(?:transit|persist)-(?:upstream-)?)?(?:(baggage)|(?:ot-baggage|uberctx)-(.+))"
)
_INVISIBLE: Final = "".join(chr(byte) for byte in range(256) if not 0x21 <= byte <= 0x7E)
_NOTHING: Final = " \t,"


def plain_key(text: str) -> str:
    """A key as it is compared."""
    if "%" in text or "+" in text:
        encoded = text.replace("+", " ").encode("latin-1", "replace")
        text = unquote_to_bytes(encoded).decode("latin-1")
    return text.strip(_INVISIBLE).lower()


def folded(name: str) -> str:
    """The name of a header as it is compared."""
    return name.lower().replace("_", "-")


def carries(name: str) -> str | None:
    """Of a header: "" where its value is a list of members, the key where it is the value of one,
    None where it carries no baggage."""
    found = _CARRIER.fullmatch(folded(name))
    if found is None:
        return None
    return "" if found[1] else folded(plain_key(found[2]))


def without(text: str, keys: Collection[str]) -> str | None:
    """The list without the members of these keys (as `plain_key` gives them), all else as it was;
    None where nothing is left. The same object where it has none of them."""
    members = text.split(",")
    kept = [member for member in members if _key_of(member) not in keys]
    if len(kept) == len(members):
        return text
    left = ",".join(kept)
    return left if left.strip(_NOTHING) else None


def _key_of(member: str) -> str:
    return plain_key(member.partition("=")[0].partition(";")[0])
