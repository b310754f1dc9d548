"""Takes samples: every target of a group in turn, round after round, spoiled ones again."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from runner import rows, targets
from runner.budget import Budget
from runner.grounds import Ground, ground
from runner.machine import FOREIGN_LIMIT, Window, ended_cpu_s, wait_until_quiet
from runner.namespaces import Unavailable
from runner.processes import Processes, StartError, binary, pinned
from runner.rows import DIRECT, Metric, Point, Row, Target

ROUNDS_AT_LEAST = 3
"""Fewer rounds are taken only where there is no time by far."""
TOLERATED_S = 30.0
"""Seconds over the time that are nothing by far."""
TRIES = 3
"""Samples of one target in one round, until one is not spoiled."""
WAIT_S = 10.0
"""Longest wait for a quiet machine before a sample."""

Case = tuple[Point, Target]


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of the load generator."""

    values: dict[Metric, float]
    foreign: float
    """Share of the used cores that other processes took."""
    wrong: str
    """What was wrong with a reply, or "": a sample with a wrong reply is no success of any kind."""

    @property
    def spoiled(self) -> bool:
        return self.foreign > FOREIGN_LIMIT

    def value(self, metric: Metric) -> float:
        return self.values[metric]


@dataclass(slots=True)
class Samples:
    """All samples of a run: by point, target, and round."""

    taken: dict[Case, list[Sample]] = field(default_factory=dict)
    failed: dict[Case, str] = field(default_factory=dict)
    """What could not be measured, and why."""
    left_out: dict[Case, str] = field(default_factory=dict)
    """What this machine cannot do, and why."""

    def of(self, point: Point, target: Target) -> list[Sample]:
        """In the order of the rounds."""
        return self.taken.get((point, target), [])


Group = list[Case]
"""What is sampled in one round, one after the other: rows compare within a group."""


def plan(of_rows: Iterable[Row]) -> list[Group]:
    """Each case once, with all that any row compares it with; a direct connection wherever
    something else than our own settings is compared."""
    groups: list[Group] = []
    for row in of_rows:
        cases = row.cases()
        if not all(target.ours for _, target in cases):
            cases += [(point, DIRECT) for point in dict.fromkeys(point for point, _ in cases)]
        for pair in row.pairs():
            own = [case for case in cases if case[0] in pair]
            joined = [group for group in groups if any(case[0] in pair for case in group)]
            groups = [group for group in groups if group not in joined]
            groups.append(list(dict.fromkeys([case for group in joined for case in group] + own)))
    return groups


def rounds_of(group: Group, rounds: int) -> int:
    """Of so many rounds, those that a group gets."""
    points = [point for point, _ in group]
    wanted = 2 * rounds if any(point.fine for point in points) else rounds
    return min(wanted, *(point.most_rounds for point in points))


class Shots(Protocol):
    """A load that can be put on a target again and again."""

    @property
    def ground(self) -> Ground: ...

    def take(self) -> Sample: ...


