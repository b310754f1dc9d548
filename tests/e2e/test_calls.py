"""What a caller sees of calls, rules and errors, the same for every protocol."""

from __future__ import annotations

import threading
import time
from collections import Counter
from functools import partial

import hello_mesh
import httpx
import pytest
from hello_mesh import answered_by, route, router
from mesh import Mesh, eventually
from protocols import LOST, NO_ROUTE, NO_SUCH_METHOD, Connection, Problem, Refused, Wire


def test_calls_of_one_connection_are_answered_by_both_versions_in_turn(
    hello: Mesh, wire: Wire
) -> None:
    with wire.connect(hello) as connection:
        replies = [connection.hello(f"n{i}") for i in range(6)]
    assert Counter(answered_by(reply) for reply in replies) == {"v1": 3, "v2": 3}


def test_many_callers_get_each_their_own_answers(hello: Mesh, mode: Wire) -> None:
    failed: list[BaseException] = []

    def calls(caller: int) -> None:
        try:
            with mode.connect(hello) as connection:
                for i in range(20):
                    connection.hello(f"{caller}/{i}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=calls, args=(caller,)) for caller in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_an_exception_that_the_service_declares_is_a_reply(connection: Connection) -> None:
    with pytest.raises(Refused, match="not you"):
        connection.hello("refused")
    connection.hello("a")


def test_a_servers_own_error_comes_through(protocol: Wire, connection: Connection) -> None:
    with pytest.raises(Problem, match="noSuchMethod") as raised:
        connection.call("noSuchMethod", "x")
    assert raised.value.code == protocol.errors[NO_SUCH_METHOD]
    connection.hello("a")


def test_oneway_calls_arrive_and_the_connection_goes_on(hello: Mesh, mode: Wire) -> None:
    mark = f"note-{time.monotonic_ns()}"
    with mode.connect(hello) as connection:
        for i in range(4):
            connection.note(f"{mark}-{i}")
            connection.hello("a")
        notes = hello.directory.parent / "notes"
        eventually(lambda: notes.read_text().count(mark) == 4)


def test_a_rule_moves_the_next_requests_of_an_open_connection(
    clean: Mesh, connection: Connection
) -> None:
    assert {connection.version() for _ in range(4)} == {"v1", "v2"}
    for wanted in ("v1", "v2", "v1"):
        clean.apply(router(route(wanted, {wanted: 100}, {"method": {"exact": "sayHello"}})))
        eventually(partial(_only, connection, wanted))
        assert {connection.version() for _ in range(50)} == {wanted}


def test_a_split_is_kept_within_one_percent(clean: Mesh, connection: Connection) -> None:
    clean.apply(router(route("split", {"v1": 20, "v2": 80})))
    eventually(lambda: connection.version() == "v2" == connection.version())
    found = Counter(connection.version() for _ in range(1000))
    assert abs(found["v1"] - 200) <= 10, found


def test_a_subset_that_does_not_exist_is_named_in_the_answer(
    clean: Mesh, protocol: Wire, connection: Connection
) -> None:
    clean.apply(router(route("lost", {"v3": 100})))
    problem = _problem(connection)
    assert "v3" in problem.message and hello_mesh.HOST in problem.message
    assert problem.code == protocol.errors[LOST]


def test_a_subset_without_endpoints_is_named_in_the_answer(
    clean: Mesh, protocol: Wire, connection: Connection
) -> None:
    clean.apply(router(route("empty", {"v9": 100})))
    problem = _problem(connection)
    assert "v9" in problem.message and "healthy" in problem.message
    assert problem.code == protocol.errors[LOST]


def test_without_a_matching_route_the_caller_is_told(
    clean: Mesh, protocol: Wire, connection: Connection
) -> None:
    clean.apply(router(route("other", {"v1": 100}, {"method": {"exact": "other"}})))
    problem = _problem(connection)
    assert "route" in problem.message
    assert problem.code == protocol.errors[NO_ROUTE]


def test_a_slow_call_does_not_hold_up_other_connections(hello: Mesh, protocol: Wire) -> None:
    with protocol.connect(hello) as slow, protocol.connect(hello) as fast:
        answers: list[str] = []
        waiting = threading.Thread(target=lambda: answers.append(slow.call("wait", "slow", 1500)))
        waiting.start()
        began = time.monotonic()
        for i in range(20):
            fast.hello(str(i))
        assert time.monotonic() - began < 1.0
        waiting.join()
    assert answers[0].startswith("Hello slow, ")


def test_metrics_name_both_sides(hello: Mesh, connection: Connection) -> None:
    """The sidecar of a server knows its callers by address: this test calls from no workload of the
    mesh, but through the client's sidecar, which does."""
    for _ in range(4):
        connection.hello("a")
    _counts_a_request(
        hello,
        "hello-server-v1.hello",
        'reporter="destination"',
        'source_workload="hello-client"',
        'source_version="v7"',
        'destination_workload="hello-server-v1"',
        'destination_version="v1"',
    )
    _counts_a_request(
        hello,
        hello_mesh.CLIENT,
        'reporter="source"',
        'source_workload="hello-client"',
        'destination_workload="hello-server-v2"',
        f'destination_service="{hello_mesh.HOST}"',
    )


def _counts_a_request(mesh: Mesh, workload: str, *labels: str) -> None:
    address = mesh.workloads()[workload]["instances"][0]["address"]
    page = httpx.get(f"http://{address}:15000/stats/prometheus", timeout=5).text
    lines = [line for line in page.splitlines() if line.startswith("istio_requests_total{")]
    assert any(all(label in line for label in labels) for line in lines), lines


def _only(connection: Connection, wanted: str) -> bool:
    return {connection.version() for _ in range(2)} == {wanted}


def _problem(connection: Connection) -> Problem:
    """The error that calls meet once the rule is in force."""
    found: list[Problem] = []

    def meets() -> bool:
        try:
            connection.hello("x")
        except Problem as problem:
            found.append(problem)
        return bool(found)

    eventually(meets)
    return found[0]
