"""What proxies hold in memory: empty, for an idle connection, and for one that was used (G14)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runner import targets
from runner.machine import cores, resident_kib
from runner.measurements import idle_sidecar, steered
from runner.measurements.finding import Finding, Lab, Pairs
from runner.points import ENVOY_THRIFT, POOL
from runner.processes import Processes, StartError
from runner.rows import Target

EMPTY: Final = Path(__file__).resolve().parents[2] / "empty_engine.py"
CONNECTIONS = 5000
REQUESTS = 2 * CONNECTIONS
RATE = 4000
"""Requests a second, so few at once that what is measured is the connections and not what waits."""
CONNECTION: Final[dict[str, Sequence[object]]] = {
    "idle connection": ("-c", 1, "-k", CONNECTIONS, "-t", 1),
    "used connection": ("-c", CONNECTIONS, "-r", RATE, "-n", REQUESTS, "-t", 30, "-w", 0),
}
"""What the load generator does for each number; its last look at the memory is before it closes."""
PEER: Final = ENVOY_THRIFT[0]
SETTLE_S = 1.0
ROUNDS = 2
"""Memory repeats itself to a few percent."""


def measure(lab: Lab) -> Finding:
    """Every number of G14. Raises StartError."""
    numbers: dict[str, Pairs] = {key: [] for key in ("empty", "sidecar", *CONNECTION)}
    for number in range(min(lab.rounds, ROUNDS)):
        lab.say(f"memory, round {number + 1}")
        with Processes(lab.logs) as processes:
            backends = targets.start_backends(processes, cores()[:1], "thrift")
            ends = (("127.0.0.1", backends.port), ("127.0.0.1", backends.port + 1))
            place = targets.Place(processes, cores()[-1:], "thrift", ends)
            peer = targets.start(place, PEER)
            time.sleep(SETTLE_S)
            peer_empty_mb = resident_kib(peer.pid) / 1024
            numbers["empty"].append((_empty_mb(), peer_empty_mb))
            numbers["sidecar"].append((idle_sidecar.resident_mb(lab.logs), peer_empty_mb))
            for key, load in CONNECTION.items():
                ours, theirs = (_a_connection_kb(place, each, load) for each in (POOL, PEER))
                numbers[key].append((ours, theirs))
    return Finding(numbers, dict.fromkeys(numbers, str(PEER)))


def _empty_mb() -> float:
    """MB that an engine without configuration adds to the Python that starts it."""
    done = subprocess.run([sys.executable, str(EMPTY)], capture_output=True, text=True)
    if done.returncode:
        raise StartError(f"{EMPTY.name} failed: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    return float(found["after"] - found["before"]) / 1024


def _a_connection_kb(place: targets.Place, target: Target, load: Sequence[object]) -> float:
    """KB that a fresh process grew by, for each connection; the upstream's side included."""
    running = targets.start(place, target)
    core = cores()[:1]
    # The first connections find the pools and buffers that all later ones share.
    steered.load(core, running.port, "-c", 16, "-t", 0.3)
    time.sleep(SETTLE_S)
    found = steered.load(core, running.port, *load, "-x", running.pid)
    place.processes.stop(running.pid)
    if found["first_error"]:
        raise StartError(f"a reply was wrong: {found['first_error']}")
    [process] = found["processes"]
    return float(max(0, process["resident_kib"] - process["resident_kib_before"])) / CONNECTIONS
