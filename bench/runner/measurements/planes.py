"""The control plane's own measurements as pairs of numbers (G21, G22, G23).

Each runs in a process of its own: what one leaves in memory is no burden to the next, and what an
engine in it logs is kept out of the progress that is shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from runner.measurements.finding import Finding, Lab, Pairs
from runner.processes import StartError

ROUNDS: Final = 3
BENCH: Final = Path(__file__).resolve().parents[2]
CHILD: Final = """\
import dataclasses, json
from control_plane import {module}
print(json.dumps(dataclasses.asdict({module}.{call})))
"""


def documents(lab: Lab) -> Finding:
    """Loads of many documents, and an edit of one. Raises StartError."""
    numbers: dict[str, Pairs] = {"load": [], "edit": []}
    for number in range(min(lab.rounds, ROUNDS)):
        lab.say(f"documents, round {number + 1}")
        load = _run(lab, "loading", "full_load(rounds=1)")
        numbers["load"].append((load["ours_s"], load["yaml_s"]))
    lab.say("an edit of one document")
    edit = _run(lab, "loading", "one_edit()")
    numbers["edit"].append((edit["edit_s"], edit["load_s"]))
    return Finding(numbers, {"load": "PyYAML's C loader", "edit": "the full load"})


def pushes(lab: Lab) -> Finding:
    """Edits of a route that many nodes get. Raises StartError."""
    lab.say("a route pushed to many nodes")
    found = _run(lab, "pushing", "pushing()")
    numbers: dict[str, Pairs] = {
        "push": [(found["ours_s"], found["bare_s"])],
        "cpu": [(found["ours_cpu_s"], found["few_cpu_s"])],
    }
    return Finding(numbers, {"push": "a bare gRPC server", "cpu": "100 services"})


def start_of_a_sidecar(lab: Lab) -> Finding:
    """From its start until it is ready. Raises StartError."""
    lab.say("start of a sidecar")
    pairs: Pairs = []
    for _ in range(min(lab.rounds, ROUNDS)):
        found = _run(lab, "starting", "starting(rounds=1)")
        pairs.append((found["ours_s"], found["imports_s"]))
    return Finding({"ready": pairs}, {"ready": "importing grpc and protobuf"})


def _run(lab: Lab, module: str, call: str) -> dict[str, float]:
    """The numbers of one measurement of `control_plane`."""
    log = lab.logs / f"{module}.log"
    with log.open("wb") as errors:
        done = subprocess.run(
            [sys.executable, "-c", CHILD.format(module=module, call=call)],
            cwd=BENCH,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
        )
    if done.returncode:
        raise StartError(f"{module} failed: {log.read_text()[-500:].strip()}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
