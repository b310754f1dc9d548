"""What is counted of lanes, as the engine counts it for calls of the SDK."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from lane_cases import HOSTS, KEY, Case, Instance, cases, router, wanted
from meltemi.engine import Call, NoEndpoint, Router
from meltemi.model import (
    BASELINE,
    DestinationRule,
    Lane,
    LaneGroup,
    LaneService,
    OutlierDetection,
    TrafficPolicy,
)

HOST = HOSTS[0]
LISTENER = f"{HOST}:9080"
DEV = Lane("dev", ((KEY, "dev"),))
BLUE = Lane("blue", ((KEY, "blue"),))


def case(*instances: Instance, group: LaneGroup | None = None) -> Case:
    services = (LaneService(HOST),)
    made = group or LaneGroup("shop", "g", services, KEY, (BLUE, DEV), fallback=("blue",))
    return Case(made, {HOST: instances, HOSTS[1]: ()}, ("dev",), f"{KEY}=dev")


PATIENT = DestinationRule(
    "shop", "own", HOST, TrafficPolicy(outlier_detection=OutlierDetection(consecutive_5xx=100))
)


def call(made: Router) -> Call:
    return made.call(LISTENER, LISTENER, "/s/m", [("baggage", f"{KEY}=dev")])


def counted(made: Router, lane: str) -> tuple[dict[str, int], int]:
    (found,) = (each for each in made.lanes() if each["lane"] == lane)
    assert found["service"] == HOST
    answered_by, leaks = found["answered_by"], found["leaks"]
    assert isinstance(answered_by, dict)
    assert isinstance(leaks, int)
    return {who: count for who, count in answered_by.items() if count}, leaks


def answered(made: Router, header: str = f"{KEY}=dev", host: str = HOST) -> tuple[str | None, ...]:
    found = made.call(f"{host}:9080", f"{host}:9080", "/s/m", [("baggage", header)])
    found.succeeded()
    return found.mark, found.lane


def test_a_call_knows_the_lane_that_it_asks_for_and_the_one_of_its_endpoint() -> None:
    base, dev = Instance("127.0.0.1", BASELINE, True), Instance("127.0.0.2", "dev", True)
    blue = Instance("127.0.0.3", "blue", True)
    assert answered(router(case(base, dev, blue))) == ("dev", "dev")
    assert answered(router(case(base, blue))) == ("dev", "blue")
    assert answered(router(case(base))) == ("dev", BASELINE)
    assert answered(router(case(base, dev)), "userId=7") == (None, BASELINE)


def test_calls_of_a_host_without_lanes_are_not_counted() -> None:
    group = LaneGroup("shop", "g", (LaneService(HOSTS[1]),), KEY, (DEV,))
    made = router(case(Instance("127.0.0.1", "dev", True), group=group))
    assert answered(made) == (None, None)
    assert made.lanes() == []


def test_calls_are_counted_by_where_their_endpoint_stood() -> None:
    base, blue = Instance("127.0.0.1", BASELINE, True), Instance("127.0.0.3", "blue", True)
    for instances, who in (((base, blue), "fallback"), ((base,), "baseline")):
        made = router(case(*instances))
        for _ in range(3):
            answered(made)
        assert counted(made, "dev") == ({who: 3}, 0)
    made = router(case())
    with pytest.raises(NoEndpoint):
        answered(made)
    assert counted(made, "dev") == ({"none": 1}, 0)
    made = router(case(base))
    answered(made, "")
    assert counted(made, BASELINE) == ({"baseline": 1}, 0)


def test_a_reply_that_is_an_error_was_answered_and_a_call_that_was_left_was_not() -> None:
    made = router(case(Instance("127.0.0.2", "dev", True)), PATIENT)
    call(made).failed("status", 500)
    call(made).failed("unknown")
    call(made).failed("reset")
    call(made).abandoned()
    assert counted(made, "dev") == ({"lane": 2, "none": 1}, 0)


def test_a_lane_that_nobody_watches_leaks_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its instances refuse connections and the mesh takes them for healthy all the same."""
    instances = [Instance(f"127.0.0.{n}", "dev", True) for n in (2, 3)]
    made = router(case(Instance("127.0.0.1", BASELINE, True), *instances), PATIENT)
    with caplog.at_level(logging.WARNING, "meltemi.lanes"):
        for _ in range(3):
            found = call(made)
            while found.lane == "dev":
                assert found.failed("connect-failure") is not None
            found.succeeded()
    assert counted(made, "dev") == ({"baseline": 3}, 3)
    (said,) = caplog.messages
    assert said.startswith(f"a request of lane 'dev' for {HOST} was answered by 'baseline' though")
    assert "outlierDetection" in said


def test_a_lane_whose_failures_are_seen_does_not_leak() -> None:
    instances = [Instance(f"127.0.0.{n}", "dev", True) for n in (2, 3)]
    made = router(case(Instance("127.0.0.1", BASELINE, True), *instances))
    found = call(made)
    while found.lane == "dev":
        assert found.failed("connect-failure") is not None
    found.succeeded()
    assert counted(made, "dev") == ({"baseline": 1}, 0)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_no_call_leaks_while_health_is_known(some: Case) -> None:
    made = router(some)
    expected: Counter[tuple[str, str, str]] = Counter()
    for service in some.group.services:
        asked = next(wanted(some, service))
        for _ in range(5):
            try:
                mark, lane = answered(made, some.header, service.host)
            except NoEndpoint:
                who = "none"
            else:
                assert mark == (None if asked == BASELINE else asked)
                assert lane is not None
                by_lane = {asked: "lane", BASELINE: "baseline"}
                who = "baseline" if lane == BASELINE else by_lane.get(lane, "fallback")
            expected[asked, service.host, who] += 1
    found: Counter[tuple[str, str, str]] = Counter()
    for each in made.lanes():
        assert each["leaks"] == 0
        answered_by = each["answered_by"]
        assert isinstance(answered_by, dict)
        for who, count in answered_by.items():
            found[str(each["lane"]), str(each["service"]), who] += count
    assert +found == +expected
