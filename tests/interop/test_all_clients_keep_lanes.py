"""One table of lanes and requests: every kind of client is in the same lane at every hop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from lane_columns import NAMES, World, world
from lane_table import HOPS, TABLE, Row

CALLS = 8
"""Of each case, in a row."""
SETTLED_S = 20.0
"""Until a client has seen that an instance is gone; Envoy puts it out for 5 s, then tries again."""
SENDS_AGAIN = ("sidecar", "sdk-thrift", "sdk-httpx", "sdk-grpc", "grpcio")
"""They try another instance, before there is an error, where nothing listens."""
NAMES_THE_LANE = ("sidecar", "sdk-thrift", "sdk-httpx", "sdk-grpc", "grpcio", "envoy-thrift")
"""In the error of a lane without an instance. What Envoy answers over HTTP is for its listener's
`local_reply_config` to say."""


@pytest.fixture(scope="module")
def everyone(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("lanes"), free_port) as running:
        yield running


def plain(way: list[str]) -> str:
    """The way as the table writes it, an error without its reason."""
    return " ".join("!" if each.startswith("!") else each for each in way)


def wanted(text: str) -> str:
    return " ".join("!" if each.startswith("!") else each for each in text.split())


def judge(column: str, row: Row, case: str, way: list[str]) -> None:
    """Of an error: that it names the lane, where it is one that has no instance at all."""
    *answered, last = case.split()
    if not last.startswith("!"):
        return
    there = row.at[HOPS[len(answered)]].split()
    known = {word.rstrip("!").replace("base", "baseline") for word in there}
    if last[1:] not in known and column in NAMES_THE_LANE:
        assert f"lane-{last[1:]}" in way[-1], (column, way)


def settled(everyone: World, column: str, row: Row, baggage: str, case: str) -> list[str]:
    """The way once it is as wanted. Until then there may be errors, where somebody is gone whom the
    client has not seen go; never another lane."""
    deadline = time.monotonic() + SETTLED_S
    while True:
        way = everyone.way(column, row, baggage)
        if plain(way) == wanted(case):
            return way
        assert way[-1].startswith("!"), (column, baggage, way)
        assert wanted(case).startswith(plain(way[:-1])), (column, baggage, way)
        assert row.someone_is_gone and column not in SENDS_AGAIN, (column, baggage, way)
        assert time.monotonic() < deadline, (column, baggage, way)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_all_clients_are_in_the_same_lane_at_every_hop(everyone: World, row: Row) -> None:
    for baggage, case in row.cases.items():
        for column in NAMES:
            for _ in range(CALLS):
                judge(column, row, case, settled(everyone, column, row, baggage, case))


def test_nothing_was_refused_by_anybody(everyone: World) -> None:
    for name, envoy in everyone.envoys.items():
        counters = envoy.counters()
        assert not [n for n, v in counters.items() if n.endswith("update_rejected") and v], name
    for node in everyone.plane.steer("GET", "/v1/status").json()["nodes"]:
        for type_name, of in node["types"].items():
            assert of["refused"] == [], (node["id"], type_name)
