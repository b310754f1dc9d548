#!/usr/bin/env python3
"""Compares our load generator with somebody else's, against the same backend on the same core.

    python bench/agree.py OTHER [--rounds N]

OTHER is a load generator for framed binary Thrift that takes `-p PORT -c CONNECTIONS -d IN_FLIGHT
-s BYTES -t SECONDS -w WARM_UP -V` and prints a JSON object with `rps`. Exit 0 when the two agree
within 10 % at every point.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner import targets
from runner.machine import FOREIGN_LIMIT, Window, cores, ended_cpu_s, wait_until_quiet
from runner.measurements import steered
from runner.processes import Processes, StartError, pinned
from runner.rows import Point

POINTS: Final = (Point("one core", 64), Point("one core", 16, 16))
WITHIN: Final = 0.1
SECONDS: Final = 1.0
WARM_UP_S: Final = 0.3
WAIT_S: Final = 10.0
"""Longest wait for a quiet machine before a round."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="meltemi-bench-") as logs,
        Processes(Path(logs)) as processes,
    ):
        try:
            backend = targets.start_backends(processes, cores()[:1], "thrift", plain=True)
            pair = Pair(arguments.other, backend)
            ratios = [pair.ratio(point, arguments.rounds) for point in POINTS]
        except StartError as error:
            print(f"agree: {error}", file=sys.stderr)
            return 2
    return 0 if all(abs(ratio - 1) <= WITHIN for ratio in ratios) else 1


@dataclass(frozen=True, slots=True)
class Pair:
    """Their load generator and ours, before one backend."""

    other: Path
    backend: targets.Running

    def ratio(self, point: Point, rounds: int) -> float:
        """Our requests a second against theirs: the median of the rounds that nobody disturbed, or
        of all where somebody disturbed each."""
        ratios = [self._round(point) for _ in range(rounds)]
        clean = [ratio for ratio, foreign in ratios if foreign <= FOREIGN_LIMIT]
        counted = clean or [ratio for ratio, _ in ratios]
        median = float(statistics.median(counted))
        note = "" if clean else ", all disturbed by others: measure again"
        print(f"{point}: {median:.3f} ({min(counted):.3f}-{max(counted):.3f}){note}", flush=True)
        return median

    def _round(self, point: Point) -> tuple[float, float]:
        """The ratio of one round, and the share of the core that others took meanwhile."""
        core = cores()[:1]
        sizes = ["-c", point.connections, "-d", point.in_flight, "-s", point.payload_bytes]
        words = [*sizes, "-t", SECONDS, "-w", WARM_UP_S]
        wait_until_quiet(core, WAIT_S)
        ended = ended_cpu_s()
        window = Window(core, [self.backend.pid])
        theirs = _other_rps(self.other, "-p", self.backend.port, "-V", *words)
        ours = float(steered.load(core, self.backend.port, *words)["rps"])
        return ours / theirs, window.foreign_share(ended_cpu_s() - ended)


def _other_rps(other: Path, *words: object) -> float:
    command = pinned(cores()[:1], [other, *map(str, words)])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StartError(f"{other} ended with {done.returncode}: {done.stderr or done.stdout}")
    return float(json.loads(done.stdout.splitlines()[-1])["rps"])


if __name__ == "__main__":
    sys.exit(main())
