"""Whatever the order of requests, answers, changes and broken streams: the client ends up with what
the source has. Both ends' state machines run against each other, without sockets."""

from __future__ import annotations

from collections import deque
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from meltemi.xds import client_state
from meltemi.xds.client_state import ClientState
from meltemi.xds.discovery import Response
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE, WORKLOAD
from meltemi.xds.references import CHILD, children
from meltemi.xds.server_delta import DeltaSubscription
from meltemi.xds.server_sotw import SotwSubscription
from meltemi.xds.server_state import Stream
from xds_source import Held, cluster, endpoints, listener, route, routed_to, workload

NAMES = ["a", "b", "c"]
BAD = "bad"
"""The tag of resources that the client's engine refuses."""


class Pair:
    """A client and a server with two queues between them; nothing moves unless told."""

    def __init__(self, *, delta: bool) -> None:
        self.delta = delta
        self.source = Held()
        self.client = ClientState(delta=delta)
        self.engine: dict[str, dict[str, bytes]] = {}
        self.now = 0.0
        self.streams = 0
        self.connected = False
        self.up: deque[Any] = deque()
        self.down: deque[Response] = deque()
        self.connect()

    def connect(self) -> None:
        self.break_off()
        self.streams += 1
        kind: Any = DeltaSubscription if self.delta else SotwSubscription
        self.server: Stream[Any] = Stream(f"{self.streams}-", kind)
        self.connected = True
        self.up.extend(self.client.connect(self.now))

    def break_off(self) -> None:
        self.connected = False
        self.client.disconnect()
        self.up.clear()
        self.down.clear()

    def server_receives(self) -> bool:
        if not self.up:
            return False
        self.server.receive(self.up.popleft())
        return True

    def server_sends(self) -> bool:
        if not self.connected:
            return False
        response, self.wake_at = self.server.next(self.source.view, self.now)
        if response is None:
            return False
        assert len({r.name for r in response.resources}) == len(response.resources)
        self.down.append(response)
        return True

    def client_receives(self) -> bool:
        if not self.down:
            return False
        self.client.receive(self.down.popleft())
        return True

    def client_applies(self) -> bool:
        update = self.client.next_update(self.now)
        if update is None:
            return False
        held = self.engine.setdefault(update.type_url, {})
        refused = []
        for resource in update.resources:
            if b"bad" in resource.body:
                refused.append((resource.name, "the engine does not like it"))
            else:
                held[resource.name] = resource.body
        for name in update.removed:
            held.pop(name, None)
        self.up.extend(self.client.applied(refused, self.now))
        return True

    def settle(self) -> None:
        """Runs until nothing moves and no deadline is left."""
        for _ in range(2000):
            moved = [
                self.server_receives(),
                self.server_sends(),
                self.client_receives(),
                self.client_applies(),
            ]
            if any(moved):
                continue
            self.client.expire(self.now)
            ends = [end for end in (self.wake_at, self.client.deadline(self.now)) if end]
            if not ends:
                return
            self.now = max(self.now, min(ends))
        raise AssertionError("the two never come to rest")

    def check(self) -> None:
        """The client holds what the source has, but for what it refused."""
        bad_users = any(
            b"bad" in resource.body
            for type_url in (LISTENER, ROUTE)
            for resource in self.source.view(type_url).values()
        )
        for type_url in (CLUSTER, LISTENER, WORKLOAD, ENDPOINT, ROUTE):
            held = {n: h.resource.body for n, h in self.client.held(type_url).items()}
            assert held == self.engine.get(type_url, {}), "the engine has what the state says"
            wanted = self.source.view(type_url)
            if type_url in (ENDPOINT, ROUTE):
                needed = self.needed(type_url)
                assert held.keys() <= needed
                wanted = {name: r for name, r in wanted.items() if name in needed}
            elif not (type_url == CLUSTER and bad_users):
                assert held.keys() <= wanted.keys()
            for name, resource in wanted.items():
                if b"bad" not in resource.body:
                    assert held.get(name) == resource.body, (type_url, name)
                assert b"bad" not in held.get(name, b"")
        status = self.server.status()
        for type_url, each in status.items():
            for refusal in each.refusals:
                assert b"bad" in self.source.view(type_url)[refusal.name].body

    def needed(self, type_url: str) -> set[str]:
        parent = next(parent for parent, child in CHILD.items() if child == type_url)
        found: set[str] = set()
        for held in self.client.held(parent).values():
            found |= children(parent, held.resource.body)
        return found


TAGS = st.sampled_from(["1", "2", BAD])
NAME = st.sampled_from(NAMES)


