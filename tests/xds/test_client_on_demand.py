"""The rules of a client that asks for everything by name, one test each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from meltemi.xds import messages
from meltemi.xds.client_on_demand import OnDemandState
from meltemi.xds.client_state import DOES_NOT_EXIST_S, READY_S
from meltemi.xds.client_values import Update
from meltemi.xds.discovery import DeltaRequest, Response
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, NAME_TABLE, ROUTE
from meltemi.xds.resource import Resource
from xds_source import cluster, endpoints, route

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
THRIFT = "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy"

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


def listener(name: str, routes: str) -> Resource:
    """One of gRPC's, that names a route configuration."""
    manager = messages.message(MANAGER)(rds={"route_config_name": routes})
    made = messages.message_of(LISTENER)(name=name)
    made.api_listener.api_listener.CopyFrom(messages.pack(manager))
    return messages.resource(name, made)


class Driver:
    """A client and what was sent to it; `bad` names what its engine refuses."""

    def __init__(self, *, delta: bool, connect: bool = True, **more: Any) -> None:
        self.state = OnDemandState(delta=delta, **more)
        self.now = 100.0
        self.bad: set[str] = set()
        self.updates: list[Update] = []
        self.sent: list[Any] = []
        self.count = 0
        if connect:
            self.sent += self.state.connect(self.now)

    def want(self, *names: str, guesses: Mapping[str, Iterable[tuple[str, str]]] = {}) -> list[Any]:
        sent = [*self.state.want(names, self.now, guesses), *self.process()]
        self.sent += sent
        return sent

    def respond(self, type_url: str, *resources: Resource, **more: Any) -> list[Any]:
        self.count += 1
        response = Response(type_url, f"n{self.count}", str(self.count), tuple(resources), **more)
        sent = [*self.state.take(response, self.now), *self.process()]
        self.sent += sent
        return sent

    def process(self) -> list[Any]:
        sent: list[Any] = []
        while (update := self.state.next_update(self.now)) is not None:
            self.updates.append(update)
            refused = [(each.name, "no") for each in update.resources if each.name in self.bad]
            sent += self.state.applied(refused, self.now)
        return sent

    def names(self, type_url: str) -> set[str]:
        """What is asked for now, as the server would see it."""
        found: set[str] = set()
        for request in self.sent:
            if request.type_url != type_url:
                continue
            if isinstance(request, DeltaRequest):
                found = (found | set(request.subscribe)) - set(request.unsubscribe)
            else:
                found = set(request.names)
        return found

    def in_use(self, type_url: str) -> dict[str, bytes]:
        return {name: held.resource.body for name, held in self.state.held(type_url).items()}


