"""Judges the goals by what was sampled and measured, and writes them down."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.measurements import Finding
from runner.rows import AnyRow, MeasuredRow, Point, Row, Target
from runner.sampling import Group, Sample, Samples

FEWEST_ROUNDS = 3
"""A result of fewer rounds that nothing spoiled says so; without any, the spoiled ones count."""
LEAST = 1e-9
"""Stands for nothing where something is divided by it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a row."""

    row: AnyRow
    ours: float | None = None
    """Median; over several points, their geometric mean. Likewise `peer`. None: not measured."""
    peer: float | None = None
    ratio: float | None = None
    """Median of the rounds' own ratios."""
    spread: tuple[float, float] | None = None
    """Least and most of them; of our number where the goal is about that."""
    rounds: int = 0
    better_peer: str = ""
    spoiled: bool = False
    """There were too few samples without foreign load: the ratio says little."""
    wrong: str = ""
    """What was wrong with one of our replies, or a direct one's."""
    peer_wrong: str = ""
    failed: str = ""
    """Why it could not be measured."""
    left_out: str = ""
    """Why this machine cannot measure it."""

    @property
    def met(self) -> bool | None:
        """None: there is no goal, or nothing to judge it by."""
        if self.row.goal is None or self.left_out:
            return None
        value = self.ours if self.row.goal.unit else self.ratio
        return value is not None and self.row.goal.met(value) and not self.wrong

    @property
    def broken(self) -> bool:
        """It is not only slow: something did not run, or answered wrongly."""
        return bool(self.failed or self.wrong)

    def json(self, noisy: bool = False) -> dict[str, Any]:
        """The object of results.json."""
        return {
            "id": self.row.id,
            "what": self.row.what,
            "ours": _rounded(self.ours),
            "peer": _rounded(self.peer),
            "ratio": _rounded(self.ratio),
            "goal": None if self.row.goal is None else str(self.row.goal),
            "met": self.met,
            "unit": unit(self.row),
            "spread": None if self.spread is None else [_rounded(end) for end in self.spread],
            "rounds": self.rounds,
            "better_peer": self.better_peer,
            "spoiled": self.spoiled,
            "noisy": noisy,
            "wrong": self.wrong,
            "peer_wrong": self.peer_wrong,
            "failed": self.failed,
            "left_out": self.left_out,
        }


def unit(row: AnyRow) -> str:
    """Of both numbers of a row."""
    if isinstance(row, MeasuredRow):
        return row.unit
    units = {"rps": "requests/s", "cpu_us": "us CPU", "resident_kib": "KiB", "errors": "errors"}
    return units.get(row.metric, "us")


def judge(
    rows: Iterable[AnyRow], samples: Samples, findings: Mapping[str, Finding] | None = None
) -> list[Result]:
    """A result for each row; `findings` by the name of the measurement."""
    return [
        _judge_measured(row, (findings or {}).get(row.measurement))
        if isinstance(row, MeasuredRow)
        else _judge(row, samples)
        for row in rows
    ]


def _judge_measured(row: MeasuredRow, finding: Finding | None) -> Result:
    if finding is None or finding.failed:
        return Result(row, failed=finding.failed if finding else "it was not measured")
    if finding.left_out:
        return Result(row, left_out=finding.left_out)
    pairs = finding.numbers[row.key]
    ours = [own for own, _ in pairs]
    theirs = [peer for _, peer in pairs if peer is not None]
    ratios = [own / max(peer, LEAST) for own, peer in pairs if peer is not None]
    judged = ours if row.goal is not None and row.goal.unit else ratios
    return Result(
        row,
        ours=statistics.median(ours),
        peer=statistics.median(theirs) if theirs else None,
        ratio=statistics.median(ratios) if ratios else None,
        spread=(min(judged), max(judged)) if judged else None,
        rounds=len(pairs),
        better_peer=finding.peer_names.get(row.key, ""),
        spoiled=finding.spoiled,
        wrong=finding.wrong,
    )


@dataclass(frozen=True, slots=True)
class _AtPoint:
    ours: float
    peer: float
    ratios: tuple[float, ...]
    own: tuple[float, ...]
    better_peer: str
    spoiled: bool


def _judge(row: Row, samples: Samples) -> Result:
    cases = row.cases()
    for case in cases:
        if case in samples.failed:
            return Result(row, failed=samples.failed[case])
        if case in samples.left_out:
            return Result(row, left_out=samples.left_out[case])
    for point, target in cases:
        if not any(sample.value("rps") for sample in samples.of(point, target)):
            return Result(row, failed=f"{target} answered nothing at {point}")
    points = [_at_point(row, *pair, samples) for pair in row.pairs()]
    rounds = min(len(point.ratios) for point in points)
    by_round = [_mean([point.ratios[number] for point in points]) for number in range(rounds)]
    alone = row.goal is not None and bool(row.goal.unit)
    judged = [value for point in points for value in point.own] if alone else by_round
    peers = set(row.peers) - {Target("direct")}
    return Result(
        row,
        # Of errors the worst round counts: one is too many.
        ours=max(judged) if row.metric == "errors" else _mean([point.ours for point in points]),
        peer=_mean([point.peer for point in points]),
        ratio=None if alone else statistics.median(by_round),
        spread=(min(judged), max(judged)),
        rounds=rounds,
        better_peer=", ".join(dict.fromkeys(point.better_peer for point in points)),
        spoiled=any(point.spoiled for point in points),
        wrong=_wrong(samples, [case for case in cases if case[1] not in peers or case[1].ours]),
        peer_wrong=_wrong(samples, [case for case in cases if case[1] in peers]),
    )


