"""The server's rules of delta, one test each; X.. are the checks of the xDS cases."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from meltemi.xds.discovery import DeltaRequest, Response
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE, WORKLOAD
from meltemi.xds.server_delta import DeltaSubscription
from meltemi.xds.server_state import MAX_UNANSWERED, Stream
from xds_source import Held, cluster, endpoints, listener, one_of_each, route, workload


class Peer:
    """A client that says exactly what a test tells it to."""

    def __init__(self, source: Held) -> None:
        self.source = source
        self.now = 0.0
        self.stream = Stream[DeltaRequest]("1-", DeltaSubscription)

    def ask(
        self,
        type_url: str,
        *subscribe: str,
        unsubscribe: tuple[str, ...] = (),
        known: Mapping[str, str] | None = None,
        nonce: str = "",
    ) -> Response | None:
        """Sends a request; returns the response to it, None for silence."""
        request = DeltaRequest(type_url, subscribe, unsubscribe, known or {}, nonce)
        self.stream.receive(request)
        return self.next()

    def answer(self, response: Response | None, error: str | None = None) -> Response | None:
        assert response is not None and response.nonce
        request = DeltaRequest(response.type_url, nonce=response.nonce, error=error)
        self.stream.receive(request)
        return self.next()

    def next(self) -> Response | None:
        response, _wake = self.stream.next(self.source.view, self.now)
        return response

    def settle(self, type_url: str, *subscribe: str) -> None:
        assert self.answer(self.ask(type_url, *subscribe)) is None

    def silence(self) -> None:
        assert self.next() is None


def given(response: Response | None) -> tuple[list[str], list[str]]:
    """Names with a body, and names removed."""
    assert response is not None
    return sorted(r.name for r in response.resources), sorted(response.removed)


@pytest.fixture
def source() -> Held:
    made = Held()
    made.put(CLUSTER, cluster("a"), cluster("b"))
    made.put(ENDPOINT, endpoints("a"), endpoints("b"))
    made.put(LISTENER, listener("l", ["r"]))
    made.put(ROUTE, route("r", "a"))
    return made


def test_x29_a_client_that_does_not_read_gets_the_newest_only(source: Held) -> None:
    peer = Peer(source)
    peer.settle(ENDPOINT, "a")
    for ordinal in range(1000):
        source.put(ENDPOINT, endpoints("a", str(ordinal)))
    pushed = peer.next()
    assert pushed is not None and pushed.resources[0].body == endpoints("a", "999").body
    peer.silence()


def test_x29_a_client_that_never_answers_costs_a_bounded_number_of_responses(
    source: Held,
) -> None:
    peer = Peer(source)
    peer.ask(ENDPOINT, "a")
    for ordinal in range(3 * MAX_UNANSWERED):
        source.put(ENDPOINT, endpoints("a", str(ordinal)))
        assert given(peer.next()) == (["a"], [])
    subscription = peer.stream._types[ENDPOINT]
    assert len(subscription.ledger._unanswered) == MAX_UNANSWERED


def test_x33_an_answer_is_a_nonce_and_a_refusal_a_nonce_with_an_error(source: Held) -> None:
    peer = Peer(source)
    response = peer.ask(CLUSTER)
    assert response is not None and response.nonce
    assert peer.answer(response) is None
    assert peer.stream.status()[CLUSTER].acknowledged == response.version
    source.put(CLUSTER, cluster("a", "bad"))
    assert peer.answer(peer.next(), error="a: no") is None
    status = peer.stream.status()[CLUSTER]
    assert [(r.name, r.reason) for r in status.refusals] == [("a", "no")]
    peer.silence()
    source.put(CLUSTER, cluster("a", "good"))
    assert peer.answer(peer.next()) is None
    assert not peer.stream.status()[CLUSTER].refusals


def test_x34_a_subscription_with_an_old_nonce_is_honoured(source: Held) -> None:
    peer = Peer(source)
    first = peer.ask(ENDPOINT, "a")
    assert first is not None
    source.put(ENDPOINT, endpoints("a", "new"))
    assert given(peer.next()) == (["a"], [])
    assert given(peer.ask(ENDPOINT, "b", nonce=first.nonce)) == (["b"], [])
    source.put(ENDPOINT, endpoints("b", "new"))
    assert given(peer.ask(ENDPOINT, nonce="of another stream")) == (["b"], [])


def test_x35_a_name_that_is_asked_for_again_is_sent_again(source: Held) -> None:
    peer = Peer(source)
    peer.settle(ENDPOINT, "a")
    assert given(peer.ask(ENDPOINT, "a")) == (["a"], [])
    peer.silence()


def test_x36_what_does_not_exist_is_answered_as_removed(source: Held) -> None:
    peer = Peer(source)
    assert given(peer.ask(ENDPOINT, "x", "a")) == (["a"], ["x"])
    peer.silence()
    source.put(ENDPOINT, endpoints("x"))
    assert given(peer.next()) == (["x"], [])


def test_x37_a_deletion_is_told_and_what_did_not_change_is_not_sent(source: Held) -> None:
    peer = Peer(source)
    peer.settle(CLUSTER)
    source.remove(CLUSTER, "a")
    assert given(peer.next()) == ([], ["a"])
    peer.silence()
    source.put(CLUSTER, cluster("b", "new"))
    assert given(peer.next()) == (["b"], [])


def test_x38_what_a_client_still_holds_is_not_sent_and_what_went_is_told(source: Held) -> None:
    held = {"a": cluster("a").version, "b": "an older version", "gone": "1"}
    peer = Peer(source)
    assert given(peer.ask(CLUSTER, known=held)) == (["b"], ["gone"])
    peer.silence()
    explicit = {"a": endpoints("a").version, "gone": "1"}
    again = Peer(source)
    assert given(again.ask(ENDPOINT, "a", "b", "gone", known=explicit)) == (["b"], ["gone"])
    again.silence()


def test_x38_a_client_that_lacks_nothing_is_sent_nothing(source: Held) -> None:
    versions = {name: resource.version for name, resource in source.view(CLUSTER).items()}
    assert Peer(source).ask(CLUSTER, known=versions) is None


def test_x39_unsubscribing_needs_no_answer_even_of_what_was_never_asked_for(source: Held) -> None:
    peer = Peer(source)
    peer.settle(ENDPOINT, "a", "b")
    assert peer.ask(ENDPOINT, unsubscribe=("a", "phantom")) is None
    source.put(ENDPOINT, endpoints("a", "new"))
    peer.silence()
    source.remove(ENDPOINT, "a")
    peer.silence()


def test_x40_unsubscribing_a_name_under_the_wildcard_is_answered(source: Held) -> None:
    peer = Peer(source)
    peer.settle(CLUSTER)
    assert given(peer.ask(CLUSTER, "a", "x")) == (["a"], ["x"])
    assert given(peer.ask(CLUSTER, unsubscribe=("a",))) == (["a"], [])
    assert given(peer.ask(CLUSTER, unsubscribe=("x",))) == ([], ["x"])
    assert peer.ask(CLUSTER, unsubscribe=("b",)) is None, "b was never asked for by its name"


def test_x41_the_four_steps_of_the_wildcard(source: Held) -> None:
    for first in ([], ["*"]):
        peer = Peer(source)
        peer.settle(CLUSTER, *first)
        assert given(peer.ask(CLUSTER, "a")) == (["a"], [])
        source.put(CLUSTER, cluster("b", f"while it is all {first}"))
        assert given(peer.next()) == (["b"], [])
        assert peer.ask(CLUSTER, unsubscribe=("*",)) is None
        source.put(CLUSTER, cluster("a", f"new {first}"), cluster("b", f"new {first}"))
        assert given(peer.next()) == (["a"], [])
        assert peer.ask(CLUSTER, unsubscribe=("a",)) is None
        source.put(CLUSTER, cluster("a", f"newer {first}"))
        peer.silence()


def test_x41_the_wildcard_of_a_later_request_gives_all(source: Held) -> None:
    peer = Peer(source)
    peer.settle(CLUSTER, "a")
    assert given(peer.ask(CLUSTER, "*")) == (["b"], [])


def test_x41_an_empty_wildcard_is_answered_so_that_envoy_can_start() -> None:
    assert given(Peer(Held()).ask(CLUSTER)) == ([], [])
    assert Peer(Held()).ask(ENDPOINT) is None, "endpoints have no such wildcard"


def test_x42_each_resource_has_name_version_and_body(source: Held) -> None:
    response = Peer(source).ask(CLUSTER)
    assert response is not None
    for resource in response.resources:
        assert resource == source.view(CLUSTER)[resource.name]
        assert resource.version and resource.body


def test_x43_a_request_may_subscribe_and_unsubscribe(source: Held) -> None:
    peer = Peer(source)
    peer.settle(ENDPOINT, "a")
    assert given(peer.ask(ENDPOINT, "b", unsubscribe=("a",))) == (["b"], [])
    source.put(ENDPOINT, endpoints("a", "new"))
    peer.silence()
    assert given(peer.ask(ENDPOINT, "b", unsubscribe=("b",))) == (["b"], [])


def test_x44_a_cluster_asked_for_on_demand_comes_alone(source: Held) -> None:
    peer = Peer(source)
    peer.settle(CLUSTER, "a")
    assert given(peer.ask(CLUSTER, "b")) == (["b"], [])


def settled(source: Held) -> Peer:
    """A client that asked for everything and acknowledged it."""
    peer = Peer(source)
    peer.settle(CLUSTER)
    peer.settle(ENDPOINT, "a", "b")
    peer.settle(LISTENER)
    peer.settle(ROUTE, "r")
    return peer


def test_new_clusters_go_before_routes_and_old_ones_after_them(source: Held) -> None:
    peer = settled(source)
    source.put(CLUSTER, cluster("c"))
    source.remove(CLUSTER, "a")
    source.put(ENDPOINT, endpoints("c"))
    source.remove(ENDPOINT, "a")
    source.put(ROUTE, route("r", "c"))
    clusters = peer.next()
    assert given(clusters) == (["c"], [])
    peer.silence()
    more = peer.ask(ENDPOINT, "c")
    assert given(more) == (["c"], [])
    assert peer.answer(clusters) is None
    routes = peer.answer(more)
    assert routes is not None and (routes.type_url, given(routes)) == (ROUTE, (["r"], []))
    peer.silence()
    old = peer.answer(routes)
    assert old is not None and (old.type_url, given(old)) == (CLUSTER, ([], ["a"]))
    endpoints_gone = peer.answer(old)
    assert endpoints_gone is not None and endpoints_gone.type_url == ENDPOINT
    assert given(endpoints_gone) == ([], ["a"])


def test_a_new_listener_waits_for_new_clusters(source: Held) -> None:
    peer = settled(source)
    source.put(CLUSTER, cluster("c"))
    source.put(LISTENER, listener("m", ["r"]))
    clusters = peer.next()
    assert given(clusters) == (["c"], [])
    peer.silence()
    assert given(peer.answer(clusters)) == (["m"], [])


def test_workloads_are_given_whole_and_then_by_change() -> None:
    source = one_of_each()
    peer = Peer(source)
    peer.settle(WORKLOAD)
    source.put(WORKLOAD, workload("127.7.0.10", "other"))
    source.remove(WORKLOAD, "127.7.0.9")
    assert given(peer.next()) == (["127.7.0.10"], ["127.7.0.9"])
