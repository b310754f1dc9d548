"""Istio's rules for `localityLbSetting` and `zoneAwareLbSetting`."""

from __future__ import annotations

from collections.abc import Iterator

from meltemi.config.issues import Finding
from meltemi.config.place import Place

_TOPOLOGY = (
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
)


def check(setting: Place, outlier: bool) -> Iterator[Finding]:
    """`outlier`: the policy has outlier detection, which failover needs."""
    distribute, failover = setting["distribute"], setting["failover"]
    if distribute.value and failover.value:
        yield failover.error("one-of", "distribute and failover exclude each other")
        return
    if failover.value:
        for label in setting["failoverPriority"].items:
            if label.text in _TOPOLOGY:
                yield label.error("one-of", f"{label.text} in failoverPriority excludes failover")
    sources = []
    for part in distribute.items:
        sources.append(part["from"])
        yield from _weights(part["to"])
    yield from _localities(sources)
    yield from _failovers(setting, outlier)


def check_zone_aware(setting: Place, outlier: bool) -> Iterator[Finding]:
    """Regions, zones and subzones are taken care of by themselves there."""
    for label in setting["failoverPriority"].items:
        if label.text.partition("=")[0] in _TOPOLOGY:
            yield label.error("bad-value", f"{label.text} is part of zone awareness already")
    yield from _failovers(setting, outlier)


def _weights(to: Place) -> Iterator[Finding]:
    total = 0.0
    for _, weight in to.entries:
        if not 0 < weight.number <= 100:
            yield weight.error("bad-value", "a weight is from 1 to 100")
            return
        total += weight.number
    if total != 100:
        yield to.error("bad-weights", f"the weights add up to {total:g}, want 100")
        return
    yield from _localities([Place(locality, place.path) for locality, place in to.entries])


def _failovers(setting: Place, outlier: bool) -> Iterator[Finding]:
    wanted = setting["failover"] if setting["failover"].value else setting["failoverPriority"]
    if wanted.value and not outlier:
        yield wanted.warning("needs-field", "failover has no effect without outlierDetection")
    for failover in setting["failover"].items:
        here, there = failover["from"], failover["to"]
        if here.text == there.text:
            yield failover.error("bad-value", "from and to are the same region")
        for region in (here, there):
            if "/" in region.text or "*" in region.text:
                yield region.error("bad-value", f"{region.text!r} is not the name of a region")


def _localities(places: list[Place]) -> Iterator[Finding]:
    """Stops at the first wrong one, as Istio does: the others may follow from it."""
    seen: list[tuple[str, ...]] = []
    for place in places:
        text = place.text
        if "*" in text[:-1]:
            yield place.error("bad-value", f"{text!r}: the wildcard '*' comes last, and once")
            return
        parts = tuple(text.split("/", 2))
        if not all(parts):
            yield place.error("bad-value", f"{text!r} has an empty region, zone or subzone")
            return
        if any(_overlap(parts, other) for other in seen):
            yield place.error("bad-value", f"{text!r} overlaps with one before it")
            return
        seen.append(parts)


def _overlap(one: tuple[str, ...], earlier: tuple[str, ...]) -> bool:
    """Whether `earlier` covers `one`, or begins as `one`, which is a whole region or zone, does."""
    if earlier[0] == "*":
        return True
    for mine, theirs in zip(one, earlier, strict=False):
        if theirs == "*":
            return True
        if mine != theirs:
            return False
    return True
