"""One table of rules and requests: every kind of client sends each where all others do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from agreement import HELLO, TABLE, WAIT, Case, Row
from agreement_columns import NAMES, World, world

FEW = 6
"""Calls where one endpoint answers all."""
MANY = {"ours": 120, "theirs": 500}
OURS = ("sidecar", "sdk-thrift", "sdk-httpx", "sdk-grpc")
SAME_ENDPOINTS = (("sidecar", "sdk-thrift"), ("sdk-httpx", "envoy-http"))
STEP = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Reason:
    """Why some columns cannot carry some cases."""

    columns: frozenset[str]
    holds: Callable[[Row, Case], bool]


def reason(*columns: str, holds: Callable[[Row, Case], bool]) -> Reason:
    return Reason(frozenset(columns), holds)


REASONS: dict[str, Reason] = {
    "a proxy takes no rules from VirtualServices": reason(
        "sidecar", "envoy-thrift", holds=lambda row, _: row.kind == "VirtualService"
    ),
    "a MetaRouter is for protocols that a codec reads": reason(
        "sdk-httpx",
        "sdk-grpc",
        "grpcio",
        "envoy-http",
        holds=lambda row, _: row.kind == "MetaRouter",
    ),
    "a call of gRPC is a POST": reason(
        "sdk-grpc", "grpcio", holds=lambda _, case: case.request.http_method != "POST"
    ),
    "a call of Thrift has no HTTP method": reason(
        "sdk-thrift", holds=lambda row, _: "match: [{method:" in row.rule
    ),
    "the service in Thrift has these methods only": reason(
        "sdk-thrift", holds=lambda _, case: case.request.path not in (HELLO, WAIT)
    ),
    "metainfo has one value for a name, and gRPC joins several": reason(
        "sdk-thrift",
        "grpcio",
        holds=lambda _, case: len(dict(case.request.headers)) < len(case.request.headers),
    ),
    "Envoy's Thrift proxy cannot test a method by regex": reason(
        "envoy-thrift", holds=lambda row, _: "method: {regex" in row.rule
    ),
    "Envoy's Thrift proxy has no hash policy": reason(
        "envoy-thrift", holds=lambda _, case: case.sticky
    ),
    "gRPC's client balances in turn, and is told of no keys": reason(
        "grpcio", holds=lambda _, case: case.sticky
    ),
    "gRPC's round robin knows no weights of endpoints": reason(
        "grpcio", holds=lambda row, _: bool(row.weights)
    ),
}


def excused(column: str, row: Row, case: Case) -> list[str]:
    return [name for name, why in REASONS.items() if column in why.columns and why.holds(row, case)]


@pytest.fixture(scope="module")
def everyone(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("agreement"), free_port) as running:
        yield running


def between(share: float, count: int) -> tuple[int, int]:
    """The least and the most of `count` consecutive steps of the golden ratio that fall into an arc
    of the circle of this length, wherever it lies; and one more or less for who is first of the
    endpoints of a cluster."""
    points = sorted(number * STEP % 1 for number in range(count))
    twice = points + [point + 1 for point in points]
    found = [
        sum(start <= point < start + share for point in twice[place : place + count])
        for place, start in enumerate(points)
    ]
    return min(found) - 2, max(found) + 2


def allowed(column: str, share: float, count: int) -> tuple[float, float]:
    if share == 1:
        return count, count
    if column in OURS:
        return between(share, count)
    around = 5 * math.sqrt(count * share * (1 - share)) + 1
    return count * share - around, count * share + around


def judge(column: str, case: Case, found: Counter[str], count: int) -> None:
    assert set(found) <= set(case.shares), (column, case, found)
    if case.sticky:
        assert len(found) == 1, (column, case, found)
        return
    for endpoint, share in case.shares.items():
        least, most = allowed(column, share, count)
        assert least <= found[endpoint] <= most, (column, case, found, (least, most))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_all_clients_agree(everyone: World, row: Row) -> None:
    for case in row.cases:
        answers = {}
        for column, send in everyone.columns.items():
            if excused(column, row, case):
                continue
            count = FEW
            if len(case.shares) > 1 and not case.sticky:
                count = MANY["ours" if column in OURS else "theirs"]
            answers[column] = send(row, case.request, count)
            judge(column, case, answers[column], count)
        for pair in SAME_ENDPOINTS:
            if case.sticky and all(column in answers for column in pair):
                assert len({tuple(answers[column]) for column in pair}) == 1, (case, answers)


def test_each_reason_not_to_carry_a_case_is_needed_in_each_column_that_has_it() -> None:
    alone = {
        (column, *names)
        for row in TABLE
        for case in row.cases
        for column in NAMES
        if len(names := excused(column, row, case)) == 1
    }
    assert alone == {(column, name) for name, why in REASONS.items() for column in why.columns}


def test_each_case_is_carried_by_ours_and_by_another_and_each_column_carries_many() -> None:
    carried: Counter[str] = Counter()
    for row in TABLE:
        for case in row.cases:
            columns = [column for column in NAMES if not excused(column, row, case)]
            carried.update(columns)
            assert len(columns) > 1, (row.name, case)
    assert set(carried) == set(NAMES)
    assert min(carried.values()) >= 20, carried


def test_nothing_was_refused_by_anybody(everyone: World) -> None:
    for name, envoy in everyone.envoys.items():
        counters = envoy.counters()
        assert not [n for n, v in counters.items() if n.endswith("update_rejected") and v], name
    for node in everyone.plane.steer("GET", "/v1/status").json()["nodes"]:
        for type_name, of in node["types"].items():
            assert of["refused"] == [], (node["id"], type_name)
