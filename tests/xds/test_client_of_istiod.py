"""What istiod does otherwise than the protocol says, and what the client makes of it."""

from __future__ import annotations

from meltemi.xds import messages
from meltemi.xds.client_on_demand import ASK_AGAIN_S, OnDemandState
from meltemi.xds.client_state import Request
from meltemi.xds.discovery import DeltaRequest, Response
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, NAME_TABLE
from meltemi.xds.resource import Resource

TCP = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def tcp_listener(name: str, to: str) -> Resource:
    made = messages.message_of(LISTENER)(name=name)
    proxy = messages.message(TCP)(stat_prefix=to, cluster=to)
    made.filter_chains.add().filters.add(name="tcp").typed_config.CopyFrom(messages.pack(proxy))
    return messages.resource(name, made)


class Client:
    """A delta client, as a sidecar or as a gRPC client, and the names that it asked for."""

    def __init__(self, *, sidecar: bool) -> None:
        everything = (NAME_TABLE,) if sidecar else ()
        self.state = OnDemandState(delta=True, everything_of=everything)
        self.now = 100.0
        self.state.connect(self.now)

    def want(self, name: str) -> list[tuple[str, ...]]:
        return self._sent(self.state.want([name], self.now))

    def respond(
        self, type_url: str, *resources: Resource, removed: tuple[str, ...] = ()
    ) -> list[tuple[str, ...]]:
        response = Response(type_url, "n", "1", resources, removed=removed)
        return self._sent(self.state.take(response, self.now))

    def _sent(self, first: list[Request]) -> list[tuple[str, ...]]:
        sent = [*first]
        while self.state.next_update(self.now) is not None:
            sent += self.state.applied((), self.now)
        sent += self.state.ask_again(self.now)
        return [
            each.subscribe for each in sent if isinstance(each, DeltaRequest) and each.subscribe
        ]


def test_what_came_unasked_is_there_when_it_is_asked_for() -> None:
    client = Client(sidecar=True)
    client.want("a")
    client.respond(LISTENER, tcp_listener("a", "ca"), tcp_listener("b", "cb"))
    assert "b" not in client.state.held(LISTENER)
    assert client.want("b") == [("b",), ("cb",), ("cb",)]
    assert "b" in client.state.held(LISTENER)


def test_what_came_unasked_is_the_newest_and_goes_as_it_came() -> None:
    client = Client(sidecar=True)
    client.want("a")
    client.respond(LISTENER, tcp_listener("a", "ca"), tcp_listener("b", "old"))
    client.respond(LISTENER, tcp_listener("b", "new"), tcp_listener("c", "cc"))
    assert ("new",) in client.want("b")
    client.respond(LISTENER, removed=("c",))
    client.want("c")
    assert "c" not in client.state.held(LISTENER)


def test_the_cluster_of_a_listener_that_only_forwards_is_asked_for() -> None:
    client = Client(sidecar=True)
    client.want("a")
    assert client.respond(LISTENER, tcp_listener("a", "ca")) == [("ca",), ("ca",)]
    assert list(client.state.lacking(LISTENER, "a")) == [(CLUSTER, "ca")]


def test_what_does_not_exist_is_asked_for_again() -> None:
    client = Client(sidecar=False)
    client.want("a")
    assert client.respond(LISTENER, removed=("a",)) == []
    deadline = client.state.deadline(client.now)
    assert deadline == client.now + ASK_AGAIN_S
    client.now += ASK_AGAIN_S - 0.1
    assert client.respond(ENDPOINT) == []
    client.now += 0.1
    assert client.respond(ENDPOINT) == [("a",)]
    assert client.respond(ENDPOINT) == []
    client.respond(LISTENER, tcp_listener("a", "ca"))
    client.now += ASK_AGAIN_S
    assert client.respond(ENDPOINT) == []


def test_a_sidecar_is_told_of_what_comes_and_does_not_ask_again() -> None:
    client = Client(sidecar=True)
    client.want("a")
    client.respond(LISTENER, removed=("a",))
    client.now += ASK_AGAIN_S
    assert client.respond(ENDPOINT) == []


def test_a_name_may_come_until_it_is_answered_for() -> None:
    for delta in (True, False):
        state = OnDemandState(delta=delta, everything_of=(NAME_TABLE,))
        state.connect(1.0)
        state.want(["a", "b"], 1.0)
        assert state.may_come(LISTENER, "a")
        removed = ("a",) if delta else ()
        state.take(Response(LISTENER, "n", "1", (tcp_listener("b", "c"),), removed=removed), 1.0)
        while state.next_update(1.0) is not None:
            state.applied((), 1.0)
        assert not state.may_come(LISTENER, "a")
        assert not state.may_come(LISTENER, "b"), "it came"
