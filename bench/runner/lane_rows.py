"""The goals of lanes."""

from __future__ import annotations

from typing import Final

from runner.rows import AnyRow, MeasuredRow, at_most

LANES: Final[tuple[AnyRow, ...]] = (
    MeasuredRow(
        "G28",
        "choice of a route among 1,000 lanes against one lane: CPU a decision",
        "choice among lanes",
        "choice",
        "ns",
        at_most(1.1),
    ),
)
