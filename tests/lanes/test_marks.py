"""Which `baggage` headers carry the mark of a lane."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meltemi.engine import check_regex, explain_route
from meltemi.lanes import mark_pattern
from meltemi.proxyless import baggage
from meltemi.xds import messages

MARKED = [
    "env=dev",
    " env = dev ",
    "userId=7,env=dev",
    "env=dev,userId=7",
    "userId=7;p=1 , env=dev;ttl=3;q, z=",
    "env\t=\tdev\t;p",
    "env=%64ev",
    "env=d%65%76",
    "a=b,,env=dev",
]
NOT_MARKED = [
    "",
    "env",
    "env=",
    "xenv=dev",
    "env=development",
    "env=dev1",
    "env=xdev",
    "Env=dev",
    "env=DEV",
    "my-env=dev",
    "a=env=dev",
    "a=b;env=dev",
    'a="x;env=dev"',
    "env=dev dev",
    "e%6Ev=dev",
    "env=%2564ev",
    "env=dev%20",
    "env==dev",
]


GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "marks.tsv"


def engine_matches(pattern: str, header: str) -> bool:
    route = {
        "name": "r",
        "match": {
            "prefix": "/",
            "headers": [{"name": "baggage", "string_match": {"safe_regex": {"regex": pattern}}}],
        },
        "route": {"cluster": "lane"},
    }
    fields = {"name": "x", "virtual_hosts": [{"name": "d", "domains": ["*"], "routes": [route]}]}
    kind = messages.ROUTE.removeprefix("type.googleapis.com/")
    body = messages.serialize(messages.from_json(kind, fields))
    return bool(explain_route(body, {"baggage": header})[0]["matched"])


@pytest.mark.parametrize("header", MARKED)
def test_a_member_is_found_wherever_and_however_it_is_written(header: str) -> None:
    assert re.fullmatch(mark_pattern("env", "dev"), header)
    assert engine_matches(mark_pattern("env", "dev"), header)


@pytest.mark.parametrize("header", NOT_MARKED)
def test_what_only_looks_like_the_mark_is_none(header: str) -> None:
    assert not re.search(mark_pattern("env", "dev"), header)
    assert not engine_matches(mark_pattern("env", "dev"), header)


def test_a_key_with_a_dot_means_that_dot() -> None:
    pattern = mark_pattern("my.env", "v1.2-x")
    assert re.fullmatch(pattern, "my.env=v1.2-x")
    assert not re.search(pattern, "myxenv=v1.2-x")
    assert not re.search(pattern, "my.env=v1a2-x")


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@given(NAMES, NAMES, st.dictionaries(NAMES, st.text(max_size=12), max_size=5))
def test_what_the_sdk_writes_is_in_the_lane_exactly_if_it_says_so(
    key: str, lane: str, members: dict[str, str]
) -> None:
    pattern = mark_pattern(key, lane)
    check_regex(pattern)
    for with_mark in (members, {**members, key: lane}):
        header = ",".join(f"{k}={baggage.Value(v).written}" for k, v in with_mark.items())
        assert bool(re.search(pattern, header)) == (with_mark.get(key) == lane), header


HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            ["env", "=", "dev", "d%65v", "%64%65%76", "%6", "%", ",", ";", " ", "\t", "\n", "\xff"]
        ),
        st.text(max_size=3),
    ),
    max_size=12,
).map("".join)


@given(HOSTILE)
def test_the_engine_reads_a_mark_as_its_expression_does(header: str) -> None:
    """The engine knows the expression of a mark, and does not evaluate it."""
    pattern = mark_pattern("env", "dev")
    known = engine_matches(pattern, header)
    assert known == engine_matches(f"(?:{pattern})", header)
    assert known == (re.fullmatch(pattern, header) is not None)


def test_the_engine_is_tested_with_the_expressions_that_lanes_write() -> None:
    for line in GOLDEN.read_text().splitlines():
        key, value, pattern = line.split("\t")
        assert mark_pattern(key, value) == pattern
