"""Whatever a stranger sends, no mark comes in that the entries did not give."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from colouring_cases import lane_groups
from hypothesis import given, settings
from hypothesis import strategies as st
from meltemi.lanes.colouring import Request, coloured, compiled
from meltemi.proxyless.context import incoming
from opentelemetry.baggage import get_all
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

GROUP = """
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {name: books}
spec: {services: [{host: books}], baggageKey: my_env}
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {name: dev}
spec: {group: books, entry: [{headers: {uid: {exact: "1"}}}]}
"""
KEY = "my_env"
PLAN = compiled(lane_groups(GROUP))


def odd_case(text: str) -> st.SearchStrategy[str]:
    return st.tuples(*(st.sampled_from((c.lower(), c.upper())) for c in text)).map("".join)


def encoded(text: str) -> st.SearchStrategy[str]:
    """Any of its characters percent-encoded, in either case of digits."""
    forms = [(c, f"%{ord(c):02x}", f"%{ord(c):02X}") for c in text]
    return st.tuples(*map(st.sampled_from, forms)).map("".join)


BLANKS = st.text(" \t", max_size=2)
PADDING = st.sampled_from(("", " ", "\t", "+", "%20", "%09", "%0a", "%C2%A0", "\xa0", "\x1f"))
KEYS = odd_case(KEY).flatmap(lambda key: st.one_of(st.just(key), encoded(key)))
MARKS = st.builds(
    "{}{}{}{}={}{}{}".format,
    BLANKS, PADDING, KEYS, PADDING, BLANKS,
    st.sampled_from(("dev", "%64ev", "blue", "", "dev;p=1", '"dev"', "dev=1")), BLANKS,
)  # fmt: skip
OTHERS = st.one_of(
    st.sampled_from(
        ("a=1", "b=2;p;q=r", "", " ", "a=my_env=dev", "a;my_env=dev", "=", "my_env2=x")
    ),
    st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n\0"), max_size=20),
)
LISTS = st.lists(st.one_of(MARKS, OTHERS), max_size=8).map(",".join)
LIST_NAMES = st.sampled_from((
    "baggage", "rpc-transit-baggage", "rpc-persist-baggage", "rpc_transit_baggage",
    "rpc_persist_baggage", "rpc-transit_baggage", "rpc-transit-upstream-baggage",
))  # fmt: skip
KEY_NAMES = st.builds(
    "{}{}".format,
    st.sampled_from((
        "ot-baggage-", "uberctx-", "ot_baggage_", "rpc-transit-ot-baggage-", "rpc-transit-uberctx-",
        "rpc_transit_ot_baggage_", "rpc-persist-ot-baggage-",
    )),
    st.one_of(KEYS.map(str.lower), st.just("my-env"), st.just("other")),
)  # fmt: skip
HEADERS = st.lists(
    st.one_of(
        st.tuples(LIST_NAMES.flatmap(odd_case), LISTS),
        st.tuples(KEY_NAMES, st.sampled_from(("dev", "a,my_env=dev", quote("a,my_env=dev")))),
        st.tuples(st.sampled_from(("uid", "env", "my_env", "x-baggage")), st.just("2")),
    ),
    max_size=8,
)


def kept(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    lower = [(name.lower(), value) for name, value in headers]
    return coloured(PLAN, Request("GET", "/", "", lower, "192.0.2.1"), 0)


def marks(context: Context) -> dict[str, object]:
    """Members whose key is the group's to a reader who does not mind how it is written."""
    members = get_all(context)
    return {k: v for k, v in members.items() if k.strip().lower().replace("-", "_") == KEY}


@settings(max_examples=300, deadline=None)
@given(HEADERS)
def test_no_mark_of_a_stranger_comes_in(headers: list[tuple[str, str]]) -> None:
    left = kept(headers)
    assert marks(incoming(left, context=Context())) == {}
    upper = [(name.upper(), value) for name, value in left]  # RPC_TRANSIT_ is read as metainfo
    assert marks(incoming(upper, context=Context())) == {}


@settings(max_examples=150, deadline=None)
@given(HEADERS)
def test_nor_for_opentelemetrys_own_propagator(headers: list[tuple[str, str]]) -> None:
    found = ",".join(value for name, value in kept(headers) if name == "baggage")
    context = W3CBaggagePropagator().extract({"baggage": found}, Context())
    assert marks(context) == {}


@settings(max_examples=150, deadline=None)
@given(HEADERS)
def test_who_is_let_in_has_the_mark_of_the_entry_and_no_other(
    headers: list[tuple[str, str]],
) -> None:
    left = kept([*(pair for pair in headers if pair[0] != "uid"), ("uid", "1")])
    found = ",".join(value for name, value in left if name == "baggage")
    fits = len(found) <= 8192
    assert fits
    assert marks(incoming(left, context=Context())) == {KEY: "dev"}


@settings(max_examples=150, deadline=None)
@given(st.lists(OTHERS.filter(lambda text: "," not in text), max_size=8), st.integers(0, 8), MARKS)
def test_other_members_stay_byte_for_byte(others: list[str], place: int, mark: str) -> None:
    """What a stranger's mark stood between."""
    others = [each for each in others if KEY not in each.lower() and "%" not in each]
    with_mark = ",".join([*others[:place], mark, *others[place:]])
    found = [value for name, value in kept([("baggage", with_mark)]) if name == "baggage"]
    left = ",".join(others)
    assert found == ([left] if left.strip(" \t,") else [])


@pytest.mark.parametrize("name", ["baggage", "Rpc-Transit-Baggage", "rpc_persist_baggage"])
def test_the_property_can_fail(name: str) -> None:
    """What would come in if nothing were stripped."""
    assert marks(incoming([(name.replace("_", "-"), "my_env=dev")], context=Context()))
