#!/usr/bin/env python3
"""Compares our engine with Envoy and with a direct connection, side by side on this machine.

    make bench            every goal
    make bench QUICK=1    one point

Writes bench/results.json and bench/results.txt. Exit 0 when all was measured, whether or not the
goals are met; 1 when something could not be.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from runner import report, sampling
from runner.processes import StartError
from runner.table import DIRECT, ROWS, Row

HERE = Path(__file__).resolve().parent
ROUNDS = 5
QUICK_PATIENCE_S = 90
PATIENCE_S = 480
"""On a busy machine too, the short run then ends within 3 minutes and the full one within 20."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0],
    )
    parser.add_argument("--quick", action="store_true", help="one point only (or QUICK=1)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="samples of each target")
    parser.add_argument("--only", action="append", metavar="ID", help="this goal; repeatable")
    parser.add_argument("--output", type=Path, default=HERE, help="where results are written")
    arguments = parser.parse_args()
    quick = arguments.quick or os.environ.get("QUICK", "") not in ("", "0")
    rows = [row for row in ROWS if _wanted(row, quick, arguments.only)]
    if not rows:
        parser.error(f"no goal is called that; there are {', '.join(row.id for row in ROWS)}")
    logs = Path(tempfile.mkdtemp(prefix="meltemi-bench-"))
    plan = _plan(rows)
    try:
        patience = sampling.Patience(QUICK_PATIENCE_S if quick else PATIENCE_S)
        samples = sampling.Run(plan, arguments.rounds, logs, patience, _say).go()
    except StartError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    results = report.judge(rows, samples)
    text = report.table(results, plan, samples)
    (arguments.output / "results.txt").write_text(text)
    written = json.dumps([result.json() for result in results], indent=1)
    (arguments.output / "results.json").write_text(written + "\n")
    print(text)
    return 0


def _wanted(row: Row, quick: bool, only: list[str] | None) -> bool:
    if row.needs_limit and "BENCH_LIMIT" not in os.environ:
        return False
    return row.id in only if only else row.quick or not quick


def _plan(rows: list[Row]) -> sampling.Plan:
    """Each point once, with every target that a row compares there; direct connections always."""
    plan: sampling.Plan = {}
    for row in rows:
        for point in row.points:
            known = plan.setdefault(point, [DIRECT])
            known += [target for target in row.targets() if target not in known]
    return plan


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
