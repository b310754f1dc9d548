"""What only Dubbo has: statuses, attachments, ids of their own, replies that pass each other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import dubbo_wire
import hello_mesh
import pytest
from dubbo_hello import INTERFACE
from dubbo_wire import Reply, Request
from hello_mesh import answered_by, route, router
from hessian2 import Date, Instance, Long
from mesh import Mesh, eventually
from protocols import PROTOCOLS, DubboConnection

DUBBO = PROTOCOLS["dubbo"]
STATUSES = (30, 31, 40, 50, 60, 70, 80, 90, 100)
"""Every status of a reply that is not 20, `OK`."""


def connect(mesh: Mesh) -> DubboConnection:
    found = DUBBO.connect(mesh)
    assert isinstance(found, DubboConnection)
    return found


@pytest.fixture
def dubbo(hello: Mesh) -> Iterator[DubboConnection]:
    connection = connect(hello)
    with connection:
        yield connection


def call(method: str, *arguments: object, number: int = 1, **more: Any) -> Request:
    return Request(INTERFACE, method, arguments, id=number, **more)


@pytest.mark.parametrize("status", STATUSES)
def test_a_reply_of_any_status_comes_through_with_its_reason(
    dubbo: DubboConnection, status: int
) -> None:
    reply = dubbo.ask(call("fail", status, number=status))
    assert (reply.id, reply.status) == (status, status)
    assert reply.reason.startswith("no luck at hello-server-")
    dubbo.hello("the connection goes on")


@pytest.mark.parametrize("method", ["echo", "bare"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        7,
        Long(7),
        2**40,
        1.5,
        b"\x00\xff",
        "a" * 100_000,
        "€𝄞",
        ["a", 1, None, ["b"]],
        {"a": 1, "b": {"c": "d"}},
        Date(1_700_000_000_000),
        Instance("a.Person", {"name": "Ada", "friend": Instance("a.Person", {"name": "Bob"})}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_of_any_type_comes_through_with_and_without_attachments(
    dubbo: DubboConnection, method: str, value: object
) -> None:
    reply = dubbo.ask(call(method, value, types="Ljava/lang/Object;"))
    assert (reply.status, reply.failed) == (dubbo_wire.OK, False)
    assert plain(reply.value) == plain(value)
    assert (reply.attachments is None) == (method == "bare")


def plain(value: object) -> object:
    """Objects are equal to nothing else; their fields are."""
    if isinstance(value, Instance):
        return value.name, {name: plain(field) for name, field in value.fields.items()}
    return value


def test_attachments_of_every_kind_arrive_behind_any_arguments(dubbo: DubboConnection) -> None:
    arguments = ("x", 1, None, ["a", {"b": 2}], Instance("a.Person", {"name": "Ada"}))
    types = "Ljava/lang/String;ILjava/lang/Object;Ljava/util/List;La/Person;"
    attachments: dict[str, object] = {"foo": "bar", "n": 7, "list": ["a"], "empty": ""}
    reply = dubbo.ask(call("attachments", *arguments, types=types, attachments=attachments))
    assert isinstance(reply.value, dict)
    assert {"foo": "bar", "n": "7", "empty": ""}.items() <= reply.value.items()


def test_a_call_without_attachments_is_routed_and_answered(clean: Mesh) -> None:
    rule = route("lane", {"v1": 100}, {"lane": {"exact": "blue"}})
    clean.apply(router(rule, route("rest", {"v2": 100})))
    whole = dubbo_wire.encode_request(call("sayHello", "x"))
    # Behind the argument comes the map: as it is, as a null, and not at all.
    end = whole.index(b"\x01x", dubbo_wire.HEADER.size) + 2
    forms = [whole, with_body(whole[:end] + b"N"), with_body(whole[:end])]
    with connect(clean) as connection:
        assert isinstance(connection, DubboConnection)
        eventually(lambda: connection.version() == "v2" == connection.version())
        for form in forms:
            connection.socket.sendall(form)
            assert answered_by(str(connection.reply().value)) == "v2"


MUTATIONS = {
    "requestMutation": [{"key": "foo", "value": "bar"}],
    "responseMutation": [{"key": "seen-by", "value": "the mesh"}],
}


def test_a_rule_sets_attachments_where_there_were_none(clean: Mesh) -> None:
    """Of a call whose map is there, null, or missing; of a reply that came without one."""
    clean.apply(router({**route("sets", {"": 100}), **MUTATIONS}))
    whole = dubbo_wire.encode_request(call("attachments", "x"))
    end = whole.index(b"\x01x", dubbo_wire.HEADER.size) + 2
    with connect(clean) as connection:
        assert isinstance(connection, DubboConnection)

        def reply(frame: bytes) -> Reply:
            connection.socket.sendall(frame)
            return connection.reply()

        eventually(lambda: "seen-by" in (reply(whole).attachments or {}))
        for form in (whole, with_body(whole[:end] + b"N"), with_body(whole[:end])):
            answer = reply(form)
            assert isinstance(answer.value, dict) and answer.value["foo"] == "bar"
        for value in (None, 7, "text", ["a", {"b": None}], Instance("a.Person", {"name": "Ada"})):
            asked = call("bare", value, types="Ljava/lang/Object;")
            answer = connection.ask(asked)
            assert plain(answer.value) == plain(value)
            assert answer.attachments == {"seen-by": "the mesh"}
        failed = connection.ask(call("fail", 70))  # a status has no place for them
        assert (failed.status, failed.reason[:7]) == (70, "no luck")


def with_body(frame: bytes) -> bytes:
    """The frame with the length that it has."""
    return frame[:12] + (len(frame) - dubbo_wire.HEADER.size).to_bytes(4, "big") + frame[16:]


ATTRIBUTES = {
    "interface": {"exact": INTERFACE},
    "method": {"prefix": "say"},
    "version": {"exact": "1.2.3"},
    "group": {"regex": "b.*"},
    "Colour": {"exact": "red"},
}


@pytest.mark.parametrize(
    ("changed", "version"),
    [
        ({}, "v1"),
        ({"interface": "hello.OtherService"}, "v2"),
        ({"method": "wait"}, "v2"),
        ({"version": "1.2.4"}, "v2"),
        ({"group": "red"}, "v2"),
        ({"colour": "blue"}, "v2"),
        ({"colour": None}, "v2"),
    ],
    ids=str,
)
def test_a_rule_reads_interface_method_version_group_and_every_attachment(
    clean: Mesh, changed: Mapping[str, str | None], version: str
) -> None:
    clean.apply(router(route("all", {"v1": 100}, ATTRIBUTES), route("rest", {"v2": 100})))
    asked: dict[str, str | None] = {
        "interface": INTERFACE,
        "method": "sayHello",
        "version": "1.2.3",
        "group": "blue",
        "colour": "red",
        **changed,
    }
    request = Request(
        str(asked["interface"]),
        str(asked["method"]),
        ("x", 0) if asked["method"] == "wait" else ("x",),
        {name: asked[name] for name in ("group", "colour") if asked[name] is not None},
        str(asked["version"]),
        id=1,
    )
    with connect(clean) as connection:
        assert isinstance(connection, DubboConnection)

        def answers() -> str:
            return answered_by(str(connection.ask(request).value))

        eventually(
            lambda: connection.version() == "v2" == connection.version()
        )  # no version, group
        assert [answers() for _ in range(4)] == [version] * 4


def test_replies_pass_each_other_under_the_ids_of_their_callers(dubbo: DubboConnection) -> None:
    slow = [call("wait", "slow", 300, number=number) for number in (5, 2**63, 1)]
    fast = [call("sayHello", "fast", number=number) for number in (2**64 - 1, 3)]
    dubbo.socket.sendall(b"".join(map(dubbo_wire.encode_request, slow + fast)))
    replies = [dubbo.reply() for _ in range(5)]
    assert {reply.id for reply in replies[:2]} == {2**64 - 1, 3}
    assert {reply.id for reply in replies[2:]} == {5, 2**63, 1}
    for reply in replies:
        name = "fast" if reply.id in (2**64 - 1, 3) else "slow"
        assert str(reply.value).startswith(f"Hello {name}, ")


def test_a_reply_that_comes_after_its_caller_left_reaches_nobody_else(hello: Mesh) -> None:
    """All of them share upstream connections, and all use the same id."""
    with connect(hello) as other:
        assert isinstance(other, DubboConnection)
        for _ in range(8):
            with connect(hello) as leaving:
                leaving.socket.sendall(leaving.encode("wait", 1, "gone", 150))
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            name = f"here-{time.monotonic_ns()}"
            reply = other.ask(call("sayHello", name))
            assert (reply.id, reply.status) == (1, dubbo_wire.OK)
            assert str(reply.value).startswith(f"Hello {name}, ")


def test_a_large_reply_holds_up_no_small_one_for_long_and_is_whole(dubbo: DubboConnection) -> None:
    large = "l" * (3 << 20)
    dubbo.socket.sendall(dubbo_wire.encode_request(call("echo", large, number=1)))
    for number in range(2, 20):
        dubbo.socket.sendall(dubbo_wire.encode_request(call("sayHello", "s", number=number)))
    replies: dict[int, Reply] = {}
    while len(replies) < 19:
        reply = dubbo.reply()
        replies[reply.id] = reply
    assert replies[1].value == large
    assert all(str(replies[n].value).startswith("Hello s, ") for n in range(2, 20))


def test_heartbeats_are_answered_between_calls_and_reach_no_provider(
    hello: Mesh, dubbo: DubboConnection
) -> None:
    for number in (1, 2**40):
        beat = dubbo.ask(Request(id=number, event=True))
        assert (beat.id, beat.event, beat.status) == (number, True, dubbo_wire.OK)
        dubbo.hello("between")
    dubbo.socket.sendall(dubbo_wire.encode_request(Request(id=9, event=True, two_way=False)))
    dubbo.hello("a heartbeat that wants no answer gets none")


def test_an_interface_is_shown_by_explain_as_the_rule_sees_it(clean: Mesh) -> None:
    clean.apply(router(route("only", {"v1": 100}, {"interface": {"exact": INTERFACE}})))
    explained = clean.meltemi(
        *("explain", f"{hello_mesh.SERVICE}.{hello_mesh.NAMESPACE}", "--from", hello_mesh.CLIENT),
        *("--attr", f"interface={INTERFACE}"),
    )
    assert explained.code == 0 and "only" in explained.out
