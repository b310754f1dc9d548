"""A client lives through random changes of lanes, groups, instances and their health.

After each it is at every hop where one that begins anew would be."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from lane_cases import (
    ANY_MODE,
    FALLBACK,
    HOSTS,
    KEY,
    LANES,
    MAYBE_MODE,
    Case,
    Instance,
    answered_in,
    cases,
    expected,
    mesh_of,
    told,
)
from meltemi.engine import Router
from meltemi.lanes.routes import open_lanes
from meltemi.model import BASELINE, Lane, LaneService
from meltemi.model.lane import Mode
from meltemi.translate import Translator

HOST = st.sampled_from(range(len(HOSTS)))
LANE = st.sampled_from(LANES)
CALLS = 6


class ThroughChanges(RuleBasedStateMachine):
    """One translator and one router for all of it, as in a control plane and a client."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.translator = Router(seed=1), Translator()
        self.held: dict[str, dict[str, bytes]] = {}
        self.numbers = itertools.count(50)

    @initialize(case=cases())
    def begin(self, case: Case) -> None:
        self.take(case)

    def take(self, case: Case) -> None:
        """What is new comes first, and what is gone leaves last, as the server sends it."""
        self.case = case
        now = told(self.translator, mesh_of(case), case)
        for kind, bodies in now.items():
            before = self.held.get(kind, {})
            changed = [(n, body) for n, body in bodies.items() if before.get(n) != body]
            assert self.router.update(kind, "1", changed) == []
        for kind in reversed(now):
            gone = [name for name in self.held.get(kind, {}) if name not in now[kind]]
            assert self.router.update(kind, "1", [], gone) == []
        self.held = now

    # === changes ===

    @rule(name=LANE, enabled=st.booleans(), priority=st.integers(0, 1), mode=MAYBE_MODE)
    def put_lane(self, name: str, enabled: bool, priority: int, mode: Mode | None) -> None:
        others = [lane for lane in self.case.group.lanes if lane.name != name]
        lane = Lane(name, ((KEY, name),), enabled, priority, mode)
        self._group(lanes=tuple(sorted([*others, lane], key=lambda each: each.name)))

    @rule(name=LANE)
    def delete_lane(self, name: str) -> None:
        self._group(lanes=tuple(lane for lane in self.case.group.lanes if lane.name != name))

    @rule(mode=ANY_MODE, fallback=FALLBACK, baseline=st.booleans())
    def change_group(self, mode: Mode, fallback: tuple[str, ...], baseline: bool) -> None:
        labels = (("tier", "base"),) if baseline else ()
        self._group(mode=mode, fallback=fallback, baseline=labels)

    @rule(host=HOST, mode=MAYBE_MODE, fallback=st.one_of(st.none(), FALLBACK))
    def make_exception(
        self, host: int, mode: Mode | None, fallback: tuple[str, ...] | None
    ) -> None:
        services = list(self.case.group.services)
        services[host] = LaneService(HOSTS[host], mode, fallback)
        self._group(services=tuple(services))

    def _group(self, **changes: Any) -> None:
        group = replace(self.case.group, **changes)
        self.take(replace(self.case, group=group))

    @rule(host=HOST, lane=st.sampled_from((BASELINE, *LANES)), healthy=st.booleans())
    def start_instance(self, host: int, lane: str, healthy: bool) -> None:
        made = Instance(f"127.0.{host}.{next(self.numbers)}", lane, healthy)
        self._instances(host, (*self.case.instances[HOSTS[host]], made))

    @rule(host=HOST, which=st.integers(0, 8))
    def stop_instance(self, host: int, which: int) -> None:
        some = self.case.instances[HOSTS[host]]
        self._instances(host, tuple(each for n, each in enumerate(some) if n != which))

    @rule(host=HOST, which=st.integers(0, 8))
    def turn_health(self, host: int, which: int) -> None:
        some = list(self.case.instances[HOSTS[host]])
        if which < len(some):
            some[which] = replace(some[which], healthy=not some[which].healthy)
            self._instances(host, tuple(some))

    def _instances(self, host: int, some: tuple[Instance, ...]) -> None:
        self.take(replace(self.case, instances={**self.case.instances, HOSTS[host]: some}))

    @rule(marks=st.lists(LANE, unique=True, max_size=2))
    def call_with(self, marks: list[str]) -> None:
        header = ",".join(("user=7", *(f"{KEY}={mark};p=1" for mark in marks)))
        self.case = replace(self.case, marks=tuple(marks), header=header)

    # === what holds ===

    @invariant()
    def every_hop_is_where_it_should_be(self) -> None:
        for service in self.case.group.services:
            found = {answered_in(self.router, self.case, service.host) for _ in range(CALLS)}
            assert found <= expected(self.case, service), (service.host, found)

    @invariant()
    def a_strict_lane_never_leaks(self) -> None:
        """Said once more, and shorter: whose lane is strict is in it, or gets an error."""
        marks = self.case.marks
        entered = [lane for lane in open_lanes(self.case.group) if lane.name in marks]
        for service in self.case.group.services:
            if entered and self.case.group.mode_of(entered[0], service) == "strict":
                found = answered_in(self.router, self.case, service.host)
                assert found in (entered[0].name, None)


TestThroughChanges = ThroughChanges.TestCase
TestThroughChanges.settings = settings(max_examples=80, stateful_step_count=20, deadline=None)
