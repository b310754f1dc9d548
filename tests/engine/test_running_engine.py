"""A running engine: resources in, routed requests, numbers out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_mesh import (
    Mesh,
    address,
    call,
    called,
    listener,
    read_frame,
    route_configuration,
    start_engine,
    to,
)
from meltemi.xds import messages


def answer(mesh: Mesh, method: str = "sayHello", seqid: int = 1) -> tuple[int, bytes]:
    """Message type of the reply to one call on a new connection, and the reply."""
    with mesh.connect() as sock:
        sock.sendall(call(method, seqid))
        frame = read_frame(sock)
    assert called(frame)[2] == seqid
    return called(frame)[1], frame


def eventually(claim: Callable[[], bool], within_s: float = 5.0) -> None:
    """Waits until `claim` holds."""
    end = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.01)


def test_a_request_takes_its_route_and_the_next_one_the_new_route(
    mesh: Mesh, serve: Callable[[str], int]
) -> None:
    mesh.cluster("v1", serve("one"))
    mesh.cluster("v2", serve("two"))
    mesh.routes(to("v1"))
    with mesh.connect() as sock:
        sock.sendall(call("sayHello", 1))
        assert b"one" in read_frame(sock)
        mesh.routes(to("v2", "sayHello"), to("v1"))

        def is_moved() -> bool:
            sock.sendall(call("sayHello", 2))
            return b"two" in read_frame(sock)

        eventually(is_moved)
        sock.sendall(call("other", 3))
        assert b"one" in read_frame(sock)


def test_what_is_refused_is_named_and_what_held_goes_on(
    mesh: Mesh, serve: Callable[[str], int]
) -> None:
    mesh.cluster("v1", serve("one"))
    mesh.routes(to("v1"))
    broken = route_configuration(to("v1"), {"match": {"path": "/x"}, "route": {"cluster": "v1"}})
    [(name, reason)] = mesh.put("routes", broken)
    assert name == "routes"
    assert reason.startswith("virtual_hosts[0].routes[1].match.path: ")
    assert b"one" in answer(mesh)[1]


def test_a_cluster_that_does_not_exist_is_an_error_that_names_it(mesh: Mesh) -> None:
    mesh.routes(to("nowhere"))
    kind, frame = answer(mesh)
    assert kind == 3
    assert b"nowhere" in frame


def test_a_cluster_waits_for_its_endpoints(mesh: Mesh, serve: Callable[[str], int]) -> None:
    value = {"name": "v1", "type": "EDS", "eds_cluster_config": {"service_name": "service"}}
    mesh.accept("v1", messages.from_json("envoy.config.cluster.v3.Cluster", value))
    assert mesh.engine.warming() == ["v1"]
    assert mesh.engine.clusters() == []
    endpoint = {"endpoint": {"address": address(serve("one"))}}
    assignment = messages.from_json(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        {"cluster_name": "service", "endpoints": [{"lb_endpoints": [endpoint]}]},
    )
    mesh.accept("service", assignment)
    assert mesh.engine.warming() == []
    eventually(lambda: [each["name"] for each in mesh.engine.clusters()] == ["v1"])


def test_numbers_say_what_was_served(mesh: Mesh, serve: Callable[[str], int]) -> None:
    port = serve("one")
    mesh.cluster("v1", port)
    mesh.routes(to("v1"))
    for seqid in range(5):
        answer(mesh, seqid=seqid)
    eventually(lambda: _endpoint(mesh)["active"] == 0)
    endpoint = _endpoint(mesh)
    assert endpoint["address"] == f"127.0.0.1:{port}"
    assert (endpoint["healthy"], endpoint["weight"], endpoint["total"]) == (True, 1, 5)
    assert endpoint["errors"] == 0
    stats = mesh.engine.stats()
    assert all(isinstance(value, int | float) for value in stats.values())
    assert stats[f"listener.127.0.0.1_{mesh.port}.downstream_cx_total"] >= 5
    assert b"istio_requests_total" in mesh.engine.prometheus()


def _endpoint(mesh: Mesh) -> dict[str, object]:
    [cluster] = mesh.engine.clusters()
    endpoints = cluster["endpoints"]
    assert isinstance(endpoints, list)
    [endpoint] = endpoints
    assert isinstance(endpoint, dict)
    return endpoint


def test_other_python_threads_run_while_the_engine_compiles(mesh: Mesh) -> None:
    header = {"name": "user", "safe_regex_match": {"regex": "[a-z]{1,40}"}}
    routes = [{"match": {"prefix": "/", "headers": [header]}, "route": {"cluster": "v1"}}] * 2_000
    table = messages.serialize(route_configuration(*routes))
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.001):
            ticks.append(time.monotonic())

    ticker = threading.Thread(target=tick)
    ticker.start()
    start = time.monotonic()
    mesh.engine.update(messages.ROUTE, "1", [("routes", table)])
    end = time.monotonic()
    stop.set()
    ticker.join()
    # Holding the GIL for all of it would leave no tick inside.
    assert end - start > 0.02, "compiled too fast to tell"
    assert sum(start < at < end for at in ticks) > 3


def test_a_listener_whose_address_is_taken_is_named_with_the_reason(
    mesh: Mesh, serve: Callable[[str], int]
) -> None:
    taken = serve("somebody else")
    other = listener(taken)
    other.name = "second"
    mesh.accept("second", other)
    eventually(lambda: [name for name, _ in mesh.engine.listener_errors()] == ["second"])


def test_drain_stops_accepting_and_says_that_all_was_done(
    mesh: Mesh, serve: Callable[[str], int]
) -> None:
    mesh.cluster("v1", serve("one"))
    mesh.routes(to("v1"))
    answer(mesh)
    assert mesh.engine.drain(5.0)
    with pytest.raises(OSError):
        mesh.connect().close()


def test_a_closed_engine_says_so_and_closes_again() -> None:
    engine = start_engine()
    engine.close()
    engine.close()
    for use in (engine.stats, engine.clusters, engine.prometheus):
        with pytest.raises(RuntimeError, match="closed"):
            use()
    with pytest.raises(RuntimeError, match="closed"):
        engine.update(messages.ROUTE, "1", [])


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='source_address: "x" is no IP address'):
        start_engine(source_address="x")
    with pytest.raises(ValueError, match='node: there is no field "pod"'):
        start_engine(node={"pod": "x"})
    with pytest.raises(ValueError, match=r"limits: .*max_conections"):
        start_engine(limits={"max_conections": 1})
    with pytest.raises(ValueError, match="NO_SUCH_WORD"):
        start_engine(access_log="-", access_log_format="%NO_SUCH_WORD%")
    with pytest.raises(OSError, match="cannot open the access log"):
        start_engine(access_log=str(tmp_path / "missing" / "log"))
    engine = start_engine()
    with pytest.raises(ValueError, match="no log level"):
        engine.set_log_level("loud")
    with pytest.raises(ValueError, match="deadline_s"):
        engine.drain(-1.0)
    with pytest.raises(TypeError):
        engine.update(messages.ROUTE, "1", [("name", "no bytes")])  # type: ignore[list-item]
    engine.close()
