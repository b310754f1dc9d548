"""`Router` and `Call`: the calls of a process that has no sidecar."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from meltemi.engine import (
    Call,
    CallRefused,
    DirectResponse,
    NoEndpoint,
    NoRoute,
    NotKnown,
    Overflow,
    Router,
)
from meltemi.xds import messages
from routed_mesh import HOST, PATH, call, endpoints, give, listener, mesh, put_cluster, routes, to

ROOT = Path(__file__).resolve().parents[2]


def active(router: Router) -> int:
    return sum(state["active"] for state in router.clusters())  # type: ignore[misc]


def test_each_resource_that_is_missing_is_named() -> None:
    router = Router(seed=1)

    def missing() -> list[tuple[str, str]]:
        with pytest.raises(NotKnown) as refused:
            call(router)
        return refused.value.missing

    assert missing() == [(messages.LISTENER, HOST)]
    give(router, messages.LISTENER, HOST, listener())
    assert missing() == [(messages.ROUTE, "reviews")]
    give(router, messages.ROUTE, "reviews", routes(to(("v1", 1), ("v2", 1))))
    assert missing() == [(messages.CLUSTER, "v1"), (messages.CLUSTER, "v2")]
    put_cluster(router, "v1", [1])
    give(router, messages.CLUSTER, "v2", {"name": "v2", "type": "EDS", "eds_cluster_config": ADS})
    for _ in range(2):
        try:
            assert call(router).cluster == "v1"
        except NotKnown as refused:
            assert refused.missing == [(messages.ENDPOINT, "of-v2")]
    give(router, messages.ENDPOINT, "of-v2", endpoints("of-v2", [2]))
    assert {call(router).address for _ in range(4)} == {"127.0.3.4:1", "127.0.3.4:2"}


ADS = {"eds_config": {"ads": {}}, "service_name": "of-v2"}


def test_a_refused_resource_is_named_and_the_others_are_in_force() -> None:
    router = mesh(to(("v1", 1)), clusters={"v1": [1]})
    bad = messages.serialize(messages.from_json("envoy.config.cluster.v3.Cluster", {"name": "x"}))
    [(name, reason)] = router.update(messages.CLUSTER, "2", [("v2", bad)])
    assert (name, reason) == ("v2", 'name: "x", not "v2"')
    assert call(router).cluster == "v1"


def test_a_call_says_where_it_goes_and_how_long_it_may_take() -> None:
    retries = {"retry_on": "5xx", "num_retries": 2, "per_try_timeout": "0.25s"}
    router = mesh(to(("v1", 1), timeout="1.5s", retry_policy=retries), clusters={"v1": [1]})
    one = call(router)
    assert (one.address, one.cluster, one.route) == ("127.0.3.4:1", "v1", "the-route")
    assert (one.timeout_s, one.per_try_timeout_s, one.attempt) == (1.5, 0.25, 0)
    assert one.peer is None
    none = call(mesh(to(("v1", 1)), clusters={"v1": [1]}))
    assert (none.timeout_s, none.per_try_timeout_s) == (None, None)
    assert call(mesh(to(("v1", 1), timeout="0s"), clusters={"v1": [1]})).timeout_s == 0.0


def test_an_address_is_the_same_object_for_the_same_endpoint() -> None:
    router = mesh(to(("v1", 1)), clusters={"v1": [1, 2]})
    first, second, third = call(router), call(router), call(router)
    assert first.address is third.address
    assert first.address != second.address
    before = first.address
    give(router, messages.ENDPOINT, "v1", endpoints("v1", [1, 2, 3]))
    assert any(call(router).address is before for _ in range(3))


def test_what_is_behind_an_endpoint_is_said() -> None:
    router = mesh(to(("v1", 1)), clusters={"v1": []})
    workload = {"filter_metadata": {"istio": {"workload": "reviews-v1;default;reviews;v1;here"}}}
    give(router, messages.ENDPOINT, "v1", endpoints("v1", [1], metadata=workload))
    assert call(router).peer == {
        "workload": "reviews-v1",
        "namespace": "default",
        "app": "reviews",
        "version": "v1",
        "cluster": "here",
    }


def test_changes_are_in_order_and_none_are_always_the_same_object() -> None:
    plain = call(mesh(to(("v1", 1)), clusters={"v1": [1]}))
    assert plain.request_changes == ()
    assert plain.request_changes is plain.response_changes
    route = to(("v1", 1))
    route["request_headers_to_add"] = [
        {"header": {"key": "x-a", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": "x-b", "value": "2"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"},
        {"header": {"key": "x-c", "value": "3"}, "append_action": "ADD_IF_ABSENT"},
    ]
    route["request_headers_to_remove"] = ["x-d"]
    route["response_headers_to_remove"] = ["server"]
    one = call(mesh(route, clusters={"v1": [1]}))
    assert sorted(one.request_changes) == [
        ("add", "x-b", "2"),
        ("remove", "x-d", ""),
        ("set", "x-a", "1"),
        ("set-if-missing", "x-c", "3"),
    ]
    assert one.response_changes == (("remove", "server", ""),)


@pytest.mark.parametrize("kind", [tuple, list])
def test_headers_are_taken_from_tuples_and_lists_of_pairs(kind: type) -> None:
    dev, rest = to(("v2", 1), headers=[("x-lane", "dev")]), to(("v1", 1))
    router = mesh(dev, rest, clusters={"v1": [1], "v2": [2]})
    headers = kind([("x-other", "1"), ("X-Lane", "dev")])
    assert router.call(HOST, HOST, PATH, headers).cluster == "v2"
    assert router.call(HOST, HOST, PATH, kind()).cluster == "v1"


def test_a_header_that_is_there_twice_matches_by_each_of_its_values() -> None:
    blue = to(("v2", 1), headers=[("x-lane", "blue")])
    router = mesh(blue, to(("v1", 1)), clusters={"v1": [1], "v2": [2]})
    assert call(router, ("x-lane", "dev"), ("X-Lane", "blue")).cluster == "v2"
    assert call(router, ("x-lane", "dev")).cluster == "v1"


@pytest.mark.parametrize(
    "headers", [5, [5], [("a",)], [("a", "b", "c")], [("a", 1)], [(b"a", "b")]]
)
def test_headers_that_are_no_pairs_of_text_are_a_type_error(headers: Any) -> None:
    router = mesh(to(("v1", 1)), clusters={"v1": [1]})
    with pytest.raises((TypeError, ValueError)):
        router.call(HOST, HOST, PATH, headers)


def test_the_method_is_post_unless_it_is_said() -> None:
    get = to(("v2", 1), headers=[(":method", "GET")])
    post = to(("v1", 1), headers=[(":method", "POST")])
    router = mesh(get, post, clusters={"v1": [1], "v2": [2]})
    assert call(router).cluster == "v1"
    assert call(router, (":method", "GET")).cluster == "v2"
    with pytest.raises(NoRoute):
        call(router, (":method", "PUT"))


def test_reasons_are_exceptions_of_one_base() -> None:
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 404, "body": BODY}}
    with pytest.raises(DirectResponse) as answered:
        call(mesh(answer, clusters={}))
    assert (answered.value.status, answered.value.body) == (404, "gone")
    with pytest.raises(NoRoute, match="none of the 0 routes of virtual host"):
        call(mesh(clusters={}))
    with pytest.raises(NoEndpoint, match="no healthy upstream for 'v1'"):
        call(mesh(to(("v1", 1)), clusters={"v1": []}))
    assert all(
        issubclass(one, CallRefused)
        for one in (NotKnown, NoRoute, NoEndpoint, Overflow, DirectResponse)
    )


BODY = {"inline_string": "gone"}


def test_a_cluster_takes_no_more_calls_than_its_circuit_breaker_lets() -> None:
    router = mesh(to(("v1", 1)), clusters={})
    put_cluster(router, "v1", [1], circuit_breakers={"thresholds": [{"max_requests": 2}]})
    held = [call(router), call(router)]
    with pytest.raises(Overflow, match="cluster 'v1' has 2 requests in flight, its limit"):
        call(router)
    held.pop().succeeded()
    call(router).succeeded()


def test_a_failed_attempt_says_how_long_to_wait_and_has_another_address() -> None:
    retries = {"retry_on": "5xx", "num_retries": 1}
    router = mesh(to(("v1", 1), retry_policy=retries), clusters={"v1": [1, 2]})
    one = call(router)
    first = one.address
    wait = one.failed("status", 503)
    assert wait is not None
    assert 0 <= wait < 0.025
    assert (one.attempt, one.address != first) == (1, True)
    assert one.failed("status", 503) is None
    assert one.failed("status", 503) is None
    assert active(router) == 0


def test_a_word_that_is_no_reason_is_a_value_error_that_lists_them() -> None:
    one = call(mesh(to(("v1", 1)), clusters={"v1": [1]}))
    with pytest.raises(
        ValueError, match=r'reason: "5xx" is none of connect-failure, .* unavailable'
    ):
        one.failed("5xx")
    one.succeeded()


def test_a_call_that_is_dropped_was_abandoned() -> None:
    router = mesh(to(("v1", 1)), clusters={"v1": [1]})
    held = [call(router) for _ in range(3)]
    assert active(router) == 3
    held[0].abandoned()
    assert active(router) == 2
    del held
    gc.collect()
    assert active(router) == 0


def test_an_endpoint_that_fails_is_ejected_and_said_so() -> None:
    router = mesh(to(("v1", 1)), clusters={})
    outliers = {"consecutive_5xx": 2, "max_ejection_percent": 50, "base_ejection_time": "60s"}
    put_cluster(router, "v1", [1, 2], outlier_detection=outliers)
    for _ in range(6):
        one = call(router)
        one.succeeded(503 if one.address.endswith(":1") else 200)
    assert {call(router).address for _ in range(8)} == {"127.0.3.4:2"}
    states: Any = router.clusters()[0]["endpoints"]
    assert [(state["address"], state["ejected"], state["healthy"]) for state in states] == [
        ("127.0.3.4:1", True, False),
        ("127.0.3.4:2", False, True),
    ]
    assert [state["errors"] for state in states] == [2, 0]


def test_what_is_explained_is_what_is_done() -> None:
    dev, rest = to(("v3", 1), headers=[("x-lane", "dev")]), to(("v1", 80), ("v2", 20))
    router = mesh(dev, rest, clusters={"v1": [1, 2], "v2": [3]})
    for _ in range(50):
        said = router.explain(HOST, HOST, PATH, [])
        one = call(router)
        assert said["cluster"] == one.cluster
        assert said["route"] == one.route
        one.succeeded()
    all_of_it: Any = said
    tried = all_of_it["routes"]
    assert [route["matched"] for route in tried] == [False, True]
    assert tried[0]["reasons"][-1] == 'x-lane is missing: x-lane exact "dev" does not hold'
    assert [cluster["weight"] for cluster in all_of_it["clusters"]] == [80, 20]
    refused: Any = router.explain(HOST, HOST, PATH, [("x-lane", "dev")])["refused"]
    assert (refused["kind"], refused["missing"]) == ("NotKnown", [(messages.CLUSTER, "v3")])
    with pytest.raises(NotKnown):
        call(router, ("x-lane", "dev"))


def test_an_address_of_the_caller_that_is_none_is_a_value_error() -> None:
    router = mesh(to(("v1", 1)), clusters={"v1": [1]})
    with pytest.raises(ValueError, match="caller"):
        router.call(HOST, HOST, PATH, (), "somewhere")
    assert router.call(HOST, HOST, PATH, (), "10.0.0.1").cluster == "v1"


def test_threads_call_while_others_update() -> None:
    router = mesh(to(("v1", 3), ("v2", 1)), clusters={"v1": [1, 2], "v2": [3]})
    seen: Counter[str] = Counter()
    failed: list[BaseException] = []
    stop = threading.Event()

    def caller() -> None:
        mine: Counter[str] = Counter()
        try:
            for number in range(5_000):
                one = call(router)
                mine[one.cluster] += 1
                if number % 3:
                    one.succeeded()
                elif number % 2:
                    one.failed("reset")
        except BaseException as error:
            failed.append(error)
        seen.update(mine)

    def updates() -> None:
        round_ = 0
        while not stop.is_set():
            round_ += 1
            ports = [1, 2, 4 + round_ % 5]
            give(router, messages.ENDPOINT, "v1", endpoints("v1", ports))
            other = to(("v1", 1), headers=[("x-round", str(round_))])
            give(router, messages.ROUTE, "reviews", routes(other, to(("v1", 3), ("v2", 1))))
            time.sleep(0)

    threads = [threading.Thread(target=caller) for _ in range(4)]
    updating = threading.Thread(target=updates)
    updating.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    updating.join()
    assert failed == []
    assert seen.total() == 20_000
    assert abs(seen["v2"] - 5_000) <= 50
    assert active(router) == 0


FORKS = """
import os, signal, sys, threading
sys.path[:0] = {path}
from routed_mesh import body, call, endpoints, mesh, messages, to

