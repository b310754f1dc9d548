"""The server's rules of state of the world, one test each; X.. are the checks of the xDS cases."""

from __future__ import annotations

import pytest
from meltemi.xds.discovery import Response, SotwRequest, decode_sotw_response, encode_sotw_response
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPE_PREFIX
from meltemi.xds.server_sotw import SotwSubscription
from meltemi.xds.server_state import MAX_UNANSWERED, LimitError, Limits, Stream
from xds_source import Held, cluster, endpoints, listener, route


class Peer:
    """A client that says exactly what a test tells it to."""

    def __init__(self, source: Held, limits: Limits | None = None) -> None:
        self.source = source
        self.now = 0.0
        self.stream = Stream[SotwRequest](
            "1-", lambda type_url: SotwSubscription(type_url, limits), limits
        )
        self.nonces: list[str] = []

    def ask(
        self,
        type_url: str,
        *names: str,
        answers: Response | None = None,
        error: str | None = None,
        version: str | None = None,
    ) -> Response | None:
        """Sends a request; returns the response to it, None for silence."""
        if version is None:
            version = answers.version if answers and error is None else ""
        nonce = answers.nonce if answers else ""
        self.stream.receive(SotwRequest(type_url, names, version, nonce, error))
        return self.next()

    def next(self) -> Response | None:
        response, _wake = self.stream.next(self.source.view, self.now)
        if response is not None:
            assert response.nonce not in self.nonces
            self.nonces.append(response.nonce)
        return response

    def expect(self, type_url: str, *names: str, answers: Response | None = None) -> Response:
        response = self.ask(type_url, *names, answers=answers)
        assert response is not None
        return response

    def silence(self) -> None:
        assert self.next() is None


def names(response: Response | None) -> list[str]:
    assert response is not None
    return sorted(resource.name for resource in response.resources)


@pytest.fixture
def source() -> Held:
    made = Held()
    made.put(CLUSTER, cluster("a"), cluster("b"))
    made.put(ENDPOINT, endpoints("a"), endpoints("b"))
    made.put(LISTENER, listener("l", ["r"]))
    made.put(ROUTE, route("r", "a"))
    return made


def test_x02_every_response_has_nonce_type_and_version(source: Held) -> None:
    peer = Peer(source)
    for type_url, asked in ((CLUSTER, []), (ENDPOINT, ["a"]), (LISTENER, []), (ROUTE, ["r"])):
        response = peer.expect(type_url, *asked)
        assert response.nonce and response.version and response.type_url == type_url


def test_x03_nonces_are_unique_in_a_stream_and_a_new_stream_starts_without(source: Held) -> None:
    peer = Peer(source)
    answers: list[Response] = []
    for ordinal in range(5):
        source.put(CLUSTER, cluster("a", str(ordinal)))
        answers.append(peer.expect(CLUSTER, answers=answers[-1] if answers else None))
    assert len({answer.nonce for answer in answers}) == 5
    assert names(Peer(source).ask(CLUSTER)) == ["a", "b"]


def test_x04_after_an_acknowledgement_silence_until_one_push_for_one_change(source: Held) -> None:
    peer = Peer(source)
    first = peer.expect(CLUSTER)
    assert peer.ask(CLUSTER, answers=first) is None
    peer.now += 3600
    peer.silence()
    source.put(CLUSTER, cluster("a", "new"))
    assert names(peer.next()) == ["a", "b"]
    peer.silence()


def test_x05_a_refused_version_is_not_sent_again_but_the_next_is(source: Held) -> None:
    peer = Peer(source)
    first = peer.expect(CLUSTER)
    peer.ask(CLUSTER, answers=first)
    source.put(CLUSTER, cluster("a", "bad"))
    bad = peer.next()
    assert peer.ask(CLUSTER, answers=bad, error="a: no", version=first.version) is None
    peer.silence()
    [refusal] = peer.stream.status()[CLUSTER].refusals
    assert (refusal.name, refusal.reason) == ("a", "no")
    assert peer.stream.status()[CLUSTER].acknowledged == first.version
    source.put(CLUSTER, cluster("a", "good"))
    good = peer.next()
    assert good is not None
    assert peer.ask(CLUSTER, answers=good) is None
    status = peer.stream.status()[CLUSTER]
    assert not status.refusals and status.acknowledged == good.version


