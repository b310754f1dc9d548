"""The client's rules, one test each; X.. are the checks of the xDS cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from meltemi.xds import messages
from meltemi.xds.client_state import DOES_NOT_EXIST_S, READY_S, ClientState, Request
from meltemi.xds.client_values import Update
from meltemi.xds.discovery import DeltaRequest, Response, SotwRequest
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE, WORKLOAD
from meltemi.xds.references import children
from meltemi.xds.resource import Resource
from xds_source import cluster, endpoints, listener, route, workload


class Driver:
    """Feeds a client responses; what `bad` names is refused by its engine."""

    def __init__(self, *, delta: bool = False) -> None:
        self.state = ClientState(delta=delta)
        self.now = 100.0
        self.bad: set[str] = set()
        self.updates: list[Update] = []
        self.count = 0
        self.connect()

    def connect(self) -> list[Request]:
        self.first = self.state.connect(self.now)
        return self.first

    def respond(
        self, type_url: str, *resources: Resource, version: str = "1", **more: Any
    ) -> list[Any]:
        """One response; returns what the client sends for it."""
        self.count += 1
        self.nonce = f"n{self.count}"
        self.state.receive(Response(type_url, self.nonce, version, tuple(resources), **more))
        return self.process()

    def process(self) -> list[Any]:
        sent: list[Any] = []
        while (update := self.state.next_update(self.now)) is not None:
            self.updates.append(update)
            refused = [(r.name, "not so") for r in update.resources if r.name in self.bad]
            sent += self.state.applied(refused, self.now)
        return sent

    def held(self, type_url: str) -> dict[str, bytes]:
        return {name: held.resource.body for name, held in self.state.held(type_url).items()}


def asked(requests: Sequence[Any], type_url: str) -> Any:
    found = [request for request in requests if request.type_url == type_url]
    assert len(found) == 1, requests
    return found[0]


def ready(*, delta: bool) -> Driver:
    """A client that holds listener l, route r, cluster c and its endpoints."""
    driver = Driver(delta=delta)
    driver.respond(CLUSTER, cluster("c"))
    driver.respond(ENDPOINT, endpoints("c"))
    driver.respond(LISTENER, listener("l", ["r"]))
    driver.respond(ROUTE, route("r", "c"))
    driver.updates.clear()
    return driver


both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


@both
def test_the_first_requests_ask_for_everything_in_the_order_of_the_protocol(delta: bool) -> None:
    requests = Driver(delta=delta).first
    assert [request.type_url for request in requests] == [CLUSTER, LISTENER, WORKLOAD]
    for request in requests:
        assert isinstance(request, DeltaRequest if delta else SotwRequest)
        assert not (request.subscribe if isinstance(request, DeltaRequest) else request.names)


@both
def test_x45_every_response_is_answered_with_its_nonce(delta: bool) -> None:
    driver = Driver(delta=delta)
    for type_url, resource in (
        (CLUSTER, cluster("c", eds=False)),
        (LISTENER, listener("l")),
        (WORKLOAD, workload("127.7.0.9")),
    ):
        answer = asked(driver.respond(type_url, resource), type_url)
        assert (answer.nonce, answer.error) == (driver.nonce, None)
    driver.bad.add("c")
    answer = asked(driver.respond(CLUSTER, cluster("c", "new", eds=False)), CLUSTER)
    assert answer.nonce == driver.nonce and answer.error


def test_x46_a_refusal_carries_the_last_accepted_version_and_the_old_state_stays() -> None:
    driver = Driver()
    driver.bad.add("c")
    answer = asked(driver.respond(CLUSTER, cluster("c", "0"), version="0"), CLUSTER)
    assert answer.version == "" and "c: not so" in answer.error
    driver.bad.clear()
    assert asked(driver.respond(CLUSTER, cluster("c"), version="1"), CLUSTER).version == "1"
    driver.bad.add("c")
    answer = asked(driver.respond(CLUSTER, cluster("c", "2"), version="2"), CLUSTER)
    assert answer.version == "1" and "c: not so" in answer.error
    assert driver.held(CLUSTER) == {"c": cluster("c").body}


@both
def test_x47_valid_resources_are_taken_and_the_refusal_lists_every_bad_one(delta: bool) -> None:
    driver = Driver(delta=delta)
    driver.bad |= {"x", "y"}
    made = [cluster(name, eds=False) for name in ("x", "good", "y")]
    answer = asked(driver.respond(CLUSTER, *made), CLUSTER)
    assert answer.error.splitlines()[1:] == ["x: not so", "y: not so"]
    assert driver.held(CLUSTER).keys() == {"good"}
    assert driver.state.status()[CLUSTER].error == answer.error
    driver.bad.clear()
    assert asked(driver.respond(CLUSTER, *made), CLUSTER).error is None
    assert driver.state.status()[CLUSTER].error is None


def test_x48_requests_keep_the_full_list_of_names_and_omission_unsubscribes() -> None:
    driver = Driver()
    sent = driver.respond(CLUSTER, cluster("a"), cluster("b"))
    assert asked(sent, ENDPOINT).names == ("a", "b")
    answer = asked(driver.respond(ENDPOINT, endpoints("a"), version="7"), ENDPOINT)
    assert (answer.names, answer.version) == (("a", "b"), "7")
    sent = driver.respond(CLUSTER, cluster("b"), cluster("c"))
    request = asked(sent, ENDPOINT)
    assert (request.names, request.version, request.nonce) == (("b", "c"), "7", answer.nonce)


def test_x49_a_new_stream_starts_with_the_accepted_version_and_without_nonce() -> None:
    driver = Driver()
    driver.respond(CLUSTER, cluster("c"), version="7")
    driver.respond(ENDPOINT, endpoints("c"), version="8")
    driver.state.disconnect()
    for request, version in zip(driver.connect()[:2], ("7", "8"), strict=True):
        assert isinstance(request, SotwRequest)
        assert (request.version, request.nonce) == (version, "")


def test_x49_a_new_delta_stream_starts_with_the_versions_that_are_held() -> None:
    driver = ready(delta=True)
    driver.state.disconnect()
    requests = driver.connect()
    for type_url, resource in ((CLUSTER, cluster("c")), (ROUTE, route("r", "c"))):
        request = asked(requests, type_url)
        assert request.initial_versions == {resource.name: resource.version}
        assert request.nonce == ""
    assert asked(requests, ROUTE).subscribe == ("r",)


@both
def test_x50_what_is_held_stays_while_there_is_no_stream(delta: bool) -> None:
    driver = ready(delta=delta)
    driver.state.disconnect()
    driver.now += 3600
    assert driver.process() == [] and driver.state.expire(driver.now) == []
    assert driver.state.deadline(driver.now) is None
    for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE):
        assert len(driver.held(type_url)) == 1
    assert driver.updates == []


@both
def test_x51_a_resource_that_does_not_come_for_15_s_does_not_exist(delta: bool) -> None:
    driver = Driver(delta=delta)
    assert driver.state.deadline(driver.now) is None, "nothing was asked for by name yet"
    driver.respond(CLUSTER, cluster("c"))
    assert driver.state.deadline(driver.now) == driver.now + DOES_NOT_EXIST_S
    driver.now += DOES_NOT_EXIST_S - 0.1
    assert driver.state.expire(driver.now) == []
    driver.now += 0.1
    assert driver.state.expire(driver.now) == [(ENDPOINT, "c")]
    assert driver.state.status()[ENDPOINT].missing == ("c",)
    assert driver.state.deadline(driver.now) is None


@both
def test_x51_the_time_without_a_stream_does_not_count(delta: bool) -> None:
    driver = Driver(delta=delta)
    driver.respond(CLUSTER, cluster("c"))
    driver.state.disconnect()
    driver.now += 3600
    assert driver.state.expire(driver.now) == []
    driver.connect()
    assert driver.state.deadline(driver.now) == driver.now + DOES_NOT_EXIST_S


@both
def test_x52_a_resource_that_appears_after_all_is_taken(delta: bool) -> None:
    driver = Driver(delta=delta)
    driver.respond(CLUSTER, cluster("c"))
    driver.now += DOES_NOT_EXIST_S
    driver.state.expire(driver.now)
    driver.respond(ENDPOINT, endpoints("c"))
    assert driver.held(ENDPOINT) == {"c": endpoints("c").body}
    assert driver.state.status()[ENDPOINT].missing == ()


def test_x53_listeners_and_clusters_that_are_absent_are_deleted() -> None:
    driver = Driver()
    driver.respond(CLUSTER, cluster("a", eds=False), cluster("b", eds=False))
    driver.respond(LISTENER, listener("l"), listener("m"))
    driver.updates.clear()
    driver.respond(CLUSTER, cluster("b", eds=False))
    driver.respond(LISTENER)
    assert [update.removed for update in driver.updates] == [("a",), ("l", "m")]
    assert driver.held(CLUSTER).keys() == {"b"} and not driver.held(LISTENER)


def test_x53_what_cannot_be_read_deletes_nothing() -> None:
    driver = Driver()
    driver.respond(CLUSTER, cluster("a", eds=False), cluster("b", eds=False))
    answer = asked(driver.respond(CLUSTER, unreadable=(("", "cannot be read"),)), CLUSTER)
    assert "cannot be read" in answer.error
    assert driver.held(CLUSTER).keys() == {"a", "b"}


@both
def test_x54_what_nobody_asked_for_is_ignored_and_an_unknown_type_refused(delta: bool) -> None:
    driver = ready(delta=delta)
    answer = asked(driver.respond(ENDPOINT, endpoints("stranger")), ENDPOINT)
    assert answer.error is None and driver.held(ENDPOINT).keys() == {"c"}
    other = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    answer = asked(driver.respond(other), other)
    assert "did not ask" in answer.error and answer.nonce == driver.nonce
    assert driver.updates[0].resources == ()


@both
def test_x55_a_name_twice_in_a_response_is_refused_and_the_rest_taken(delta: bool) -> None:
    driver = Driver(delta=delta)
    made = [cluster("a", "1", eds=False), cluster("a", "2", eds=False), cluster("b", eds=False)]
    answer = asked(driver.respond(CLUSTER, *made), CLUSTER)
    assert "a: is in one response twice" in answer.error
    assert driver.held(CLUSTER).keys() == {"b"}


@both
def test_x57_routes_wait_for_the_endpoints_of_new_clusters_but_not_for_long(delta: bool) -> None:
    driver = ready(delta=delta)
    driver.respond(CLUSTER, cluster("c"), cluster("d"))
    assert driver.respond(ROUTE, route("r", "d")) == []
    assert driver.held(ROUTE) == {"r": route("r", "c").body}
    sent = driver.respond(ENDPOINT, endpoints("d"))
    assert [request.type_url for request in sent] == [ENDPOINT, ROUTE]
    assert driver.held(ROUTE) == {"r": route("r", "d").body}
    driver.respond(CLUSTER, cluster("c"), cluster("d"), cluster("e"))
    assert driver.respond(ROUTE, route("r", "e")) == []
    assert driver.state.deadline(driver.now) == driver.now + READY_S
    driver.now += READY_S
    assert asked(driver.process(), ROUTE).error is None


@both
def test_x57_a_cluster_that_went_while_we_were_away_stays_until_the_routes_came(
    delta: bool,
) -> None:
    driver = ready(delta=delta)
    driver.state.disconnect()
    driver.connect()
    gone: dict[str, Any] = {"removed": ("c",)} if delta else {}
    driver.respond(CLUSTER, cluster("d"), **gone)
    driver.respond(ENDPOINT, endpoints("d"))
    driver.respond(LISTENER, listener("l", ["r"]))
    assert driver.held(CLUSTER).keys() == {"c", "d"}
    driver.respond(ROUTE, route("r", "d"))
    assert driver.held(CLUSTER).keys() == {"d"}
    assert driver.held(ENDPOINT).keys() == {"d"}


@both
def test_x58_only_needed_names_are_asked_for_and_let_go_when_their_parent_is_gone(
    delta: bool,
) -> None:
    driver = ready(delta=delta)
    gone: dict[str, Any] = {"removed": ("c",)} if delta else {}
    request = asked(driver.respond(CLUSTER, **gone), ENDPOINT)
    if delta:
        assert (request.subscribe, request.unsubscribe) == ((), ("c",))
    else:
        assert request.names == ()
    assert [(u.type_url, u.removed) for u in driver.updates] == [
        (CLUSTER, ("c",)),
        (ENDPOINT, ("c",)),
    ]
    assert not driver.held(ENDPOINT)
    request = asked(driver.respond(LISTENER, listener("l", ["s", "t"])), ROUTE)
    assert (request.subscribe if delta else request.names) == ("s", "t")
    assert not driver.held(ROUTE)


def test_a_refused_cluster_asks_for_nothing_new() -> None:
    driver = Driver(delta=True)
    driver.bad.add("c")
    assert [r.type_url for r in driver.respond(CLUSTER, cluster("c"))] == [CLUSTER]


@both
def test_routes_and_endpoints_stay_as_long_as_something_refers_to_them(delta: bool) -> None:
    driver = ready(delta=delta)
    driver.respond(ROUTE, removed=("r",))
    driver.respond(ENDPOINT, removed=("c",))
    assert driver.held(ROUTE).keys() == {"r"} and driver.held(ENDPOINT).keys() == {"c"}
    assert all(not update.removed for update in driver.updates)


def test_delta_says_at_once_that_a_resource_does_not_exist() -> None:
    driver = Driver(delta=True)
    driver.respond(CLUSTER, cluster("c"))
    driver.respond(ENDPOINT, removed=("c",))
    assert driver.state.status()[ENDPOINT].missing == ("c",)
    assert driver.state.deadline(driver.now) is None


def test_what_did_not_change_is_not_applied_again() -> None:
    driver = Driver()
    driver.respond(CLUSTER, cluster("a", eds=False), cluster("b", eds=False))
    since = driver.state.held(CLUSTER)["a"].since
    driver.now += 5
    made = [cluster("a", eds=False), cluster("b", "new", eds=False)]
    assert asked(driver.respond(CLUSTER, *made, version="2"), CLUSTER).version == "2"
    assert [r.name for r in driver.updates[-1].resources] == ["b"]
    assert driver.state.held(CLUSTER)["a"].since == since
    assert driver.state.held(CLUSTER)["b"].since == driver.now


def test_a_cluster_that_is_no_cluster_is_refused_and_the_rest_taken() -> None:
    driver = Driver(delta=True)
    made = [Resource("x", "1", b"\xff\xff\xff"), cluster("good", eds=False)]
    answer = asked(driver.respond(CLUSTER, *made), CLUSTER)
    assert answer.error.splitlines()[1].startswith("x: not a ")
    assert driver.held(CLUSTER).keys() == {"good"}


def test_the_names_that_resources_need() -> None:
    made = messages.message_of(CLUSTER)(name="c", type=3)
    made.eds_cluster_config.service_name = "other"
    assert children(CLUSTER, messages.serialize(made)) == {"other"}
    assert children(CLUSTER, cluster("c").body) == {"c"}
    assert children(CLUSTER, cluster("c", eds=False).body) == set()
    assert children(ROUTE, route("r", "c").body) == set()
    assert children(LISTENER, listener("l", ["r", "s"]).body) == {"r", "s"}


@pytest.mark.parametrize("place", ["chain", "default chain", "api listener"])
@pytest.mark.parametrize("form", ["http", "typed", "udpa", "xds", "camel case"])
def test_a_route_is_found_wherever_a_listener_names_it(place: str, form: str) -> None:
    made = messages.message_of(LISTENER)(name="l")
    if form in ("http", "typed"):
        manager = (
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        )
        proxy = messages.META_PROTOCOL_PROXY.rpartition("/")[2]
        filtered = messages.message(manager if form == "http" else proxy)()
        filtered.rds.route_config_name = "r"
    else:
        key = "routeConfigName" if form == "camel case" else "route_config_name"
        name = "xds.type.v3.TypedStruct" if form == "xds" else "udpa.type.v1.TypedStruct"
        filtered = messages.message(name)(type_url=messages.META_PROTOCOL_PROXY)
        filtered.value.update({"rds": {key: "r"}})
    packed = messages.pack(filtered)
    if place == "chain":
        made.filter_chains.add().filters.add(name="f").typed_config.CopyFrom(packed)
    elif place == "default chain":
        made.default_filter_chain.filters.add(name="f").typed_config.CopyFrom(packed)
    else:
        made.api_listener.api_listener.CopyFrom(packed)
    assert children(LISTENER, messages.serialize(made)) == {"r"}
