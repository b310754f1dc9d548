"""The subsets of lanes: the lane's instances, and in a permissive one those to fall back to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from meltemi.lanes.routes import subset_name
from meltemi.model import (
    BASELINE,
    DestinationRule,
    LaneGroup,
    LaneService,
    OutlierDetection,
    Selection,
    Subset,
    TrafficPolicy,
)

HEALTH: Final = OutlierDetection(
    consecutive_5xx=0,
    consecutive_gateway_errors=1,
    interval_s=1.0,
    base_ejection_time_s=5.0,
    max_ejection_percent=100,
    min_health_percent=1,
)
"""Of a lane, where no rule of its host says one: without any, nobody would see that its instance is
gone, and a client that panics would ask it all the same. Where nobody is left, in no tier, all are
asked: who was away for a moment is not refused for seconds."""


def added(rule: DestinationRule, group: LaneGroup, service: LaneService) -> tuple[Subset, ...]:
    """The rule's subsets, and the lanes' instead of any of their names."""
    policies = (rule.policy, *(policy for _, policy in rule.port_policies))
    watched = any(policy.outlier_detection for policy in policies)
    policy = TrafficPolicy(outlier_detection=None if watched else HEALTH)
    own = tuple(_of_lanes(group, service, policy))
    names = {subset.name for subset in own}
    return (*(subset for subset in rule.subsets if subset.name not in names), *own)


def _of_lanes(group: LaneGroup, service: LaneService, policy: TrafficPolicy) -> Iterator[Subset]:
    for lane in group.lanes:
        own = Selection(lane.labels)
        if group.mode_of(lane, service) == "strict":
            yield Subset(subset_name(lane.name), lane.labels, policy)
            continue
        others = tuple(_fallback(group, service, lane.name))
        yield Subset(subset_name(lane.name), lane.labels, policy, tiers=(own, *others))
    base = baseline(group)
    yield Subset(subset_name(BASELINE), base.labels, tiers=(base,))


def _fallback(group: LaneGroup, service: LaneService, lane: str) -> Iterator[Selection]:
    """A lane that is off, or not there, is passed over."""
    by_name = {each.name: each for each in group.lanes if each.enabled and each.name != lane}
    for name in group.fallback_of(service):
        if name in by_name:
            yield Selection(by_name[name].labels, lane=name)
    yield replace(baseline(group), lane=BASELINE)


def baseline(group: LaneGroup) -> Selection:
    """The instances that are in no lane."""
    if group.baseline:
        return Selection(group.baseline)
    return Selection((), tuple(dict.fromkeys(lane.labels for lane in group.lanes)))
