"""Colouring as pairs of numbers (G27)."""

from __future__ import annotations

from typing import Final

from runner.measurements.apart import run
from runner.measurements.finding import Finding, Lab

ROUNDS: Final = 12


def middleware(lab: Lab) -> Finding:
    """What the middleware costs a request of an application. Raises StartError."""
    lab.say("an application that is its own edge")
    found = run(lab, "sdk.colouring", f"colouring(rounds={lab.rounds * ROUNDS})")["cpu_us"]
    pairs = list(zip(found["coloured"], found["bare"], strict=True))
    return Finding({"cpu": pairs}, {"cpu": "bare Starlette"})