def test_x05_after_a_refusal_the_version_before_it_is_sent_again(source: Held) -> None:
    peer = Peer(source)
    peer.ask(CLUSTER, answers=peer.expect(CLUSTER))
    source.put(CLUSTER, cluster("a", "bad"))
    peer.ask(CLUSTER, answers=peer.next(), error="no")
    source.put(CLUSTER, cluster("a"))
    assert names(peer.next()) == ["a", "b"]


def test_x06_a_request_with_an_older_nonce_gets_no_response(source: Held) -> None:
    peer = Peer(source)
    first = peer.expect(ENDPOINT, "a")
    source.put(ENDPOINT, endpoints("a", "new"))
    second = peer.next()
    assert peer.ask(ENDPOINT, "a", "b", answers=first) is None
    assert names(peer.ask(ENDPOINT, "a", "b", answers=second)) == ["b"]


def test_x06_what_a_late_request_left_out_is_sent_again_when_it_is_asked_for(source: Held) -> None:
    peer = Peer(source)
    first = peer.expect(ENDPOINT, "a", "b")
    source.put(ENDPOINT, endpoints("a", "new"))
    second = peer.next()
    assert peer.ask(ENDPOINT, "a", answers=first) is None  # the client dropped b
    assert names(peer.ask(ENDPOINT, "a", "b", answers=second)) == ["b"]


def test_x07_a_newly_added_name_is_sent_although_it_did_not_change(source: Held) -> None:
    peer = Peer(source)
    first = peer.expect(ENDPOINT, "a")
    assert "b" in names(peer.ask(ENDPOINT, "a", "b", answers=first))
    third = Peer(source)
    everything = third.expect(CLUSTER)
    assert "a" in names(third.ask(CLUSTER, "*", "a", answers=everything))


def test_x08_removed_names_are_not_pushed_any_more(source: Held) -> None:
    peer = Peer(source)
    first = peer.expect(ENDPOINT, "a", "b")
    assert peer.ask(ENDPOINT, "a", answers=first) is None
    source.put(ENDPOINT, endpoints("b", "new"))
    peer.silence()
    source.put(ENDPOINT, endpoints("a", "new"))
    assert names(peer.next()) == ["a"]


def test_x09_no_names_after_names_unsubscribes_from_all(source: Held) -> None:
    peer = Peer(source)
    first = peer.expect(ENDPOINT, "a")
    assert peer.ask(ENDPOINT, answers=first) is None
    source.put(ENDPOINT, endpoints("a", "new"))
    peer.silence()


def test_x10_clusters_and_listeners_are_given_whole_when_no_name_was_ever_sent(
    source: Held,
) -> None:
    peer = Peer(source)
    assert names(peer.ask(CLUSTER)) == ["a", "b"]
    assert names(peer.ask(LISTENER)) == ["l"]
    assert peer.ask(ENDPOINT) is None, "endpoints have no such wildcard"


def test_x11_the_four_steps_of_the_wildcard(source: Held) -> None:
    peer = Peer(source)
    answer = peer.expect(CLUSTER)
    answer = peer.expect(CLUSTER, "*", "a", answers=answer)
    assert names(answer) == ["a", "b"]
    assert peer.ask(CLUSTER, "a", answers=answer) is None
    source.put(CLUSTER, cluster("b", "new"))
    peer.silence()
    source.put(CLUSTER, cluster("a", "new"))
    pushed = peer.next()
    assert names(pushed) == ["a"]
    assert peer.ask(CLUSTER, answers=pushed) is None
    source.put(CLUSTER, cluster("a", "newer"))
    peer.silence()


def test_x12_a_change_of_one_cluster_resends_all(source: Held) -> None:
    source.put(CLUSTER, *(cluster(f"c{n}") for n in range(100)))
    peer = Peer(source)
    peer.ask(CLUSTER, answers=peer.expect(CLUSTER))
    source.put(CLUSTER, cluster("c7", "new"))
    assert len(names(peer.next())) == 102


