"""Takes samples: every target of a point in turn, round after round, spoiled ones again."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner import targets
from runner.machine import FOREIGN_LIMIT, Window, cores, wait_until_quiet
from runner.processes import Processes, StartError, binary, pinned
from runner.table import DIRECT, Layout, Metric, Point, Target

MEASURED_S = 1.0
WARM_UP_S = 0.3
TRIES = 3
"""Samples of one target in one round, until one is not spoiled."""
WAIT_S = 10.0
"""Longest wait for a quiet machine before a sample."""


class Patience:
    """Seconds that a run may spend on waiting for a quiet machine and on taking samples again."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    @property
    def left_s(self) -> float:
        return max(0.0, self._left)

    @contextlib.contextmanager
    def spent(self) -> Iterator[None]:
        """Takes the time of the block off."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._left -= time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of the load generator."""

    values: dict[str, float]
    """By metric."""
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

    taken: dict[tuple[Point, Target], list[Sample]] = field(default_factory=dict)

    def of(self, point: Point, target: Target) -> list[Sample]:
        """In the order of the rounds."""
        return self.taken.get((point, target), [])


Plan = dict[Point, list[Target]]
"""What to measure: targets by point."""


@dataclass(slots=True)
class Run:
    """Takes the samples of a plan."""

    plan: Plan
    rounds: int
    logs: Path
    patience: Patience
    say: Callable[[str], None]
    """Gets a line for each sample."""
    samples: Samples = field(default_factory=Samples)

    def go(self) -> Samples:
        """Starts what the plan needs and samples it. Raises StartError."""
        for layout in sorted({point.layout for point in self.plan}):
            with Processes(self.logs) as processes:
                self._layout(processes, layout)
        return self.samples

    def _layout(self, processes: Processes, layout: Layout) -> None:
        plan = {point: self.plan[point] for point in self.plan if point.layout == layout}
        load_core, proxy_core = _cores(layout)
        backends, backend_pid = targets.start_backends(processes, load_core)
        place = targets.Place(processes, proxy_core, backends)
        running = {DIRECT: targets.Running(backends[0], backend_pid)}
        for target in _in_order(plan.values()):
            if target not in running:
                running[target] = targets.start(place, target)
        used = sorted({load_core, proxy_core})
        for point, wanted in plan.items():
            for number in range(self.rounds):
                for target in wanted:
                    processes.check()
                    shot = Shot(point, running[target], load_core, used, processes.pids())
                    sample = self._sample(shot)
                    self.samples.taken.setdefault((point, target), []).append(sample)
                    self.say(f"{point}: {target}, round {number + 1}: {_shown(sample)}")

    def _sample(self, shot: Shot) -> Sample:
        """The first sample that is not spoiled; after TRIES, the least spoiled one."""
        with self.patience.spent():
            wait_until_quiet(shot.used, min(WAIT_S, self.patience.left_s))
        best = shot.take()
        with self.patience.spent():
            for _ in range(TRIES - 1):
                if not best.spoiled or not self.patience.left_s:
                    break
                wait_until_quiet(shot.used, min(WAIT_S, self.patience.left_s))
                best = min(best, shot.take(), key=lambda sample: sample.foreign)
        return best


@dataclass(frozen=True, slots=True)
class Shot:
    """One load on one target."""

    point: Point
    target: targets.Running
    core: int
    """Of the load generator."""
    used: Sequence[int]
    """Cores that must be ours meanwhile."""
    pids: Sequence[int]

    def take(self) -> Sample:
        command = pinned(self.core, load_command(self.point, self.target))
        ended = _ended_cpu_s()
        window = Window(self.used, self.pids)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        foreign = window.foreign_share(_ended_cpu_s() - ended)
        if done.returncode not in (0, 3):
            raise StartError(f"{command[3]} failed: {done.stderr.strip()}")
        return _read(json.loads(done.stdout), foreign)


def _cores(layout: Layout) -> tuple[int, int]:
    """Of load and backends, and of the proxy."""
    own = cores()
    if layout == "one core":
        return own[0], own[0]
    if len(own) < 2:
        raise StartError("this part of the benchmark needs two cores")
    return own[0], own[1]


def _in_order(lists: Iterable[Sequence[Target]]) -> list[Target]:
    return list(dict.fromkeys(target for targets_of_point in lists for target in targets_of_point))


def load_command(point: Point, target: targets.Running) -> list[str | Path]:
    """The load generator for a point."""
    return [
        *(binary("meltemi-load"), f"127.0.0.1:{target.port}", "--format", point.format),
        *("-c", str(point.connections), "-d", str(point.in_flight), "-s", str(point.payload_bytes)),
        *("-t", str(MEASURED_S), "-w", str(WARM_UP_S), "-x", str(target.pid)),
    ]


def _read(result: dict[str, Any], foreign: float) -> Sample:
    process = result["processes"][0]
    values = {
        "rps": result["rps"],
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "cpu_us": process["cpu_us_per_request"],
        "resident_kib": process["resident_kib"],
    }
    return Sample(values, foreign, result["first_error"] or "")


def _ended_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _shown(sample: Sample) -> str:
    shown = f"{sample.value('rps'):.0f}/s, {sample.value('cpu_us'):.2f} us CPU"
    if sample.spoiled:
        shown += f", spoiled: others took {sample.foreign:.0%}"
    return f"{shown}, WRONG: {sample.wrong}" if sample.wrong else shown
