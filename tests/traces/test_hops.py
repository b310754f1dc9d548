"""The way of a request, and the graph of many, from what processes export."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from meltemi.traces import otlp
from meltemi.traces.graph import graph
from meltemi.traces.hops import Way, way
from meltemi.traces.spans import Span
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from otlp_spans import CLIENT, INTERNAL, MILLISECOND, bookinfo, export, of, span


def spans(*resources: ResourceSpans) -> dict[str, Span]:
    found = otlp.decode(otlp.PROTOBUF, "", export(*resources)).spans
    return {each.id: each for each in found}


def read(*resources: ResourceSpans) -> Way:
    return way(spans(*resources))


def told(found: Way) -> list[tuple[str, str, str | None]]:
    return [(hop.service, hop.version, hop.lane) for hop in found.hops]


def test_a_request_goes_hop_by_hop_with_version_and_lane() -> None:
    found = read(*bookinfo(gateway=True))
    assert found.complete
    assert told(found) == [
        ("gateway", "", None),
        ("productpage", "v1", None),
        ("reviews", "v2", "dev"),
        ("ratings", "v2", "dev"),
        ("details", "v1", "baseline"),
    ]
    by_id = {hop.id: hop.service for hop in found.hops}
    assert [by_id.get(hop.parent, "") for hop in found.hops] == [
        "",
        "gateway",
        "productpage",
        "reviews",
        "productpage",
    ]
    reviews = found.hops[2]
    said = (reviews.duration, reviews.protocol, reviews.mark, reviews.instance)
    assert said == (22 * MILLISECOND, "thrift", "dev", "reviews-v2-0")


def test_the_order_in_which_spans_come_does_not_matter() -> None:
    wanted = read(*bookinfo())
    for order in permutations(bookinfo()):
        assert read(*order) == wanted


def test_it_is_incomplete_while_a_span_that_another_names_is_missing() -> None:
    without_productpage = [each for each in bookinfo() if _service(each) != "productpage"]
    found = read(*without_productpage)
    assert not found.complete
    assert {hop.service for hop in found.hops} == {"reviews", "ratings", "details"}


def test_a_call_whose_server_tells_nothing_is_a_hop_by_what_its_caller_says() -> None:
    call = span(2, 1, CLIENT, meltemi__peer__app="ratings", meltemi__peer__version="v2",
                meltemi__lane="dev", rpc__system="thrift")  # fmt: skip
    found = read(of("reviews", "v2", span(1), call))
    assert told(found) == [("reviews", "v2", None), ("ratings", "v2", "dev")]
    assert not found.hops[1].traced
    assert not found.complete  # it may still come


def test_a_call_that_failed_awaits_no_server() -> None:
    call = span(2, 1, CLIENT, error="", server__address="ratings", error__type="ConnectionRefused")
    found = read(of("reviews", "v2", span(1), call))
    assert found.complete
    assert (found.hops[1].service, found.hops[1].error) == ("ratings", "ConnectionRefused")


def test_spans_inside_a_service_are_passed_over() -> None:
    caller = of("a", "", span(1), span(2, 1, INTERNAL), span(3, 2, CLIENT))
    callee = of("b", "", span(4, 3))
    found = read(caller, callee)
    assert [(hop.service, hop.parent) for hop in found.hops] == [("a", ""), ("b", f"{1:016x}")]


def test_a_client_in_a_client_is_one_call() -> None:
    outer, inner = span(2, 1, CLIENT), span(3, 2, CLIENT)
    found = read(of("a", "", span(1), outer, inner), of("b", "", span(4, 3)))
    assert [hop.service for hop in found.hops] == ["a", "b"]
    assert found.complete


def test_the_lane_of_a_caller_wins_over_what_the_server_says_of_itself() -> None:
    served = span(3, 2, meltemi__lane="dev", meltemi__mark="dev")
    called = span(2, 1, CLIENT, meltemi__lane="baseline")
    assert read(of("a", "", span(1), called), of("b", "", served)).hops[1].lane == "baseline"
    unmarked = span(2, 1, CLIENT)
    assert read(of("a", "", span(1), unmarked), of("b", "", served)).hops[1].lane == "dev"


def test_what_a_gateway_says_of_whom_it_asked_is_not_its_own_lane() -> None:
    said: dict[str, Any] = {"meltemi__lane": "dev", "meltemi__mark": "dev", "peer__service": "b"}
    gateway = of("gateway", "", span(1, **said), span(2, 1, CLIENT, **said))
    found = read(gateway, of("b", "", span(3, 2)))
    assert told(found) == [("gateway", "", None), ("b", "", "dev")]


@pytest.mark.parametrize(
    "said",
    [
        {"url__path": "/a/b"},
        {"http__target": "/a/b?c=d"},
        {"url__full": "http://127.0.0.1:8080/a/b?c=d"},
        {"http__url": "http://127.0.0.1:8080/a/b"},
    ],
)
def test_a_hop_has_the_path_that_was_asked_for_without_its_query(said: dict[str, Any]) -> None:
    (hop,) = read(of("a", "", span(1, **said))).hops
    assert hop.path == "/a/b"


def test_a_url_that_is_none_has_no_path() -> None:
    (hop,) = read(of("a", "", span(1, url__full="http://[::1"))).hops
    assert hop.path == ""


def test_parents_in_a_circle_end() -> None:
    found = read(of("a", "", span(1, 2)), of("b", "", span(2, 1)), of("c", "", span(3, 3)))
    assert {hop.service for hop in found.hops} == {"a", "b", "c"}


def test_nothing_is_no_way() -> None:
    assert way({}) == Way()
    assert not read(of("a", "", span(1, kind=INTERNAL))).complete


def test_a_graph_counts_requests_by_edge_and_lane() -> None:
    ways = [
        *(read(*bookinfo(lane="dev")).hops for _ in range(2)),
        read(*bookinfo(reviews="v1", ratings="v1", lane="baseline")).hops,
        read(*bookinfo(reviews="v3", ratings=None, lane="baseline")).hops,
    ]
    found = graph(ways)
    edges = {(edge.source, edge.target): edge for edge in found.edges}
    assert {pair: edge.requests for pair, edge in edges.items()} == {
        ("", "productpage"): 4,
        ("productpage", "details"): 4,
        ("productpage", "reviews"): 4,
        ("reviews", "ratings"): 3,
    }
    assert edges["reviews", "ratings"].lanes == {"dev": 2, "baseline": 1}
    assert edges["", "productpage"].lanes == {"": 4}
    reviews = next(node for node in found.nodes if node.service == "reviews")
    assert reviews.versions == {"v1": 1, "v2": 2, "v3": 1}


def test_a_graph_counts_what_failed() -> None:
    call = span(2, 1, CLIENT, error="", server__address="ratings")
    (_, edge) = graph([read(of("reviews", "v2", span(1), call)).hops]).edges
    assert (edge.target, edge.requests, edge.errors) == ("ratings", 1, 1)


def _service(resource: ResourceSpans) -> str:
    return resource.resource.attributes[0].value.string_value
