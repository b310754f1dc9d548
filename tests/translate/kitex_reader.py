"""What Kitex makes of resources, in words of our own (kitex-contrib/xds 0.3.0 and later), for tests
without Go. `tests/interop/test_kitex.py` runs the real one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Picked:
    """A route and the share of each cluster, in parts of the whole."""

    shares: Mapping[str, float]
    route: dict[str, Any]


def read(configuration: dict[str, Any], path: str, metadata: Mapping[str, str]) -> Picked | None:
    """The first route that Kitex takes; None where it answers "no matched route"."""
    for virtual_host in configuration["virtual_hosts"]:
        for route in virtual_host["routes"]:
            match = route["match"]
            if _path(match, path) and _headers(match.get("headers", []), metadata):
                return Picked(_shares(route.get("route", {})), route)
    return None


def _path(match: dict[str, Any], path: str) -> bool:
    if match.get("path"):
        return bool(match["path"] == path)
    return match.get("prefix") == "/"


def _headers(matchers: list[dict[str, Any]], metadata: Mapping[str, str]) -> bool:
    """What is not one of three is no condition; of two matchers for a header the last one holds."""
    known = {}
    for matcher in matchers:
        test = matcher.get("string_match", {})
        exact, prefix = test.get("exact"), test.get("prefix")
        regex = test.get("safe_regex", {}).get("regex")
        if exact or prefix or regex:
            known[matcher["name"]] = (exact, prefix, regex)
    for name, (exact, prefix, regex) in known.items():
        value = metadata.get(name)
        if value is None:
            return False
        if exact and value != exact:
            return False
        if prefix and not value.startswith(prefix):
            return False
        if regex and not re.search(regex, value):
            return False
    return True


def _shares(action: dict[str, Any]) -> dict[str, float]:
    if "cluster" in action:
        return {action["cluster"]: 1.0}
    weighted = action.get("weighted_clusters", {}).get("clusters", [])
    weights = [(each["name"], each.get("weight", 0)) for each in weighted]
    total = sum(weight for _, weight in weights)
    found: Counter[str] = Counter()
    for drawn in range(total):
        found[_drawn(weights, drawn)] += 1
    return {name: count / total for name, count in found.items()}


def _drawn(weights: list[tuple[str, int]], drawn: int) -> str:
    """With `>=` where it should be `>`, as Kitex has it."""
    reached = 0
    for name, weight in weights:
        reached += weight
        if reached >= drawn:
            return name
    raise AssertionError("the last cluster reaches the total")