def asked(sent: Iterable[Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Type and names of each request that is no mere answer."""
    found = []
    for request in sent:
        delta = isinstance(request, DeltaRequest)
        names = request.subscribe if delta else request.names
        if names:
            found.append((request.type_url, tuple(names)))
    return found


def ready(*, delta: bool) -> Driver:
    """A client that holds listener l, route r, cluster c and its endpoints."""
    driver = Driver(delta=delta)
    driver.want("l")
    driver.respond(LISTENER, listener("l", "r"))
    driver.respond(ROUTE, route("r", "c"))
    driver.respond(CLUSTER, cluster("c"))
    driver.respond(ENDPOINT, endpoints("c"))
    driver.updates.clear()
    return driver


@both
def test_nothing_is_asked_for_before_it_is_wanted(delta: bool) -> None:
    assert Driver(delta=delta).sent == []


@both
def test_a_target_costs_three_round_trips(delta: bool) -> None:
    driver = Driver(delta=delta)
    assert asked(driver.want("l")) == [(LISTENER, ("l",))]
    assert (ROUTE, ("r",)) in asked(driver.respond(LISTENER, listener("l", "r")))
    third = asked(driver.respond(ROUTE, route("r", "c")))
    assert (CLUSTER, ("c",)) in third
    assert (ENDPOINT, ("c",)) in third
    driver.respond(CLUSTER, cluster("c"))
    assert list(driver.state.lacking(LISTENER, "l")) == [(ENDPOINT, "c")]
    driver.respond(ENDPOINT, endpoints("c"))
    assert not list(driver.state.lacking(LISTENER, "l"))


@both
def test_what_was_guessed_right_costs_one_round_trip(delta: bool) -> None:
    driver = Driver(delta=delta)
    first = asked(driver.want("l", guesses={"l": [(ROUTE, "r"), (CLUSTER, "c")]}))
    assert first == [(LISTENER, ("l",)), (ROUTE, ("r",)), (CLUSTER, ("c",)), (ENDPOINT, ("c",))]
    for type_url, resource in (
        (ENDPOINT, endpoints("c")),
        (ROUTE, route("r", "c")),
        (CLUSTER, cluster("c")),
        (LISTENER, listener("l", "r")),
    ):
        sent = driver.respond(type_url, resource)
        assert [request.nonce for request in sent] == [f"n{driver.count}"], "only the answer"
    assert not list(driver.state.lacking(LISTENER, "l"))


@both
def test_what_was_guessed_wrong_is_never_waited_for_and_given_up(delta: bool) -> None:
    driver = Driver(delta=delta)
    driver.want("l", guesses={"l": [(ROUTE, "x"), (CLUSTER, "x")]})
    driver.respond(LISTENER, listener("l", "r"))
    assert driver.names(ROUTE) == {"r", "x"}
    driver.respond(ROUTE, route("r", "c"))
    driver.respond(CLUSTER, cluster("c"))
    driver.respond(ENDPOINT, endpoints("c"))
    assert not list(driver.state.lacking(LISTENER, "l"))
    assert (driver.names(ROUTE), driver.names(CLUSTER)) == ({"r"}, {"c"})
    assert driver.names(ENDPOINT) == {"c"}


@both
def test_endpoints_of_another_name_than_their_clusters_are_asked_for_by_it(delta: bool) -> None:
    driver = Driver(delta=delta)
    driver.want("l")
    driver.respond(LISTENER, listener("l", "r"))
    driver.respond(ROUTE, route("r", "c"))
    made = messages.message_of(CLUSTER)(name="c", type=3)
    made.eds_cluster_config.service_name = "s"
    driver.respond(CLUSTER, messages.resource("c", made))
    assert driver.names(ENDPOINT) == {"s"}


@both
def test_weighted_and_inline_clusters_are_asked_for(delta: bool) -> None:
    driver = Driver(delta=delta)
    driver.want("l")
    manager = messages.message(MANAGER)()
    action = manager.route_config.virtual_hosts.add(domains=["*"]).routes.add().route
    for name in ("a", "b"):
        action.weighted_clusters.clusters.add(name=name)
    thrift = messages.message(THRIFT)()
    thrift.route_config.routes.add().route.cluster = "t"
    made = messages.message_of(LISTENER)(name="l")
    for config in (manager, thrift):
        packed = messages.pack(config)
        made.filter_chains.add().filters.add(name="f").typed_config.CopyFrom(packed)
    driver.respond(LISTENER, messages.resource("l", made))
    assert driver.names(CLUSTER) == {"a", "b", "t"}


@both
def test_new_routes_wait_for_the_clusters_that_they_name(delta: bool) -> None:
    driver = ready(delta=delta)
    sent = driver.respond(ROUTE, route("r", "d"))
    assert {type_url for type_url, _names in asked(sent)} == {CLUSTER, ENDPOINT}
    assert driver.names(CLUSTER) == {"c", "d"}, "the old one is in use"
    assert driver.updates == []
    driver.respond(CLUSTER, cluster("d"), *([] if delta else [cluster("c")]))
    assert driver.in_use(ROUTE)["r"] == route("r", "c").body
    driver.respond(ENDPOINT, endpoints("d"))
    assert driver.in_use(ROUTE)["r"] == route("r", "d").body
    assert driver.names(CLUSTER) == {"d"}
    kinds = [(u.type_url, u.removed) for u in driver.updates]
    assert kinds.index((ROUTE, ())) < kinds.index((CLUSTER, ("c",)))


@both
def test_new_routes_wait_no_longer_than_two_seconds(delta: bool) -> None:
    driver = ready(delta=delta)
    driver.respond(ROUTE, route("r", "d"))
    assert driver.state.deadline(driver.now) == driver.now + READY_S
    driver.now += READY_S
    driver.process()
    assert driver.in_use(ROUTE)["r"] == route("r", "d").body


def test_new_routes_wait_for_clusters_that_do_not_exist_yet() -> None:
    driver = ready(delta=True)
    driver.respond(ROUTE, route("r", "d"))
    driver.respond(CLUSTER, removed=("d",))
    driver.respond(ENDPOINT, removed=("d",))
    assert driver.state.absent() == {(CLUSTER, "d")}
    assert driver.in_use(ROUTE)["r"] == route("r", "c").body
    driver.respond(CLUSTER, cluster("d"))
    driver.respond(ENDPOINT, endpoints("d"))
    assert driver.in_use(ROUTE)["r"] == route("r", "d").body


@both
def test_new_routes_wait_neither_for_what_was_refused_nor_for_what_was_lacking_before(
    delta: bool,
) -> None:
    driver = ready(delta=delta)
    driver.respond(ROUTE, route("r", "never"))
    driver.now += READY_S
    driver.process()
    assert driver.in_use(ROUTE)["r"] == route("r", "never").body
    other = messages.message_of(ROUTE).FromString(route("r", "never").body)
    other.virtual_hosts[0].domains.append("more")
    driver.respond(ROUTE, messages.resource("r", other))
    assert driver.in_use(ROUTE)["r"] == messages.resource("r", other).body
    driver.respond(ROUTE, route("r", "bad"))
    driver.bad = {"bad"}
    driver.respond(CLUSTER, cluster("bad"))
    assert driver.in_use(ROUTE)["r"] == route("r", "bad").body


@both
def test_the_first_routes_of_a_target_do_not_wait_for_anything(delta: bool) -> None:
    driver = ready(delta=delta)
    driver.want("m")
    driver.respond(LISTENER, listener("m", "s"), *([] if delta else [listener("l", "r")]))
    driver.respond(ROUTE, route("s", "e"))
    assert driver.in_use(ROUTE)["s"] == route("s", "e").body


def test_a_subscription_names_the_newest_nonce_while_a_response_waits() -> None:
    """A server ignores a request that names an older one."""
    driver = ready(delta=False)
    driver.respond(ROUTE, route("r", "d"))
    waiting = f"n{driver.count}"
    driver.want("m")
    sent = driver.respond(LISTENER, listener("l", "r"), listener("m", "s"))
    (request,) = (each for each in sent if each.type_url == ROUTE)
    assert (request.names, request.nonce) == (("r", "s"), waiting)


@both
def test_a_listener_that_is_gone_takes_what_it_needed_with_it(delta: bool) -> None:
    driver = ready(delta=delta)
    driver.respond(LISTENER, **({"removed": ("l",)} if delta else {}))
    for type_url in (LISTENER, ROUTE, CLUSTER, ENDPOINT):
        assert driver.in_use(type_url) == {}
    assert driver.names(LISTENER) == {"l"}, "it may come back"
    assert driver.state.absent() == {(LISTENER, "l")}
    driver.respond(LISTENER, listener("l", "r"))
    assert driver.state.absent() == frozenset()
    assert driver.names(ROUTE) == {"r"}


@both
def test_routes_and_endpoints_in_use_stay_when_the_server_takes_them_away(delta: bool) -> None:
    driver = ready(delta=delta)
    if delta:
        driver.respond(ROUTE, removed=("r",))
        driver.respond(ENDPOINT, removed=("c",))
    assert (set(driver.in_use(ROUTE)), set(driver.in_use(ENDPOINT))) == ({"r"}, {"c"})
    assert driver.state.absent() == frozenset()


@both
def test_silence_for_fifteen_seconds_says_that_a_name_does_not_exist(delta: bool) -> None:
    driver = Driver(delta=delta)
    driver.want("l")
    assert driver.state.deadline(driver.now) == driver.now + DOES_NOT_EXIST_S
    driver.now += DOES_NOT_EXIST_S
    assert driver.state.expire(driver.now) == [(LISTENER, "l")]
    assert driver.state.absent() == {(LISTENER, "l")}


@both
def test_silence_says_nothing_while_there_is_no_stream(delta: bool) -> None:
    driver = Driver(delta=delta, connect=False)
    assert driver.want("l") == []
    driver.now += 10 * DOES_NOT_EXIST_S
    assert driver.state.deadline(driver.now) is None
    assert asked(driver.state.connect(driver.now)) == [(LISTENER, ("l",))]
    assert driver.state.expire(driver.now) == []


@both
def test_a_new_stream_asks_for_all_that_is_in_use_at_once(delta: bool) -> None:
    driver = ready(delta=delta)
    driver.state.disconnect()
    again = driver.state.connect(driver.now)
    assert [each.type_url for each in again] == [CLUSTER, ENDPOINT, LISTENER, ROUTE]
    if delta:
        held = cluster("c").version
        first = again[0]
        assert isinstance(first, DeltaRequest)
        assert first.initial_versions == {"c": held}
    assert asked(again)[0] == (CLUSTER, ("c",))
    assert not any(each.nonce for each in again)


@both
def test_one_bad_resource_keeps_its_last_good_state_and_harms_no_other(delta: bool) -> None:
    driver = ready(delta=delta)
    driver.want("m")
    driver.respond(LISTENER, listener("l", "r"), listener("m", "s"))
    driver.bad = {"r"}
    sent = driver.respond(ROUTE, route("r", ""), route("s", "c"))
    assert driver.in_use(ROUTE) == {"r": route("r", "c").body, "s": route("s", "c").body}
    (answer,) = (each for each in sent if each.nonce == f"n{driver.count}")
    assert "r: no" in (answer.error or "")


@both
def test_a_former_process_state_is_in_use_and_asked_for(delta: bool) -> None:
    driver = Driver(delta=delta, connect=False)
    driver.state.restore(LISTENER, [listener("l", "r")], driver.now)
    assert driver.state.is_needed(ROUTE, "r")
    driver.state.restore(ROUTE, [route("r", "c")], driver.now)
    driver.state.restore(CLUSTER, [cluster("c")], driver.now)
    driver.state.restore(ENDPOINT, [endpoints("c")], driver.now)
    assert not list(driver.state.lacking(LISTENER, "l"))
    names = asked(driver.state.connect(driver.now))
    assert names == [(CLUSTER, ("c",)), (ENDPOINT, ("c",)), (LISTENER, ("l",)), (ROUTE, ("r",))]


@both
def test_a_partial_answer_takes_nothing_away(delta: bool) -> None:
    """A server may answer a longer subscription of routes or endpoints with what was added."""
    driver = ready(delta=delta)
    driver.respond(ROUTE)
    driver.respond(ENDPOINT)
    assert (set(driver.in_use(ROUTE)), set(driver.in_use(ENDPOINT))) == ({"r"}, {"c"})


@both
def test_a_name_table_is_asked_for_whole(delta: bool) -> None:
    driver = Driver(delta=delta, everything_of=(NAME_TABLE,))
    (request,) = driver.sent
    assert request.type_url == NAME_TABLE
    assert not (request.subscribe if delta else request.names)


def test_a_server_without_delta_is_asked_for_the_state_of_the_world() -> None:
    driver = ready(delta=True)
    driver.state.use_state_of_the_world()
    again = driver.state.connect(driver.now)
    assert not any(isinstance(each, DeltaRequest) for each in again)
    assert asked(again) == [
        (CLUSTER, ("c",)),
        (ENDPOINT, ("c",)),
        (LISTENER, ("l",)),
        (ROUTE, ("r",)),
    ]