def test_x13_a_deleted_cluster_is_absent_and_an_empty_answer_deletes_all(source: Held) -> None:
    peer = Peer(source)
    peer.ask(CLUSTER, answers=peer.expect(CLUSTER))
    source.remove(CLUSTER, "a")
    pushed = peer.next()
    assert names(pushed) == ["b"]
    peer.ask(CLUSTER, answers=pushed)
    source.remove(CLUSTER, "b")
    assert names(peer.next()) == []


def test_x14_routes_and_endpoints_come_one_by_one_and_absence_is_no_message(source: Held) -> None:
    peer = Peer(source)
    peer.ask(ENDPOINT, "a", "b", answers=peer.expect(ENDPOINT, "a", "b"))
    source.put(ENDPOINT, endpoints("a", "new"))
    pushed = peer.next()
    assert names(pushed) == ["a"]
    peer.ask(ENDPOINT, "a", "b", answers=pushed)
    source.remove(ENDPOINT, "b")
    peer.silence()


def test_x15_no_name_is_twice_in_a_response(source: Held) -> None:
    assert names(Peer(source).ask(CLUSTER, "a", "a", "*", "a")) == ["a", "b"]
    assert names(Peer(source).ask(ENDPOINT, "a", "a")) == ["a"]


def test_x16_a_resource_that_appears_later_is_pushed(source: Held) -> None:
    peer = Peer(source)
    assert peer.ask(ENDPOINT, "x") is None
    source.put(ENDPOINT, endpoints("x"))
    assert names(peer.next()) == ["x"]


def test_x17_of_a_burst_of_requests_the_last_is_served(source: Held) -> None:
    peer = Peer(source)
    for asked in (["a"], ["b"], ["a", "b"], [], ["b"]):
        peer.stream.receive(SotwRequest(ENDPOINT, tuple(asked)))
    assert names(peer.next()) == ["b"]
    peer.silence()


def test_x18_a_client_that_comes_back_with_its_version_is_served_all_the_same(
    source: Held,
) -> None:
    former = Peer(source).expect(CLUSTER)
    peer = Peer(source)
    assert names(peer.ask(CLUSTER, version=former.version)) == ["a", "b"]
    assert names(peer.ask(ENDPOINT, "a", "b", version="17")) == ["a", "b"]


def test_x29_a_client_that_does_not_read_gets_the_newest_only(source: Held) -> None:
    peer = Peer(source)
    peer.ask(ENDPOINT, "a", answers=peer.expect(ENDPOINT, "a"))
    for ordinal in range(1000):
        source.put(ENDPOINT, endpoints("a", str(ordinal)))
    pushed = peer.next()
    assert pushed is not None and pushed.resources[0].body == endpoints("a", "999").body
    peer.silence()


def test_x29_a_client_that_never_answers_costs_a_bounded_number_of_responses(
    source: Held,
) -> None:
    peer = Peer(source)
    peer.expect(ENDPOINT, "a")
    for ordinal in range(10 * MAX_UNANSWERED):
        source.put(ENDPOINT, endpoints("a", str(ordinal)))
        assert names(peer.next()) == ["a"]
    subscription = peer.stream._types[ENDPOINT]
    assert len(subscription.ledger._unanswered) == 1


def test_x31_without_the_feature_no_resource_is_wrapped(source: Held) -> None:
    response = Peer(source).expect(CLUSTER)
    plain = encode_sotw_response(response)
    wrapped = encode_sotw_response(response, wrapped=True)
    assert b"envoy.service.discovery.v3.Resource" not in plain
    assert b"envoy.service.discovery.v3.Resource" in wrapped
    for data in (plain, wrapped):
        read = decode_sotw_response(data)
        assert [(r.name, r.body) for r in read.resources] == [
            (r.name, r.body) for r in response.resources
        ]


def test_a_named_cluster_that_does_not_exist_is_answered_at_once(source: Held) -> None:
    """gRPC asks by name, and learns from the answer that there is no such cluster."""
    assert names(Peer(source).ask(CLUSTER, "nobody")) == []