router = mesh(to(("v1", 1)), clusters={{"v1": [1]}})
bodies = [body(messages.ENDPOINT, endpoints("v1", range(1, last))) for last in (900, 901)]

def updates():
    while True:
        for one in bodies:
            router.update(messages.ENDPOINT, "1", [("v1", one)])

threading.Thread(target=updates, daemon=True).start()
held = [call(router) for _ in range(20)]
for _ in range(60):
    child = os.fork()
    if not child:
        signal.alarm(10)
        held.clear()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
[state] = router.clusters()
assert state["active"] == 20, state
"""


def test_a_forked_process_drops_the_calls_of_its_parent_without_waiting_for_anyone() -> None:
    script = FORKS.format(path=sys.path)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    subprocess.run(command, check=True, timeout=60)


def test_the_command_that_measures_a_call_is_right() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    [command] = re.findall(r"```sh\n(PYTHONPATH=tests/engine .*?)```", page, re.DOTALL)
    command = command.replace(".venv/bin/python -m timeit", f"{sys.executable} -m timeit -n 10")
    command = command.replace("PYTHONPATH=", f"PYTHONPATH={ROOT / 'python'}:")
    done = subprocess.run(command, shell=True, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "per loop" in done.stdout


def test_a_call_is_made_by_the_router_only() -> None:
    with pytest.raises(TypeError):
        Call()
