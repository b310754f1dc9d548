"""All measurements by name, and taking them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final

from runner.budget import Budget
from runner.machine import FOREIGN_LIMIT, Share, cores, wait_until_quiet
from runner.measurements import calls, edges, gateways, lanes, memory, planes, spread, swaps
from runner.measurements.finding import Finding, Lab, Measurement
from runner.namespaces import Unavailable
from runner.rows import MeasuredRow

WAIT_S = 10.0
"""Longest wait for a quiet machine."""

MEASUREMENTS: Final[dict[str, Measurement]] = {
    "memory": Measurement(memory.measure, 30),
    "colouring in a gateway": Measurement(gateways.colouring, 60),
    "swap of routes": Measurement(swaps.measure, 60),
    "spread over workers": Measurement(spread.measure, 8),
    "documents": Measurement(planes.documents, 90),
    "pushes": Measurement(planes.pushes, 70),
    "start of a sidecar": Measurement(planes.start_of_a_sidecar, 20),
    "calls without a sidecar": Measurement(calls.calls, 40),
    "first call": Measurement(calls.first_call, 12),
    "memory of a client": Measurement(calls.memory, 25),
    "choice among lanes": Measurement(lanes.choice, 8),
    "colouring in a middleware": Measurement(edges.middleware, 20),
}


def guessed_s(rows: Iterable[MeasuredRow]) -> float:
    """What all that the rows need takes, about."""
    return sum(MEASUREMENTS[name].guessed_s for name in {row.measurement for row in rows})


def take(
    rows: Iterable[MeasuredRow],
    lab: Lab,
    budget: Budget,
    *,
    noisy: bool,
) -> dict[str, Finding]:
    """Takes what the rows need, each once; what fails says so and stops nothing else."""
    found = {}
    for name in dict.fromkeys(row.measurement for row in rows):
        measurement = MEASUREMENTS[name]
        if noisy:
            finding, foreign = _once(measurement, lab)
        else:
            finding, foreign = _quietly(measurement, lab, budget)
        budget.measured(measurement.guessed_s)
        found[name] = dataclasses.replace(finding, spoiled=foreign > FOREIGN_LIMIT)
        outcome = finding.failed or finding.left_out or f"others took {foreign:.0%}"
        lab.say(f"[{budget.left()}] {name}: {outcome}")
    return found


def _quietly(measurement: Measurement, lab: Lab, budget: Budget) -> tuple[Finding, float]:
    """On a quiet machine, if it gets quiet; again where others took too much of it meanwhile and
    there is time, and then the less spoiled one."""
    wait_until_quiet(cores(), min(WAIT_S, max(0.0, budget.spare_s)))
    first = _once(measurement, lab)
    if first[1] <= FOREIGN_LIMIT or budget.spare_s < measurement.guessed_s:
        return first
    wait_until_quiet(cores(), WAIT_S)
    return min(first, _once(measurement, lab), key=lambda each: (bool(each[0].failed), each[1]))


def _once(measurement: Measurement, lab: Lab) -> tuple[Finding, float]:
    """What was found, and the share of the machine that others took."""
    share = Share()
    try:
        finding = measurement.measure(lab)
    except Unavailable as reason:
        finding = Finding(left_out=str(reason))
    except Exception as error:  # whatever it is: the other rows are still wanted
        finding = Finding(failed=f"{type(error).__name__}: {error}")
    return finding, share.foreign()