def _wrong(samples: Samples, cases: Iterable[tuple[Point, Target]]) -> str:
    found = (sample.wrong for case in cases for sample in samples.of(*case) if sample.wrong)
    return next(found, "")


def _at_point(row: Row, point: Point, peer_point: Point, samples: Samples) -> _AtPoint:
    taken = {(point, row.ours): samples.of(point, row.ours)}
    taken |= {(peer_point, peer): samples.of(peer_point, peer) for peer in row.peers}
    if row.minus:
        taken[point, row.minus] = samples.of(point, row.minus)
    rounds = range(min(map(len, taken.values())))
    clean = [n for n in rounds if not any(of_case[n].spoiled for of_case in taken.values())]
    counted = clean or list(rounds)

    def values(at: Point, target: Target) -> list[float]:
        found = [taken[at, target][n].value(row.metric) for n in counted]
        if row.minus is None or target == row.minus:
            return found
        base = [taken[point, row.minus][n].value(row.metric) for n in counted]
        return [value - less for value, less in zip(found, base, strict=True)]

    ours = values(point, row.ours)
    theirs = {peer: values(peer_point, peer) for peer in row.peers}
    medians = {peer: statistics.median(found) for peer, found in theirs.items()}
    best = row.better()(list(medians.values()))
    peer = next(peer for peer in row.peers if medians[peer] == best)
    return _AtPoint(
        ours=statistics.median(ours),
        peer=best,
        ratios=tuple(own / max(its, LEAST) for own, its in zip(ours, theirs[peer], strict=True)),
        own=tuple(ours),
        better_peer=str(peer)
        if peer_point == point
        else f"{peer}, {peer_point.format or 'framed'}",
        spoiled=len(clean) < min(FEWEST_ROUNDS, len(rounds)),
    )


def _mean(values: Sequence[float]) -> float:
    """The geometric mean: ratios multiply."""
    if len(values) == 1:
        return values[0]
    return math.exp(statistics.fmean(math.log(max(value, LEAST)) for value in values))


def table(
    results: Sequence[Result], groups: Sequence[Group], samples: Samples, noisy: bool = False
) -> str:
    """The text for people: goals, and what was measured at each point."""
    lines = ["goals", *_aligned([_GOAL_HEAD, *(_goal_line(result) for result in results)]), ""]
    if noisy:
        lines.insert(0, "taken with --noisy: other processes ran, none of this is for the record")
    for point in dict.fromkeys(point for group in groups for point, _ in group):
        wanted = [target for group in groups for at, target in group if at == point]
        measured = [
            _target_line(target, samples.of(point, target))
            for target in wanted
            if samples.of(point, target)
        ]
        if measured:
            lines.append(f"{point} (medians)")
            lines += [*_aligned([_TARGET_HEAD, *measured]), ""]
    lines += [f"{result.row.id}: {result.row.what}" for result in results]
    return "\n".join(lines) + "\n"


_GOAL_HEAD = ["id", "ours", "peer", "", "ratio", "spread", "goal", "", "better peer", ""]
_TARGET_HEAD = ["target", "requests/s", "p50 us", "p99 us", "CPU us/request", "MB", "others"]
_MET = {True: "met", False: "NOT MET", None: "reported"}


def _goal_line(result: Result) -> list[str]:
    notes = []
    if isinstance(result.row, Row) and 0 < result.rounds < FEWEST_ROUNDS:
        notes.append(f"few rounds: {result.rounds}")
    if result.spoiled:
        notes.append("foreign load: measure again")
    if result.wrong:
        notes.append(f"wrong replies: {result.wrong[:70]}")
    if result.peer_wrong:
        notes.append(f"the peer's replies were wrong: {result.peer_wrong[:70]}")
    if result.failed:
        notes.append(f"FAILED: {' '.join(result.failed.split())[:160]}")
    if result.left_out:
        notes.append(result.left_out)
    spread = result.spread
    return [
        result.row.id,
        _number(result.ours),
        _number(result.peer),
        unit(result.row),
        "-" if result.ratio is None else f"{result.ratio:.3g}",
        "-" if spread is None else f"{spread[0]:.3g}-{spread[1]:.3g}",
        "-" if result.row.goal is None else str(result.row.goal),
        _MET[result.met],
        result.better_peer,
        "; ".join(notes),
    ]


def _target_line(target: Target, taken: Sequence[Sample]) -> list[str]:
    taken = [sample for sample in taken if not sample.spoiled] or taken
    median = {
        name: statistics.median(sample.values[name] for sample in taken) for name in taken[0].values
    }
    return [
        str(target),
        f"{median['rps']:.0f}",
        f"{median['p50_us']:.1f}",
        f"{median['p99_us']:.1f}",
        f"{median['cpu_us']:.2f}",
        f"{median['resident_kib'] / 1024:.1f}",
        f"{statistics.median(sample.foreign for sample in taken):.0%}",
    ]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}") if abs(value) < 1000 else round(value)


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
