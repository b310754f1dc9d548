#!/usr/bin/env python3
"""Compares our engine with Envoy and with a direct connection, side by side on this machine.

    make bench            every goal, within 20 minutes
    make bench QUICK=1    one point, within 3 minutes

Writes bench/results.json and bench/results.txt. Exit 0 when all was measured, whether or not the
goals are met; 1 when something could not be, or a reply of ours was wrong or lost.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from runner import report, sampling
from runner.budget import Budget
from runner.measurements import registry
from runner.measurements.finding import Lab
from runner.processes import StartError, binary
from runner.rows import AnyRow, MeasuredRow, Row
from runner.table import ROWS

HERE = Path(__file__).resolve().parent
ROUNDS = 5
QUICK_S = 160
FULL_S = 1140
"""A run ends within 3 and within 20 minutes: on a slow or busy machine with fewer rounds."""


def main() -> int:
    arguments = _arguments()
    quick = arguments.quick or os.environ.get("QUICK", "") not in ("", "0")
    rows = [row for row in ROWS if _wanted(row, quick, arguments.only)]
    if not rows:
        known = ", ".join(row.id for row in ROWS)
        print(f"bench: no such goal; there are {known}", file=sys.stderr)
        return 2
    logs = Path(tempfile.mkdtemp(prefix="meltemi-bench-"))
    sampled = [row for row in rows if isinstance(row, Row)]
    measured = [row for row in rows if isinstance(row, MeasuredRow)]
    groups = sampling.plan(sampled)
    samples_to_take = sum(
        len(group) * sampling.rounds_of(group, arguments.rounds) for group in groups
    )
    budget = Budget(QUICK_S if quick else FULL_S, samples_to_take, registry.guessed_s(measured))
    noisy = arguments.noisy
    try:
        binary("meltemi-load")
        run = sampling.Run(groups, arguments.rounds, logs, budget, noisy, _say)
        samples = run.go()
        lab = Lab(logs, arguments.rounds, _say)
        findings = registry.take(measured, lab, budget, noisy=noisy)
    except StartError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    results = report.judge(rows, samples, findings)
    text = report.table(results, groups, samples, noisy)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.txt").write_text(text)
    written = json.dumps([result.json(noisy) for result in results], indent=1)
    (arguments.output / "results.json").write_text(written + "\n")
    print(text)
    if any(result.broken for result in results):
        print(f"bench: what the processes said is in {logs}", file=sys.stderr)
        return 1
    shutil.rmtree(logs)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one point only (or QUICK=1)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="samples of each target")
    parser.add_argument("--only", action="append", metavar="ID", help="this goal; repeatable")
    parser.add_argument(
        "--noisy",
        action="store_true",
        help="do not wait for a quiet machine nor sample again; the results say so",
    )
    parser.add_argument("--output", type=Path, default=HERE, help="where results are written")
    return parser.parse_args()


def _wanted(row: AnyRow, quick: bool, only: list[str] | None) -> bool:
    if isinstance(row, Row) and row.needs_limit and "BENCH_LIMIT" not in os.environ:
        return False
    if only:
        return row.id in only or row.id.partition(" ")[0] in only
    return row.quick or not quick


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
