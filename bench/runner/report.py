"""Judges the goals by the samples and writes them down."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runner.sampling import Plan, Sample, Samples
from runner.table import Point, Row, Target

FEWEST_ROUNDS = 3
"""A result of fewer rounds that nothing spoiled says so; without any, the spoiled ones count."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a goal."""

    row: Row
    ours: float
    """Median; over several points, their geometric mean. Likewise `peer`."""
    peer: float
    ratio: float
    """Median of the rounds' own ratios."""
    spread: tuple[float, float]
    """Least and most of them."""
    rounds: int
    better_peer: str
    spoiled: bool
    """There were too few samples without foreign load: the ratio says little."""
    wrong: str

    @property
    def met(self) -> bool:
        return self.row.goal.met(self.ratio) and not self.wrong

    def json(self) -> dict[str, Any]:
        return {
            "id": self.row.id,
            "what": self.row.what,
            "ours": round(self.ours, 3),
            "peer": round(self.peer, 3),
            "ratio": round(self.ratio, 3),
            "goal": str(self.row.goal),
            "met": self.met,
            "spread": [round(end, 3) for end in self.spread],
            "rounds": self.rounds,
            "metric": self.row.metric,
            "better_peer": self.better_peer,
            "spoiled": self.spoiled,
            "wrong": self.wrong,
        }


@dataclass(frozen=True, slots=True)
class _AtPoint:
    ours: float
    peer: float
    ratios: tuple[float, ...]
    better_peer: str
    spoiled: bool


def judge(rows: Iterable[Row], samples: Samples) -> list[Result]:
    """A result for each row."""
    return [_judge(row, samples) for row in rows]


def _judge(row: Row, samples: Samples) -> Result:
    points = [_at_point(row, point, samples) for point in row.points]
    rounds = min(len(point.ratios) for point in points)
    by_round = [_mean([point.ratios[number] for point in points]) for number in range(rounds)]
    wrong = (
        sample.wrong
        for point in row.points
        for target in row.targets()
        for sample in samples.of(point, target)
        if sample.wrong
    )
    return Result(
        row,
        ours=_mean([point.ours for point in points]),
        peer=_mean([point.peer for point in points]),
        ratio=statistics.median(by_round),
        spread=(min(by_round), max(by_round)),
        rounds=rounds,
        better_peer=", ".join(dict.fromkeys(point.better_peer for point in points)),
        spoiled=any(point.spoiled for point in points),
        wrong=next(wrong, ""),
    )


def _at_point(row: Row, point: Point, samples: Samples) -> _AtPoint:
    rounds = range(min(len(samples.of(point, target)) for target in row.targets()))
    clean = [
        number
        for number in rounds
        if not any(samples.of(point, target)[number].spoiled for target in row.targets())
    ]
    spoiled = len(clean) < min(FEWEST_ROUNDS, len(rounds))
    counted = clean or list(rounds)
    values = {target: _values(row, point, target, samples, counted) for target in row.targets()}
    medians = {peer: statistics.median(values[peer]) for peer in row.peers}
    best = row.better()(list(medians.values()))
    peer = next(peer for peer in row.peers if medians[peer] == best)
    pairs = zip(values[row.ours], values[peer], strict=True)
    return _AtPoint(
        ours=statistics.median(values[row.ours]),
        peer=best,
        ratios=tuple(ours / max(theirs, 1e-9) for ours, theirs in pairs),
        better_peer=str(peer),
        spoiled=spoiled,
    )


def _values(
    row: Row, point: Point, target: Target, samples: Samples, rounds: Sequence[int]
) -> list[float]:
    values = [samples.of(point, target)[number].value(row.metric) for number in rounds]
    if row.minus is None or target == row.minus:
        return values
    base = [samples.of(point, row.minus)[number].value(row.metric) for number in rounds]
    return [value - less for value, less in zip(values, base, strict=True)]


def _mean(values: Sequence[float]) -> float:
    """The geometric mean: ratios multiply."""
    if len(values) == 1:
        return values[0]
    return math.exp(statistics.fmean(math.log(max(value, 1e-9)) for value in values))


def table(results: Sequence[Result], plan: Plan, samples: Samples) -> str:
    """The text for people: goals, and what was measured at each point."""
    lines = ["goals", *_aligned([_GOAL_HEAD, *(_goal_line(result) for result in results)]), ""]
    for point, wanted in plan.items():
        lines.append(f"{point} (medians)")
        measured = [_target_line(target, samples.of(point, target)) for target in wanted]
        lines += [*_aligned([_TARGET_HEAD, *measured]), ""]
    lines += [f"{result.row.id}: {result.row.what}" for result in results]
    return "\n".join(lines) + "\n"


_GOAL_HEAD = ["id", "ours", "peer", "ratio", "spread", "goal", "", "better peer", ""]
_TARGET_HEAD = ["target", "requests/s", "p50 us", "p99 us", "CPU us/request", "MB", "others"]


def _goal_line(result: Result) -> list[str]:
    notes = []
    if result.spoiled:
        notes.append("foreign load: measure again")
    if result.wrong:
        notes.append(f"wrong replies: {result.wrong}")
    return [
        result.row.id,
        _number(result.ours),
        _number(result.peer),
        f"{result.ratio:.2f}",
        f"{result.spread[0]:.2f}-{result.spread[1]:.2f}",
        str(result.row.goal),
        "met" if result.met else "NOT MET",
        result.better_peer,
        "; ".join(notes),
    ]


def _target_line(target: Target, taken: Sequence[Sample]) -> list[str]:
    taken = [sample for sample in taken if not sample.spoiled] or taken

    def median(name: str) -> float:
        return statistics.median(sample.values[name] for sample in taken)

    return [
        str(target),
        f"{median('rps'):.0f}",
        f"{median('p50_us'):.1f}",
        f"{median('p99_us'):.1f}",
        f"{median('cpu_us'):.2f}",
        f"{median('resident_kib') / 1024:.1f}",
        f"{statistics.median(sample.foreign for sample in taken):.0%}",
    ]


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.2f}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
