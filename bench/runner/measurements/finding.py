"""What a measurement brings home, and the room that it works in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Pairs = list[tuple[float, float | None]]
"""Ours and the peer's, round by round; None: there is no peer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Numbers by key, or why there are none."""

    numbers: Mapping[str, Pairs] = field(default_factory=dict)
    peer_names: Mapping[str, str] = field(default_factory=dict)
    """What the peer was, by key."""
    wrong: str = ""
    """What was wrong with a reply."""
    spoiled: bool = False
    """Others took too much of the machine meanwhile."""
    failed: str = ""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Lab:
    """What a measurement gets."""

    logs: Path
    rounds: int
    say: Callable[[str], None]


Measure = Callable[[Lab], Finding]


@dataclass(frozen=True, slots=True)
class Measurement:
    """How something is measured."""

    measure: Measure
    """May raise StartError and Unavailable."""
    guessed_s: float
    """How long it takes, about."""