def test_types_go_out_in_the_order_of_the_protocol(source: Held) -> None:
    peer = Peer(source)
    asked = [(ROUTE, ["r"]), (LISTENER, []), (ENDPOINT, ["a", "b"]), (CLUSTER, [])]
    for type_url, wanted in asked:
        peer.stream.receive(SotwRequest(type_url, tuple(wanted)))
    order = []
    while (response := peer.next()) is not None:
        order.append(response.type_url)
    assert order == [CLUSTER, ENDPOINT, LISTENER, ROUTE]


def settled(source: Held) -> Peer:
    """A client that asked for everything and acknowledged it."""
    peer = Peer(source)
    asked: list[tuple[str, list[str]]] = [
        (CLUSTER, []),
        (ENDPOINT, ["a", "b"]),
        (LISTENER, []),
        (ROUTE, ["r"]),
    ]
    for type_url, wanted in asked:
        response = peer.expect(type_url, *wanted)
        assert peer.ask(type_url, *wanted, answers=response) is None
    return peer


def test_routes_wait_until_the_clusters_before_them_are_acknowledged(source: Held) -> None:
    peer = settled(source)
    source.put(CLUSTER, cluster("c"))
    source.put(ROUTE, route("r", "c"))
    clusters = peer.next()
    assert names(clusters) == ["a", "b", "c"]
    peer.silence()
    source.put(ENDPOINT, endpoints("c"))
    given = peer.ask(ENDPOINT, "a", "b", "c")
    assert names(given) == ["c"]
    assert peer.ask(CLUSTER, answers=clusters) is None, "the endpoints are not acknowledged yet"
    routes = peer.ask(ENDPOINT, "a", "b", "c", answers=given)
    assert routes is not None and routes.type_url == ROUTE


def test_a_client_that_never_acknowledges_clusters_gets_its_routes_late(source: Held) -> None:
    peer = settled(source)
    source.put(CLUSTER, cluster("a", "new"))
    source.put(ROUTE, route("r", "b"))
    assert names(peer.next()) == ["a", "b"]
    response, wake_at = peer.stream.next(source.view, peer.now)
    assert response is None and wake_at is not None
    peer.now = wake_at
    assert names(peer.next()) == ["r"]


def test_a_cluster_is_taken_away_when_the_routes_without_it_are_acknowledged(source: Held) -> None:
    peer = settled(source)
    source.put(ROUTE, route("r", "b"))
    source.remove(CLUSTER, "a")
    routes = peer.next()
    assert routes is not None and routes.type_url == ROUTE
    peer.silence()
    assert names(peer.ask(ROUTE, "r", answers=routes)) == ["b"]


def test_a_client_that_asks_by_name_keeps_its_cluster_while_it_moves_to_another(
    source: Held,
) -> None:
    """As gRPC does: it acknowledges a route, and only then asks for the cluster of the route."""
    peer = Peer(source)
    for type_url, name in ((LISTENER, "l"), (ROUTE, "r"), (CLUSTER, "a"), (ENDPOINT, "a")):
        peer.ask(type_url, name, answers=peer.expect(type_url, name))
    source.put(ROUTE, route("r", "b"))
    source.remove(CLUSTER, "a")
    assert peer.ask(ROUTE, "r", answers=peer.next()) is None, "a is still in use"
    answer = peer.expect(CLUSTER, "a", "b")
    assert names(answer) == ["a", "b"]
    assert peer.ask(CLUSTER, "a", "b", answers=answer) is None
    _response, wake_at = peer.stream.next(source.view, peer.now)
    assert wake_at is not None
    peer.now = wake_at
    assert names(peer.next()) == ["b"]


def test_a_node_that_refuses_routes_keeps_the_cluster_that_its_last_good_ones_use(
    source: Held,
) -> None:
    peer = settled(source)
    source.put(ROUTE, route("r", "bad"))
    source.remove(CLUSTER, "a")
    assert peer.ask(ROUTE, "r", answers=peer.next(), error="r: no such cluster") is None
    peer.now += 3600
    peer.silence()
    source.put(ROUTE, route("r", "b"))
    better = peer.next()
    assert better is not None and better.type_url == ROUTE
    assert names(peer.ask(ROUTE, "r", answers=better)) == ["b"]


