"""How evenly connections go over the workers of our engine (G29)."""

from __future__ import annotations

import subprocess
import time
from typing import Final

from runner import targets
from runner.machine import cores
from runner.measurements import steered
from runner.measurements.finding import Finding, Lab, Pairs
from runner.processes import Processes, StartError
from runner.rows import Target

WORKERS: Final = 2
CONNECTIONS = 250
ACTIVE = "listener_manager.worker_{}.downstream_cx_active"
SECONDS = 1.5
ROUNDS = 3


def measure(lab: Lab) -> Finding:
    """Connections of the fullest worker and of the emptiest, under load. Raises StartError."""
    pairs: Pairs = []
    with Processes(lab.logs) as processes:
        backends = targets.start_backends(processes, cores()[:1], "thrift")
        ends = (("127.0.0.1", backends.port), ("127.0.0.1", backends.port + 1))
        place = targets.Place(processes, cores()[-2:], "thrift", ends)
        for number in range(min(lab.rounds, ROUNDS)):
            lab.say(f"spread over workers, round {number + 1}")
            with steered.steered(place, Target("meltemi pool", workers=WORKERS)) as engine:
                pairs.append(_under_load(engine))
    return Finding({"connections": pairs}, {"connections": "the emptier worker"})


def _under_load(engine: steered.Steered) -> tuple[float, float]:
    command = steered.load_command(
        cores()[:1], engine.port, "-c", CONNECTIONS, "-t", SECONDS, "-w", 0
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        time.sleep(SECONDS / 2)
        stats = engine.tell(do="stats")["stats"]
        load.communicate()
    if load.returncode:
        raise StartError(f"a reply through {WORKERS} workers was wrong or lost")
    active = [float(stats[ACTIVE.format(number)]) for number in range(WORKERS)]
    return max(active), min(active)
