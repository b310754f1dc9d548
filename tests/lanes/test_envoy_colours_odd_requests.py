"""What no table can hold: shares of many, what strangers make up, what could be taken for code."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections.abc import Callable, Iterator

import pytest
from colouring_case import by_name, group, lane, lane_groups
from edge_envoy import Edge
from meltemi.lanes.colouring import Request, coloured, compiled
from meltemi.lanes.envoy_filter import SLOT_TYPES, SLOTS, http_filters, slots
from meltemi.lanes.lua import literal
from meltemi.lanes.share import in_share
from meltemi.model import Lane, LaneEntry, LaneGroup, StringMatch

KEYS = [f"user-{number}" for number in range(10_000)]
SHARES = {
    percent: group() + lane(f"{{percentage: {{value: {percent}, by: {{header: x-user}}}}}}")
    for percent in (5, 20, 50)
}
CHANCE = group() + lane("{percentage: {value: 30}}")
INJECTED = (
    '") os.exit(1) --',
    "]] os.exit(1) --[[",
    "\\",
    '\\" os.exit(1) --',
    "' .. os.exit(1) .. '",
    "%1$%{}",
    "a\\\nos.exit(1)",
    "\0\r\n\x7f\u2028",
)
"""Those but the last two can be in a request."""
NAMES = (
    "baggage", "Baggage", "BAGGAGE", "rpc-transit-baggage", "rpc_persist_baggage", "uberctx-env",
    "ot-baggage-env", "ot_baggage-ENV", "ot-baggage-%45nv", "ot-baggage-+env", "ot-baggage-enx",
    "ot-baggage-e%6ev%20", "uberctx-%2565nv", "uberctx-%2benv", "ot-baggage-%80env",
    "rpc-transit-upstream-baggage", "rpc-transit-uberctx-e%4ev", "uid", "cookie", "x-user",
    "RPC_TRANSIT_UPSTREAM_ot_baggage_env", "rpc-persist-upstream_uberctx-env",
)  # fmt: skip
PIECES = (
    "env=dev", "ENV=dev", "%65nv=x", " env = a;p=1", "env", "env;p", "a=1", "b=2;p;q=r", "", " ",
    "=", "envx=1", "xenv=1", "e%6Ev%20=1", "+env=1", "a=env", "user=7", "user=%37;x", "user",
    "\xe9nv=1", "env\xa0=1", "%zz=1", "uid=on; beta=on", "100", "a=\"", "%00env=1", "e nv=1",
)  # fmt: skip
MIXED = (
    group() + lane("{headers: {uid: {regex: '.*(env|100).*'}}}, {cookies: {beta: {regex: 'o.'}}}"),
    group("edge: {trustedSources: [127.0.9.0/24]}")
    + lane("{percentage: {value: 60, by: {baggage: user}}}")
    + group(name="games", key="a")
    + lane("{headers: {baggage: {regex: '.*b=.*'}}}", name="blue", of="games"),
    group(key="my_env") + lane("{percentage: {value: 50, by: {header: x-user}}}"),
)


def hostile() -> LaneGroup:
    lanes = [Lane("never", (), entries=(LaneEntry(headers=(("x", exact(INJECTED[-1])),)),))]
    for text in INJECTED[:-1]:
        name = named(text)
        entries = (
            LaneEntry(headers=(("x-a", exact(text)),)),
            LaneEntry(cookies=((name, exact(name)),)),
            LaneEntry(query_params=((name, StringMatch("present")),)),
        )
        lanes.append(Lane(text, (), entries=entries))
    return LaneGroup("shop", "hostile", (), "env", tuple(lanes))


def many() -> LaneGroup:
    lanes = [
        Lane(f"lane-{number}", (), entries=(LaneEntry(headers=(("x-lane", exact(str(number))),)),))
        for number in range(1_000)
    ]
    return LaneGroup("shop", "many", (), "env", tuple(lanes))


def exact(text: str) -> StringMatch:
    return StringMatch("exact", text)


def named(text: str) -> str:
    return re.sub(r"[ =\n]", "", text)


@pytest.fixture(scope="module")
def edge(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    made = Edge(free_port)
    for text in (*SHARES.values(), CHANCE, *MIXED):
        made.add(text, lane_groups(text))
    made.add("hostile", [hostile()])
    made.add("many", [many()])
    with made.running(tmp_path_factory.mktemp("edge")):
        yield made


def test_ten_thousand_keys_stick_and_a_growing_share_only_adds(edge: Edge) -> None:
    inside: list[set[str]] = []
    for percent, text in SHARES.items():
        told = edge.baggage(text, "x-user", KEYS)
        assert set(told) == {"env=dev", ""}
        inside.append({key for key, mark in zip(KEYS, told, strict=True) if mark == "env=dev"})
        assert inside[-1] == {key for key in KEYS if in_share(key.encode(), percent)}
    assert inside[0] < inside[1] < inside[2]


def test_a_share_of_requests_is_drawn_for_each(edge: Edge) -> None:
    drawn = [mark == "env=dev" for mark in edge.baggage(CHANCE, "a", ["b"] * 5_000)]
    assert abs(sum(drawn) - 1_500) < 5 * math.sqrt(5_000 * 0.3 * 0.7)
    changes = sum(one != other for one, other in itertools.pairwise(drawn))
    assert abs(changes - 2_100) < 250, "one draw says nothing of the next"


@pytest.mark.parametrize("text", INJECTED[:-2])
def test_what_a_lane_says_is_data_and_never_code(edge: Edge, text: str) -> None:
    name = named(text)
    for headers, path in (
        ([("x-a", text)], "/"),
        ([("cookie", f"{name}={name}")], "/"),
        ([], f"/?{name}"),
    ):
        _, found = edge.ask("hostile", headers, path=path)
        assert by_name(found)["baggage"] == [f"env={text}"]


@pytest.mark.parametrize("text", INJECTED)
def test_a_literal_is_the_text_and_ends_nowhere_before_its_end(text: str) -> None:
    written = literal(text)
    assert re.fullmatch(r'"(?:[\w ./:=,-]|\\[0-9]{3})*"', written, re.ASCII)
    read = re.sub(r"\\([0-9]{3})", lambda found: chr(int(found[1])), written[1:-1])
    assert read.encode("latin-1").decode() == text


@pytest.mark.parametrize("seed", range(6))
def test_envoy_and_the_evaluator_agree_about_odd_requests(edge: Edge, seed: int) -> None:
    chance = random.Random(seed)
    text = MIXED[seed % len(MIXED)]
    plan = compiled(lane_groups(text))
    for _ in range(150):
        headers = [odd_header(chance) for _ in range(chance.randint(1, 4))]
        source = chance.choice(("127.0.0.7", "127.0.9.3"))
        lower = [(name.lower(), value) for name, value in headers]
        wanted = coloured(plan, Request("GET", "/", "", lower, source), 0)
        _, found = edge.ask(text, headers, source)
        names = {name for name, _ in lower} | {"baggage"}
        got = {name: values for name, values in by_name(found).items() if name in names}
        sent = {name: [v.strip(" \t") for v in vs] for name, vs in by_name(wanted).items()}
        assert got == sent, headers


def odd_header(chance: random.Random) -> tuple[str, str]:
    key = chance.choice(("env", "env", "my-env", "my_env"))
    value = ",".join(chance.choices(PIECES, k=chance.randint(1, 4)))
    return chance.choice(NAMES).replace("env", key), value.strip(" \t")


def test_of_a_thousand_lanes_by_one_header_each_is_entered(edge: Edge) -> None:
    told = edge.baggage("many", "x-lane", [str(number) for number in range(0, 1_010, 10)])
    assert told == [*(f"env=lane-{number}" for number in range(0, 1_000, 10)), ""]
    [decision, _] = http_filters([many()])
    assert len(json.dumps(decision["typed_config"]["xds_matcher"])) < 20_000


def test_filters_that_are_sent_apart_have_names_that_never_change() -> None:
    for text in (*MIXED, CHANCE, ""):
        found = slots(lane_groups(text) if text else [])
        assert tuple(each["name"] for each in found) == SLOTS
        assert {each["typed_config"]["@type"] for each in found} <= set(SLOT_TYPES)
