"""What a thousand lanes cost the choice of a route, against one."""

from __future__ import annotations

import json
import subprocess
from typing import Final

from meltemi.lanes import mark_pattern
from meltemi.lanes.routes import ATTRIBUTES, HEADER

from runner.machine import cores
from runner.measurements.finding import Finding, Lab, Pairs
from runner.processes import StartError, binary

LANES: Final = 1000
DECISIONS: Final = 1_000_000
KEY: Final = "env"
BAGGAGE: Final = "userId=alice,{mark};ttl=3,region=eu-west-1"


def choice(lab: Lab) -> Finding:
    """Rounds of a thousand lanes and of one; the request has the mark of the last lane."""
    pairs: Pairs = []
    for _ in range(lab.rounds):
        pairs.append((_decision_ns(LANES), _decision_ns(1)))
    return Finding({"choice": pairs}, {"choice": "one lane"})


def _decision_ns(count: int) -> float:
    """CPU of one decision among the routes of so many lanes. Raises StartError."""
    lanes = [f"feature-{number:04}" for number in range(count)]
    routes = [f"{name}\t{mark_pattern(KEY, lane)}\n" for name in ATTRIBUTES for lane in lanes]
    header = BAGGAGE.format(mark=f"{KEY}={lanes[-1]}")
    core = str(cores()[-1])
    done = subprocess.run(
        ["taskset", "-c", core, binary("meltemi-choose"), HEADER, header, str(DECISIONS)],
        input="".join(routes),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StartError(done.stderr.strip())
    found = json.loads(done.stdout)
    if found["route"] != count - 1:
        raise StartError(f"with {count} lanes route {found['route']} was chosen, not the last one")
    return float(found["ns"])
