"""Annotations of our own, under `meltemi.io/`: what other systems' fields cannot say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from meltemi.config.issues import Finding, nearest
from meltemi.config.place import Place

PREFIX: Final = "meltemi.io/"
MAX_IN_FLIGHT: Final = "meltemi.io/max-in-flight-per-connection"
"""Of a DestinationRule: requests that one upstream connection to its host may carry at once."""
LIMIT_SIDE: Final = "meltemi.io/local-rate-limit-side"
"""Of a MetaRouter: whose sidecars enforce its `localRateLimit`."""

MOST_IN_FLIGHT: Final = 1024 * 1024
LIMIT_SIDES: Final = ("inbound", "outbound", "both")
_KNOWN: Final = {MAX_IN_FLIGHT: "DestinationRule", LIMIT_SIDE: "MetaRouter"}
_COUNT = re.compile(r"[1-9][0-9]{0,6}")


def check(kind: str, annotations: Place) -> Iterator[Finding]:
    """What is wrong with those of an object of a kind; others' annotations are not judged."""
    for name, value in annotations.entries:
        if not isinstance(name, str) or not name.startswith(PREFIX):
            continue
        known = [each for each, of in _KNOWN.items() if of == kind]
        if name not in known:
            hint = f"it is for a {_KNOWN[name]}" if name in _KNOWN else nearest(name, known)
            yield value.error(
                "unknown-annotation", f"a {kind} has no annotation {name}",
                hint or f"known: {', '.join(known) or 'none'}",
            )  # fmt: skip
        elif isinstance(value.value, str):
            yield from _value(name, value)


def _value(name: str, value: Place) -> Iterator[Finding]:
    if name == MAX_IN_FLIGHT and _count(value.text) is None:
        yield value.error(
            "bad-value", f"{value.text!r} is no number of requests",
            f'a whole number from 1 to {MOST_IN_FLIGHT}, in quotes: "64"',
        )  # fmt: skip
    elif name == LIMIT_SIDE and value.text not in LIMIT_SIDES:
        yield value.error(
            "bad-value", f"{value.text!r} is no side of a request",
            nearest(value.text, LIMIT_SIDES) or f"one of {', '.join(LIMIT_SIDES)}",
        )  # fmt: skip


def max_in_flight(annotations: Mapping[str, str] | None) -> int | None:
    """What a valid DestinationRule says, or None."""
    return _count((annotations or {}).get(MAX_IN_FLIGHT, ""))


def _count(text: str) -> int | None:
    number = int(text) if _COUNT.fullmatch(text) else 0
    return number if 1 <= number <= MOST_IN_FLIGHT else None


def limit_side(annotations: Mapping[str, str] | None) -> str:
    """Which sidecars enforce the local limit of a valid MetaRouter: one of LIMIT_SIDES."""
    return (annotations or {}).get(LIMIT_SIDE, LIMIT_SIDES[0])
