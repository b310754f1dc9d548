"""The store is bounded, whatever comes; the newest traces are kept."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from meltemi.traces.hops import Way
from meltemi.traces.spans import Kind, Source, Span
from meltemi.traces.store import SETTLED_S, Limits, Store

SMALL = Limits(traces=3, spans=8, spans_of_a_trace=4, age_s=60)


def served(trace: int, span: int = 1, parent: int = 0, service: str = "a") -> Span:
    above = f"{parent:016x}" if parent else ""
    return Span(f"{trace:032x}", f"{span:016x}", above, "x", Kind.SERVER, 1, 2, Source(service))


def way(store: Store, trace: int, now: float = 0) -> Way | None:
    return store.way(f"{trace:032x}", now)


def test_the_oldest_trace_makes_room() -> None:
    store = Store(SMALL)
    for trace in (1, 2, 3, 4):
        store.add([served(trace)], now=0)
    assert [way(store, trace) is None for trace in (1, 2, 3, 4)] == [True, False, False, False]


def test_an_old_trace_is_forgotten_without_a_new_one() -> None:
    store = Store(SMALL)
    store.add([served(1)], now=0)
    assert way(store, 1, now=60) is not None
    assert way(store, 1, now=60.1) is None
    assert store.counts() == (0, 0)


def test_a_trace_has_no_more_spans_than_it_may() -> None:
    store = Store(SMALL)
    assert store.add([served(1, span) for span in range(1, 8)], now=0) == 3
    assert store.counts() == (1, 4)


def test_a_span_that_is_sent_twice_is_one() -> None:
    store = Store(SMALL)
    store.add([served(1), served(1)], now=0)
    assert store.add([served(1)], now=1) == 0
    assert store.counts() == (1, 1)


def test_a_late_span_completes_what_was_answered_before() -> None:
    store = Store(SMALL)
    store.add([served(1, span=2, parent=1, service="b")], now=0)
    early = way(store, 1)
    assert early is not None and not early.complete
    store.add([served(1, span=1)], now=5)
    late = way(store, 1)
    assert late is not None and late.complete
    assert [hop.service for hop in late.hops] == ["a", "b"]


def test_a_graph_is_of_the_last_minutes() -> None:
    store = Store(SMALL)
    store.add([served(1, service="old")], now=0)
    store.add([served(2, service="new")], now=30)
    assert [node.service for node in store.graph(20, now=40).nodes] == ["new"]
    assert [node.service for node in store.graph(40, now=40).nodes] == ["new", "old"]


def test_a_graph_waits_a_moment_for_what_is_missing() -> None:
    store = Store(SMALL)
    store.add([served(1, span=2, parent=1, service="b")], now=0)
    assert store.graph(60, now=1).nodes == ()
    assert [node.service for node in store.graph(60, now=SETTLED_S).nodes] == ["b"]
    store.add([served(2, service="a")], now=10)
    assert [node.service for node in store.graph(5, now=10).nodes] == ["a"]


def test_a_graph_may_be_of_the_requests_for_one_path() -> None:
    store = Store(SMALL)
    for trace, path in ((1, "/api/v1/products/1"), (2, "/api/v1/graph")):
        asked = served(trace, service=path)
        store.add([dataclasses.replace(asked, attributes={"url.path": path})], now=0)
    found = store.graph(60, now=1, path="/api/v1/products/")
    assert [node.service for node in found.nodes] == ["/api/v1/products/1"]
    assert len(store.graph(60, now=1).nodes) == 2


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9), st.floats(0, 50)), max_size=60))
def test_it_never_holds_more_than_its_limits(sent: list[tuple[int, int, float]]) -> None:
    store, now = Store(SMALL), 0.0
    for trace, span, later in sent:
        now += later
        new = way(store, trace, now) is None
        store.add([served(trace, span)], now)
        traces, spans = store.counts()
        assert traces <= SMALL.traces and spans <= SMALL.spans
        assert way(store, trace, now) is not None or not new
