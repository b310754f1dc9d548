"""Colouring in a gateway as pairs of numbers (G27)."""

from __future__ import annotations

from typing import Final

from runner.measurements.apart import run
from runner.measurements.finding import Finding, Lab

ROUNDS: Final = 30


def colouring(lab: Lab) -> Finding:
    """What the filters cost a request. Raises StartError."""
    lab.say("a gateway that colours")
    found = run(lab, "gateway.colouring", f"colouring(rounds={lab.rounds * ROUNDS})")["cpu_us"]
    bare = found.pop("bare")
    numbers = {name: list(zip(ours, bare, strict=True)) for name, ours in found.items()}
    return Finding(numbers, dict.fromkeys(numbers, "the same listener without"))