@dataclass(slots=True)
class Run:
    """Takes the samples of a plan."""

    groups: list[Group]
    rounds: int
    logs: Path
    budget: Budget
    noisy: bool
    """Takes samples as they come, whatever else the machine does."""
    say: Callable[[str], None]
    """Gets a line for each sample."""
    samples: Samples = field(default_factory=Samples)

    def go(self) -> Samples:
        """Starts what the plan needs and samples it, layout by layout."""
        for layout in dict.fromkeys(group[0][0].layout for group in self.groups):
            groups = [group for group in self.groups if group[0][0].layout == layout]
            cases = [case for group in groups for case in group]
            try:
                with ground(layout) as where:
                    for group in groups:
                        self._attempt(group, where)
            except Unavailable as reason:
                self._lose(cases, self.samples.left_out, str(reason))
            except StartError as error:
                self._lose(cases, self.samples.failed, str(error))
        return self.samples

    def _attempt(self, group: Group, where: Ground) -> None:
        """One group's processes at a time: what is not loaded should not be there either."""
        try:
            with Processes(self.logs) as processes:
                self._group(group, where, self._start(group, where, processes), processes)
        except StartError as error:
            self._lose(group, self.samples.failed, str(error))

    def _start(
        self, group: Group, where: Ground, processes: Processes
    ) -> dict[tuple[rows.Protocol, Target], targets.Running]:
        """Everything that the group loads; a target that does not start is lost by itself."""
        running: dict[tuple[rows.Protocol, Target], targets.Running] = {}
        for protocol in dict.fromkeys(point.protocol for point, _ in group):
            place, running[protocol, DIRECT] = where.place(processes, protocol)
            for target in dict.fromkeys(
                each for point, each in group if point.protocol == protocol
            ):
                if target == DIRECT:
                    continue
                try:
                    running[protocol, target] = targets.start(place, target)
                except StartError as error:
                    own = [case for case in group if case[1] == target]
                    self._lose(own, self.samples.failed, str(error))
        return running

    def _lose(self, cases: Sequence[Case], among: dict[Case, str], why: str) -> None:
        among.update((case, why) for case in cases)
        self.say(f"{cases[0][0]}: {', '.join(dict.fromkeys(str(c[1]) for c in cases))}: {why}")

    def _group(
        self,
        group: Group,
        where: Ground,
        running: dict[tuple[rows.Protocol, Target], targets.Running],
        processes: Processes,
    ) -> None:
        rounds = rounds_of(group, self.rounds)
        for number in range(rounds):
            enough = number >= ROUNDS_AT_LEAST or self.budget.spare_s < -TOLERATED_S
            if number and enough and self.budget.spare_s < 0:
                self.budget.skipped(len(group) * (rounds - number))
                return
            for case in group:
                point, target = case
                if case in self.samples.failed:
                    self.budget.skipped(1)
                    continue
                began = time.monotonic()
                try:
                    processes.check(running[point.protocol, target].pid)
                    shot = Shot(point, running[point.protocol, target], where, processes.pids())
                    sample, repeating_s = self.sample(shot)
                except StartError as error:
                    self._lose([case], self.samples.failed, str(error))
                    continue
                self.budget.sampled(time.monotonic() - began - repeating_s)
                self.samples.taken.setdefault(case, []).append(sample)
                line = f"{point}: {target}, round {number + 1} of {rounds}: {_shown(sample)}"
                self.say(f"[{self.budget.left()}] {line}")

    def sample(self, shot: Shots) -> tuple[Sample, float]:
        """The first sample that is not spoiled; after TRIES, the least spoiled one. And the seconds
        that went on waiting and on taking it again."""
        if self.noisy:
            return shot.take(), 0.0
        used = shot.ground.used()
        began = time.monotonic()
        wait_until_quiet(used, min(WAIT_S, max(0.0, self.budget.spare_s)))
        waited = time.monotonic() - began
        best = shot.take()
        began = time.monotonic()
        for _ in range(TRIES - 1):
            if not best.spoiled or self.budget.spare_s <= 0:
                break
            wait_until_quiet(used, min(WAIT_S, self.budget.spare_s))
            best = min(best, shot.take(), key=lambda sample: sample.foreign)
        return best, waited + time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Shot:
    """One load on one target."""

    point: Point
    target: targets.Running
    ground: Ground
    pids: Sequence[int]

    def take(self) -> Sample:
        command = pinned(self.ground.load_cores, load_command(self.point, self.target))
        ended = ended_cpu_s()
        window = Window(self.ground.used(), self.pids)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        foreign = window.foreign_share(ended_cpu_s() - ended)
        if done.returncode not in (0, 3):
            raise StartError(f"{command[3]} failed: {done.stderr.strip()}")
        return _read(json.loads(done.stdout), foreign)


def load_command(point: Point, target: targets.Running) -> list[str | Path]:
    """The load generator for a point."""
    return [
        *(binary("meltemi-load"), f"{target.host}:{target.port}"),
        *("--protocol", point.protocol, "--format", point.format),
        *("-c", str(point.connections), "-d", str(point.in_flight), "-s", str(point.payload_bytes)),
        *("-t", str(point.measured_s), "-w", str(point.warm_up_s), "-x", str(target.pid)),
    ]


def _read(result: dict[str, Any], foreign: float) -> Sample:
    process = result["processes"][0]
    values: dict[Metric, float] = {
        "rps": result["rps"],
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "cpu_us": process["cpu_us_per_request"],
        "resident_kib": process["resident_kib"],
        "errors": sum(result["errors"].values()),
    }
    return Sample(values, foreign, result["first_error"] or "")


def _shown(sample: Sample) -> str:
    shown = f"{sample.value('rps'):.0f}/s, {sample.value('cpu_us'):.2f} us CPU"
    if sample.spoiled:
        shown += f", spoiled: others took {sample.foreign:.0%}"
    return f"{shown}, WRONG: {sample.wrong}" if sample.wrong else shown
