"""Random groups, instances and requests: the lane of every hop, as the engine decides it."""

from __future__ import annotations

import time
from dataclasses import replace

from hypothesis import given, settings
from lane_cases import (
    HOSTS,
    KEY,
    MODES,
    Case,
    Instance,
    answered_in,
    cases,
    expected,
    router,
    wanted,
)
from meltemi.model import (
    BASELINE,
    Lane,
    LaneGroup,
    LaneService,
)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_every_hop_is_in_the_first_lane_that_has_a_healthy_instance(case: Case) -> None:
    made = router(case)
    for service in case.group.services:
        found = {answered_in(made, case, service.host) for _ in range(12)}
        assert found <= expected(case, service)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_a_lane_whose_instances_recover_is_entered_again(case: Case) -> None:
    recovered = replace(
        case,
        instances={
            host: tuple(replace(each, healthy=True) for each in some)
            for host, some in case.instances.items()
        },
    )
    made = router(recovered)
    for service in case.group.services:
        first = next(wanted(case, service))
        if any(each.lane == first for each in case.instances[service.host]):
            assert answered_in(made, recovered, service.host) == first


def test_one_healthy_instance_of_a_lane_keeps_all_of_its_requests() -> None:
    host = HOSTS[0]
    group = LaneGroup("shop", "g", (LaneService(host),), KEY, (Lane("dev", ((KEY, "dev"),)),))
    ill = tuple(Instance(f"127.0.0.{number}", "dev", healthy=False) for number in range(1, 10))
    others = (Instance("127.0.1.1", "dev", True), Instance("127.0.1.2", BASELINE, True))
    case = Case(group, {host: (*ill, *others)}, ("dev",), "env=dev")
    made = router(replace(case, instances={host: case.instances[host], HOSTS[1]: ()}))
    assert {answered_in(made, case, host) for _ in range(100)} == {"dev"}


def test_a_lane_is_left_when_its_instance_cannot_be_reached_and_entered_again() -> None:
    host = HOSTS[0]
    group = LaneGroup("shop", "g", (LaneService(host),), KEY, (Lane("dev", ((KEY, "dev"),)),))
    some = (Instance("127.0.0.1", "dev", True), Instance("127.0.0.2", BASELINE, True))
    case = Case(group, {host: some}, ("dev",), "env=dev")
    made = router(case)
    listener = f"{host}:9080"
    made.call(listener, listener, "/s/m", [("baggage", "env=dev")]).failed("connect-failure")
    assert {answered_in(made, case, host) for _ in range(20)} == {BASELINE}
    ends = time.monotonic() + 20
    while answered_in(made, case, host) != "dev":
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_where_everybody_was_put_out_everybody_is_asked() -> None:
    host = HOSTS[0]
    group = LaneGroup("shop", "g", (LaneService(host),), KEY, (Lane("dev", ((KEY, "dev"),)),))
    some = (Instance("127.0.0.1", "dev", True), Instance("127.0.0.2", BASELINE, True))
    for mode in MODES:
        asked = {"dev"} if mode == "strict" else {"dev", BASELINE}
        case = Case(replace(group, mode=mode), {host: some}, ("dev",), "env=dev")
        made = router(case)
        listener = f"{host}:9080"
        for _ in range(4):
            call = made.call(listener, listener, "/s/m", [("baggage", "env=dev")])
            call.failed("connect-failure")
        assert {answered_in(made, case, host) for _ in range(100)} == asked
