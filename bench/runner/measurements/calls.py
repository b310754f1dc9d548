"""Calls without a sidecar as pairs of numbers (G18, G24, G25, G26)."""

from __future__ import annotations

from typing import Final

from runner.measurements.apart import run
from runner.measurements.finding import Finding, Lab, Pairs
from runner.points import ENVOY_THRIFT

ROUNDS: Final = 3
ENVOYS: Final = tuple(map(str, ENVOY_THRIFT))


def calls(lab: Lab) -> Finding:
    """What calls cost, beside bare thriftpy2 and through proxies. Raises StartError."""
    lab.say("calls without a sidecar, with one, and through Envoy")
    found = run(lab, "sdk.calling", f"calling(rounds={lab.rounds * ROUNDS})")
    ways = found["ways"]
    numbers: dict[str, Pairs] = {"choice": [(each, None) for each in found["choice_us"]]}
    names = {}
    for metric in ("cpu", "p50"):
        of = {name: [each[f"{metric}_us"] for each in samples] for name, samples in ways.items()}
        envoy = map(min, zip(*(of[name] for name in ENVOYS), strict=True))
        for key, ours, peer, name in (
            ("bare", of["sdk"], of["bare"], "thriftpy2"),
            ("traced", of["traced"], of["bare"], "thriftpy2"),
            ("sidecar", of["sdk"], of["sidecar"], "our sidecar"),
            ("envoy", of["sdk"], envoy, "the better thrift_proxy"),
        ):
            numbers[f"{key} {metric}"] = list(zip(ours, peer, strict=True))
            names[f"{key} {metric}"] = name
    return Finding(numbers, names)


def first_call(lab: Lab) -> Finding:
    """Round trips to the control plane before the first call of a process. Raises StartError."""
    lab.say("a first call after a cold start")
    rounds = range(min(lab.rounds, ROUNDS))
    trips = [run(lab, "sdk.first_call", "first_call()")["round_trips"] for _ in rounds]
    return Finding({"trips": [(each, None) for each in trips]})


def memory(lab: Lab) -> Finding:
    """Of a process that knows a mesh, over one with grpcio alone. Raises StartError."""
    lab.say("memory of a process without a sidecar")
    pairs: Pairs = []
    for _ in range(min(lab.rounds, ROUNDS)):
        found = run(lab, "sdk.memory", "held(rounds=1)")
        pairs.append((found["sdk_mb"] - found["bare_mb"], None))
    return Finding({"over": pairs})
