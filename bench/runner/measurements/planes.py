"""The control plane's own measurements as pairs of numbers (G21, G22, G23)."""

from __future__ import annotations

from typing import Final

from runner.measurements.apart import run
from runner.measurements.finding import Finding, Lab, Pairs

ROUNDS: Final = 3


def documents(lab: Lab) -> Finding:
    """Loads of many documents, and an edit of one. Raises StartError."""
    numbers: dict[str, Pairs] = {"load": [], "edit": []}
    for number in range(min(lab.rounds, ROUNDS)):
        lab.say(f"documents, round {number + 1}")
        load = run(lab, "control_plane.loading", "full_load(rounds=1)")
        numbers["load"].append((load["ours_s"], load["yaml_s"]))
    lab.say("an edit of one document")
    edit = run(lab, "control_plane.loading", "one_edit()")
    numbers["edit"].append((edit["edit_s"], edit["load_s"]))
    return Finding(numbers, {"load": "PyYAML's C loader", "edit": "the full load"})


def pushes(lab: Lab) -> Finding:
    """Edits of a route that many nodes get. Raises StartError."""
    lab.say("a route pushed to many nodes")
    found = run(lab, "control_plane.pushing", "pushing()")
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
        found = run(lab, "control_plane.starting", "starting(rounds=1)")
        pairs.append((found["ours_s"], found["imports_s"]))
    return Finding({"ready": pairs}, {"ready": "importing grpc and protobuf"})
