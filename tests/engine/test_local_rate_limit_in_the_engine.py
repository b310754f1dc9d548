"""A local rate limit through the engine: counted exactly, answered in the protocol's own way.

The cases are those of MetaProtocol Proxy (test/local-ratelimit), which assert nothing there."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from engine_mesh import Mesh, call, called, listener, read_frame, start_engine, to
from meltemi.model import LimitCondition, LocalRateLimit, StringMatch, TokenBucket
from meltemi.translate.limits import network_filter
from test_dubbo_through_the_engine import ID, golden, provider, read, with_id
from test_running_engine import eventually

__all__ = ["provider"]

HOST = "hello.shop.svc.cluster.local"
HOUR = 3_600_000_000_000


def bucket(tokens: int) -> TokenBucket:
    return TokenBucket(tokens, tokens, HOUR)


def limit(default: int | None = None, **methods: int) -> dict[str, Any]:
    """`sayHello=2`: a bucket of two for one method."""
    conditions = tuple(
        LimitCondition((("method", StringMatch("exact", method)),), bucket(tokens))
        for method, tokens in methods.items()
    )
    return network_filter(HOST, LocalRateLimit(conditions, bucket(default) if default else None))


@pytest.fixture
def thrift(mesh: Mesh, serve: Callable[[str], int]) -> Mesh:
    mesh.cluster("a", serve("one"))
    mesh.routes(to("a"))
    return mesh


def limited(mesh: Mesh, *filters: dict[str, Any]) -> None:
    mesh.accept("listener", listener(mesh.port, "thrift", *filters))


def passed(sock: socket.socket, method: str = "sayHello", calls: int = 10) -> int:
    """How many calls were served; the others have to be Thrift's own exceptions."""
    served = 0
    for seqid in range(calls):
        sock.sendall(call(method, seqid))
        frame = read_frame(sock)
        name, kind, answered = called(frame)
        assert (name, answered) == (method, seqid)
        if kind == 3:
            assert f"local rate limit of '{HOST}' reached: ".encode() in frame
        else:
            served += 1
    return served


def stat(mesh: Mesh, name: str) -> float:
    return mesh.engine.stats()[f"meta_protocol.{HOST}.local_rate_limit.{name}"]


@pytest.mark.parametrize(
    ("filters", "hello", "other"),
    [
        pytest.param([limit(5, sayHello=2)], 2, 5, id="a condition matches"),
        pytest.param([limit(5, nobody=2)], 5, 0, id="no condition matches"),
        pytest.param([limit(sayHello=2)], 2, 10, id="a condition and no default bucket"),
        pytest.param([limit(nobody=2)], 10, 10, id="no default bucket and no match"),
        pytest.param([limit(5)], 5, 0, id="only the default bucket"),
        pytest.param([limit(5), limit(sayHello=2)], 2, 0, id="two limits"),
    ],
)
def test_exactly_so_many_of_ten_pass(
    thrift: Mesh, filters: list[dict[str, Any]], hello: int, other: int
) -> None:
    limited(thrift, *filters)
    with thrift.connect() as sock:
        assert passed(sock) == hello
        assert passed(sock, "other") == other
    if len(filters) == 1:
        assert stat(thrift, "ok") == hello + other
        assert stat(thrift, "rate_limited") == 20 - hello - other


def test_a_limit_that_is_used_up_stays_so_through_an_edit_of_the_routes(thrift: Mesh) -> None:
    limited(thrift, limit(sayHello=2))
    with thrift.connect() as sock:
        assert passed(sock) == 2
        for name in ("first", "second"):
            thrift.routes(to("a", name=name))
            limited(thrift, limit(sayHello=2))
            assert passed(sock) == 0


def test_a_change_of_the_limit_closes_no_connection_and_loses_no_call(thrift: Mesh) -> None:
    with thrift.connect() as sock:
        for tokens in (3, 1, 4):
            limited(thrift, limit(tokens))
            assert passed(sock) == tokens
        limited(thrift)
        assert passed(sock) == 10


def test_a_limit_that_cannot_be_is_refused_and_the_one_before_stays(thrift: Mesh) -> None:
    limited(thrift, limit(2))
    wrong = limit(3)
    wrong["config"]["token_bucket"]["fill_interval"] = "0s"
    ((name, reason),) = thrift.put("listener", listener(thrift.port, "thrift", wrong))
    assert name == "listener"
    assert reason.endswith(
        "meta_protocol_filters[0].config.token_bucket.fill_interval:"
        " has to be above 0 and at most 292 years"
    )
    with thrift.connect() as sock:
        assert passed(sock) == 2


def test_dubbo_is_told_in_a_response_with_a_status(
    free_port: Callable[[], int], provider: Callable[[str], Any]
) -> None:
    server = provider("dubbo-reply-value")
    mesh = Mesh(start_engine(workers=2), free_port())
    mesh.accept("listener", listener(mesh.port, "dubbo", limit(5, sayHello=2)))
    mesh.cluster("a", server.server_address[1])
    mesh.routes(to("a"))
    frame = golden("dubbo-sayHello")
    with mesh.connect() as sock:
        sock.sendall(b"".join(with_id(frame, number) for number in range(1, 11)))
        replies = [read(sock) for _ in range(10)]
        assert sorted(int.from_bytes(reply[ID], "big") for reply in replies) == [*range(1, 11)]
        refused = [reply for reply in replies if reply[3] != 20]
        assert len(refused) == 8
        assert {reply[3] for reply in refused} == {80}
        assert all(b"local rate limit of" in reply for reply in refused)
        sock.sendall(golden("dubbo-event-heartbeat-request"))
        assert int.from_bytes(read(sock)[ID], "big") == 41, "a heartbeat takes no token"
    assert len(server.seen) == 2
    mesh.engine.close()


def test_a_oneway_call_above_the_limit_is_dropped_and_counted(
    free_port: Callable[[], int], provider: Callable[[str], Any]
) -> None:
    server = provider("dubbo-reply-value")
    mesh = Mesh(start_engine(), free_port())
    mesh.accept("listener", listener(mesh.port, "dubbo", limit(2)))
    mesh.cluster("a", server.server_address[1])
    mesh.routes(to("a"))
    with mesh.connect() as sock:
        sock.sendall(golden("dubbo-oneway") * 6 + golden("dubbo-event-heartbeat-request"))
        assert int.from_bytes(read(sock)[ID], "big") == 41
    eventually(lambda: len(server.seen) == 2)
    assert (stat(mesh, "ok"), stat(mesh, "rate_limited")) == (2, 4)
    mesh.engine.close()
