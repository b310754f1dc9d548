"""Where the original loses its control plane or trusts what came, this client goes on.

The numbers are those of docs/proxyless-points.md.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from meltemi.proxyless import ClosedError, MeltemiError, NoEndpointError, NotReadyError
from meltemi.xds import messages
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE
from mesh_fixtures import Connect, Serve, until
from scripted_server import cluster, endpoints, listener, route

ROOT = Path(__file__).resolve().parents[2]
PATH = "/shop.Books/One"
both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


def assignment(name: str, *groups: dict[str, Any]) -> Any:
    """Endpoints in groups: {"port": 7001, "health": "UNHEALTHY", "priority": 1}."""
    body = {
        "cluster_name": name,
        "endpoints": [
            {
                "priority": group.get("priority", 0),
                "load_balancing_weight": 1,
                "lb_endpoints": [
                    {
                        "health_status": group.get("health", "HEALTHY"),
                        "endpoint": {
                            "address": {
                                "socket_address": {
                                    "address": "127.0.0.1",
                                    "port_value": group["port"],
                                }
                            }
                        },
                    }
                ],
            }
            for group in groups
        ],
    }
    of = "envoy.config.endpoint.v3.ClusterLoadAssignment"
    return messages.resource(name, messages.from_json(of, body))


@both
def test_11_what_has_nothing_in_it_is_named_and_nothing_else_suffers(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    server = serve()
    server.service("good:9080", "good", "127.0.0.1:7001")
    server.put(LISTENER, messages.resource("hollow:9080", messages.message_of(LISTENER)()))
    server.service("empty:9080", "empty")
    server.put(ENDPOINT, messages.resource("empty", messages.message_of(ENDPOINT)()))
    mesh = connect(server.address, delta=delta, ready_timeout_s=0.5)
    for name in ("hollow:9080", "empty:9080"):
        for _ in range(2):
            with pytest.raises(MeltemiError):
                mesh.call(mesh.target(name), PATH)
    assert mesh.call(mesh.target("good:9080"), PATH).address == "127.0.0.1:7001"


def test_12_nothing_waits_longer_than_its_time_for_a_server_that_is_away(
    connect: Connect, free_port: Callable[[], int]
) -> None:
    began = time.monotonic()
    mesh = connect(f"127.0.0.1:{free_port()}", ready_timeout_s=0.2)
    for _ in range(3):
        with pytest.raises(NotReadyError, match="no control plane at"):
            mesh.call(mesh.target("books:9080"), PATH)
    with pytest.raises(NotReadyError):
        mesh.warm(["books:9080"], 0.2)
    assert time.monotonic() - began < 3


def test_13_any_number_of_targets_may_be_asked_for_while_nobody_answers(
    connect: Connect, free_port: Callable[[], int]
) -> None:
    mesh = connect(f"127.0.0.1:{free_port()}", ready_timeout_s=0.2)
    began = time.monotonic()
    targets = [mesh.target(f"service-{number}:9080") for number in range(1500)]
    with pytest.raises(NotReadyError):
        mesh.call(targets[-1], PATH)
    mesh.close()
    for target in targets:
        with pytest.raises(ClosedError):
            mesh.call(target, PATH)
    assert time.monotonic() - began < 10


@both
def test_14_what_comes_late_serves_the_next_call_at_once(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    server = serve()
    server.put(CLUSTER, cluster("c"))
    server.put(ROUTE, route("c", "c"))
    server.put(LISTENER, listener("books:9080", "c"))
    mesh = connect(server.address, delta=delta, ready_timeout_s=0.3)
    target = mesh.target("books:9080")
    with pytest.raises(MeltemiError):
        mesh.call(target, PATH)
    server.put(ENDPOINT, endpoints("c", "127.0.0.1:7001"))
    until(lambda: mesh.status()["types"]["ClusterLoadAssignment"]["resources"] == 1)
    until(lambda: not mesh.status()["awaited"])
    server.stop()
    assert mesh.call(target, PATH).address == "127.0.0.1:7001"


@both
def test_15_only_what_calls_need_is_asked_for(serve: Serve, connect: Connect, delta: bool) -> None:
    server = serve()
    for number in range(200):
        server.service(f"other-{number}:9080", f"other-{number}", "127.0.0.1:7001")
    server.service("books:9080", "c", "127.0.0.1:7002")
    mesh = connect(server.address, delta=delta)
    assert mesh.call(mesh.target("books:9080"), PATH).address == "127.0.0.1:7002"
    assert "other-" not in str(server.requests)
    assert {each["resources"] for each in mesh.status()["types"].values()} <= {0, 1}


def test_16_no_call_goes_to_an_endpoint_that_is_said_to_be_sick(
    serve: Serve, connect: Connect
) -> None:
    server = serve()
    server.service("books:9080", "c")
    sick = [{"port": 7001, "health": "UNHEALTHY"}, {"port": 7002, "health": "DRAINING"}]
    well = [{"port": port} for port in range(7010, 7018)]
    server.put(ENDPOINT, assignment("c", *sick, *well))
    mesh = connect(server.address)
    target = mesh.target("books:9080")
    calls = [mesh.call(target, PATH) for _ in range(100)]
    assert {call.address for call in calls} == {f"127.0.0.1:{each['port']}" for each in well}


def test_16_the_second_priority_is_for_when_the_first_is_sick(
    serve: Serve, connect: Connect
) -> None:
    server = serve()
    server.service("books:9080", "c")
    far = {"port": 7002, "priority": 1}
    server.put(ENDPOINT, assignment("c", {"port": 7001}, far))
    mesh = connect(server.address)
    target = mesh.target("books:9080")
    assert {mesh.call(target, PATH).address for _ in range(50)} == {"127.0.0.1:7001"}
    server.put(ENDPOINT, assignment("c", {"port": 7001, "health": "UNHEALTHY"}, far))
    # The original looks every 5 s.
    took_s = until(lambda: mesh.call(target, PATH).address == "127.0.0.1:7002")
    assert took_s < 3
    assert {mesh.call(target, PATH).address for _ in range(50)} == {"127.0.0.1:7002"}


def test_22_a_subset_that_is_not_there_costs_its_own_calls_alone(
    serve: Serve, connect: Connect
) -> None:
    server = serve()
    server.service("books:9080", "v1", "127.0.0.1:7001")
    body = {
        "name": "v1",
        "virtual_hosts": [
            {
                "name": "v1",
                "domains": ["*"],
                "routes": [
                    {
                        "match": {
                            "prefix": "/",
                            "headers": [{"name": "x-lane", "present_match": True}],
                        },
                        "route": {"cluster": "gone"},
                    },
                    {"match": {"prefix": "/"}, "route": {"cluster": "v1"}},
                ],
            }
        ],
    }
    of = "envoy.config.route.v3.RouteConfiguration"
    server.put(ROUTE, messages.resource("v1", messages.from_json(of, body)))
    mesh = connect(server.address, ready_timeout_s=30)
    target = mesh.target("books:9080")
    assert mesh.call(target, PATH).address == "127.0.0.1:7001"
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises((NotReadyError, NoEndpointError), match="gone"):
            mesh.call(target, PATH, [("x-lane", "dev")])
        assert time.monotonic() - began < 5
        assert mesh.call(target, PATH).address == "127.0.0.1:7001"


def test_13_a_server_that_floods_us_holds_up_no_thread_and_no_memory(connect: Connect) -> None:
    """Settings, and then pings without end, whose answers it does not read."""
    listening = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def flood() -> None:
        ping = (8).to_bytes(3, "big") + b"\6\0" + bytes(4) + b"12345678"
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                connections.append(connection)
                with contextlib.suppress(ConnectionError):
                    connection.sendall(bytes(3) + b"\4\0" + bytes(4))
                    while True:
                        connection.sendall(ping * 4096)

    threading.Thread(target=flood, daemon=True).start()
    mesh = connect("{}:{}".format(*listening.getsockname()), ready_timeout_s=0.3)
    with pytest.raises(NotReadyError):
        mesh.call(mesh.target("books:9080"), PATH)
    until(lambda: "does not read" in str(mesh.status()["last_error"]), 30)
    began = time.monotonic()
    mesh.close()
    assert time.monotonic() - began < 1.5
    for each in [listening, *connections]:
        each.close()


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "proxyless-points.md").read_text()
    rows = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert rows == [str(number) for number in range(1, 27)]
    named = set(re.findall(r"`(test_\w+)`", page))
    texts = "\n".join(path.read_text() for path in ROOT.glob("tests/*/test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", texts))
    assert len(named) > 40
    assert named <= defined, named - defined