def test_a_refusal_of_what_is_gone_is_forgotten(source: Held) -> None:
    peer = settled(source)
    source.put(ROUTE, route("r", "bad"))
    peer.ask(ROUTE, "r", answers=peer.next(), error="r: no")
    assert peer.stream.status()[ROUTE].refusals
    source.remove(ROUTE, "r")
    peer.silence()
    assert not peer.stream.status()[ROUTE].refusals


def test_a_refusal_blames_the_names_it_holds_and_no_part_of_them(source: Held) -> None:
    source.put(CLUSTER, cluster("outbound|80||a.b"), cluster("outbound|80||a.b.c"))
    peer = Peer(source)
    response = peer.expect(CLUSTER)
    peer.ask(CLUSTER, answers=response, error="bad cluster outbound|80||a.b.c: no endpoints.")
    [refusal] = peer.stream.status()[CLUSTER].refusals
    assert refusal.name == "outbound|80||a.b.c"


def test_a_refusal_that_names_nothing_blames_all(source: Held) -> None:
    peer = Peer(source)
    peer.ask(CLUSTER, answers=peer.expect(CLUSTER), error="malformed")
    assert {r.name for r in peer.stream.status()[CLUSTER].refusals} == {"a", "b"}


def test_limits_on_types_names_and_their_length_end_the_stream(source: Held) -> None:
    limits = Limits(types=3, names=5, name_bytes=10, type_url_chars=100)
    peer = Peer(source, limits)
    for type_url in (CLUSTER, LISTENER, ROUTE):
        peer.ask(type_url)
    with pytest.raises(LimitError, match="3 types"):
        peer.ask(ENDPOINT, "a")
    with pytest.raises(LimitError, match="5 names"):
        peer.ask(ROUTE, *"abcdef")
    with pytest.raises(LimitError, match="10 bytes"):
        Peer(source, limits).ask(ROUTE, "ääääää")
    with pytest.raises(LimitError, match="100 characters"):
        Peer(source, limits).ask(TYPE_PREFIX + "x" * 100)


class Kitex(Peer):
    """Asks for listeners by names that are not theirs."""

    def __init__(self, source: Held) -> None:
        super().__init__(source)
        self.stream = Stream[SotwRequest](
            "1-",
            lambda type_url: SotwSubscription(
                type_url, all_there_is=type_url == LISTENER, late_names=True
            ),
        )


def test_kitex_gets_all_listeners_for_each_new_name() -> None:
    source = Held()
    source.put(LISTENER, listener("240.0.0.1_80"), listener("240.0.0.2_80"))
    peer = Kitex(source)
    first = peer.expect(LISTENER, "virtualInbound")
    assert names(first) == ["240.0.0.1_80", "240.0.0.2_80"]
    assert peer.ask(LISTENER, "virtualInbound", answers=first) is None
    second = peer.expect(LISTENER, "virtualInbound", "reviews:80", answers=first)
    assert names(second) == names(first)
    assert peer.ask(LISTENER, "virtualInbound", "reviews:80", answers=second) is None


def test_kitex_is_told_when_a_listener_of_another_name_changes() -> None:
    source = Held()
    source.put(LISTENER, listener("240.0.0.1_80"))
    peer = Kitex(source)
    first = peer.expect(LISTENER, "reviews:80")
    peer.ask(LISTENER, "reviews:80", answers=first)
    source.put(LISTENER, listener("240.0.0.2_80"))
    assert names(peer.next()) == ["240.0.0.1_80", "240.0.0.2_80"]


def test_a_name_that_kitex_adds_with_an_older_nonce_is_answered() -> None:
    source = Held()
    source.put(ROUTE, route("a"), route("b"))
    peer = Kitex(source)
    first = peer.expect(ROUTE, "a")
    source.put(ROUTE, route("a", "new"))
    assert names(peer.next()) == ["a"]
    assert names(peer.ask(ROUTE, "a", "b", answers=first)) == ["b"]