class Exchange(RuleBasedStateMachine):
    """Every step that a network, a node and an operator can take, in any order."""

    @initialize(delta=st.booleans())
    def begin(self, delta: bool) -> None:
        self.pair = Pair(delta=delta)

    @rule(name=NAME, tag=TAGS, eds=st.booleans())
    def put_cluster(self, name: str, tag: str, eds: bool) -> None:
        self.pair.source.put(CLUSTER, cluster(name, tag, eds=eds))

    @rule(name=NAME, tag=TAGS)
    def put_endpoints(self, name: str, tag: str) -> None:
        self.pair.source.put(ENDPOINT, endpoints(name, tag))

    @rule(name=NAME, tag=TAGS, routes=st.lists(NAME, max_size=2))
    def put_listener(self, name: str, tag: str, routes: list[str]) -> None:
        self.pair.source.put(LISTENER, listener(name, routes, tag))

    @rule(name=NAME, tag=TAGS)
    def put_route(self, name: str, tag: str) -> None:
        self.pair.source.put(ROUTE, route(name, tag))

    @rule(name=NAME, tag=TAGS)
    def put_workload(self, name: str, tag: str) -> None:
        self.pair.source.put(WORKLOAD, workload(name, tag))

    @rule(name=NAME, type_url=st.sampled_from([CLUSTER, ENDPOINT, LISTENER, ROUTE, WORKLOAD]))
    def remove(self, name: str, type_url: str) -> None:
        self.pair.source.remove(type_url, name)

    @rule(times=st.integers(1, 4))
    def server_receives(self, times: int) -> None:
        for _ in range(times):
            self.pair.server_receives()

    @rule(times=st.integers(1, 4))
    def server_sends(self, times: int) -> None:
        for _ in range(times):
            self.pair.server_sends()

    @rule(times=st.integers(1, 4))
    def client_takes(self, times: int) -> None:
        for _ in range(times):
            self.pair.client_receives()
            self.pair.client_applies()

    @rule(seconds=st.sampled_from([0.1, 1.9, 3.0, 16.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.pair.now += seconds
        self.pair.client.expire(self.pair.now)

    @precondition(lambda self: self.pair.connected)
    @rule()
    def the_stream_breaks(self) -> None:
        self.pair.break_off()

    @precondition(lambda self: not self.pair.connected)
    @rule()
    def the_client_comes_back(self) -> None:
        self.pair.connect()

    @rule()
    def it_settles(self) -> None:
        if not self.pair.connected:
            self.pair.connect()
        self.pair.settle()
        self.pair.check()

    @invariant()
    def the_engine_never_took_what_it_refused(self) -> None:
        pair = getattr(self, "pair", None)
        for held in pair.engine.values() if pair else ():
            assert not any(b"bad" in body for body in held.values())

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.it_settles()


TestExchange = Exchange.TestCase
TestExchange.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def moved_to(source: Held, target: str) -> None:
    """One change of the mesh: the route goes to another cluster, and the former is gone."""
    source.types = {
        **source.types,
        CLUSTER: {target: cluster(target)},
        ENDPOINT: {target: endpoints(target)},
        ROUTE: {"r": route("r", target)},
    }


def assert_nothing_is_broken(engine: dict[str, dict[str, bytes]]) -> None:
    for body in engine.get(ROUTE, {}).values():
        target = routed_to(body)
        assert target in engine[CLUSTER], f"the route goes to {target}, which is not there"
        assert target in engine[ENDPOINT], f"the route goes to {target}, which has no endpoints"


@pytest.mark.parametrize("patient", [True, False], ids=["our client", "a client that never waits"])
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
@given(
    steps=st.lists(
        st.sampled_from(["receive", "send", "take", "change a", "change b", "change c", "again"]),
        max_size=60,
    )
)
@settings(deadline=None, max_examples=300)
def test_no_route_is_in_use_before_its_cluster_nor_after_it(
    delta: bool, patient: bool, steps: list[str]
) -> None:
    with patch.object(client_state, "READY_S", client_state.READY_S if patient else 0.0):
        move_while(Pair(delta=delta), [step for step in steps if patient or step != "again"])


def move_while(pair: Pair, steps: list[str]) -> None:
    pair.source.put(LISTENER, listener("l", ["r"]))
    moved_to(pair.source, "a")
    pair.settle()
    assert_nothing_is_broken(pair.engine)
    for step in steps:
        match step.split():
            case ["receive"]:
                pair.server_receives()
            case ["send"]:
                pair.server_sends()
            case ["take"]:
                pair.client_receives()
                pair.client_applies()
                assert_nothing_is_broken(pair.engine)
            case ["change", target]:
                moved_to(pair.source, target)
            case ["again"]:
                pair.connect()
    pair.settle()
    pair.check()
    wanted = pair.source.view(CLUSTER).keys()
    assert pair.engine[CLUSTER].keys() == wanted, "what is gone was taken away at last"
    assert pair.engine[ENDPOINT].keys() == wanted
    assert routed_to(pair.engine[ROUTE]["r"]) in wanted
