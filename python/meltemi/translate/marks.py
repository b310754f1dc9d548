"""Whose marks of lanes count, as a filter of the sidecar's own in a listener."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from meltemi.lanes.callers import MarkRule
from meltemi.xds import messages

FILTER: Final = "meltemi.marks"
MARKS: Final = "meltemi.v1alpha1.Marks"


def by_caller(rules: Iterable[MarkRule]) -> list[dict[str, Any]]:
    """For a listener before an application; no filter where there are no rules."""
    return _filter([_rule(rule) for rule in rules])


def of_nobody(keys: Iterable[str]) -> list[dict[str, Any]]:
    """For a listener whose callers may set no mark with these keys, whoever they are."""
    found = list(keys)
    return _filter([{"keys": found}] if found else [])


def _rule(rule: MarkRule) -> dict[str, Any]:
    made: dict[str, Any] = {"keys": [rule.key]}
    if rule.any_workload:
        made["any_workload"] = True
    if rule.workloads:
        made["workloads"] = list(rule.workloads)
    if rule.networks:
        made["networks"] = list(rule.networks)
    return made


def _filter(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    config = {"@type": messages.TYPE_PREFIX + MARKS, "rules": rules}
    return [{"name": FILTER, "config": config}] if rules else []
