"""What a mesh knows and when: first calls, changes, servers that are away or misbehave."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable

import grpc
import pytest
from meltemi.proxyless import ClosedError, NoEndpointError, NotReadyError
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE
from mesh_fixtures import Connect, Serve, until
from scripted_server import cluster, endpoints, listener, route

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
PATH = "/demo.Greeter/Hello"


@both
def test_a_call_gets_an_endpoint(serve: Serve, connect: Connect, delta: bool) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, delta=delta)
    call = mesh.call(mesh.target("echo:9090"), PATH)
    assert (call.address, call.cluster) == ("127.0.0.1:7001", "c")
    call.succeeded()


@both
def test_a_coroutine_gets_an_endpoint_and_blocks_no_other(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    server = serve(slowly=True)
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, delta=delta)

    async def run() -> tuple[str, int]:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(tick())
        call = await mesh.call_async(mesh.target("echo:9090"), PATH)
        ticking.cancel()
        return call.address, turns

    address, turns = asyncio.run(run())
    assert address == "127.0.0.1:7001"
    assert turns > 5


@both
def test_a_first_call_costs_three_round_trips_at_most(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    """G25, where the names say nothing: a short name, and resources named as nobody guesses."""
    server = serve(slowly=True)
    server.service("echo:9090", "some cluster", "127.0.0.1:7001")
    mesh = connect(server.address, delta=delta)
    mesh.call(mesh.target("echo:9090"), PATH).succeeded()
    assert server.rounds == 3


@both
def test_a_service_of_the_platform_costs_one_round_trip(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    server = serve(slowly=True)
    name = "outbound|9090||echo.default.svc.cluster.local"
    server.service("echo:9090", name, "127.0.0.1:7001")
    mesh = connect(server.address, delta=delta)
    mesh.call(mesh.target("echo:9090"), PATH).succeeded()
    assert server.rounds == 1


@both
def test_a_wrong_guess_costs_nothing(serve: Serve, connect: Connect, delta: bool) -> None:
    """A subset's cluster instead of the service's own: the route says it, one trip later."""
    server = serve(slowly=True)
    name = "outbound|9090||echo.default.svc.cluster.local"
    server.service("echo:9090", "subset", "127.0.0.1:7002")
    server.put(ROUTE, route(name, "subset"))
    server.put(LISTENER, listener("echo:9090", name))
    mesh = connect(server.address, delta=delta)
    assert mesh.call(mesh.target("echo:9090"), PATH).address == "127.0.0.1:7002"
    assert server.rounds == 2
    assert mesh.status()["types"]["Cluster"]["awaited"] == []


@both
def test_calls_never_wait_for_a_target_again(serve: Serve, connect: Connect, delta: bool) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, delta=delta)
    target = mesh.target("echo:9090")
    mesh.call(target, PATH).succeeded()
    server.stop()
    until(lambda: not mesh.status()["connected"])
    assert mesh.call(target, PATH).address == "127.0.0.1:7001"


@both
def test_a_change_is_in_use_soon_and_no_call_fails_meanwhile(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, delta=delta)
    target = mesh.target("echo:9090")
    mesh.call(target, PATH).succeeded()
    failures: list[Exception] = []
    seen: set[str] = set()
    stop = threading.Event()

    def calls() -> None:
        while not stop.is_set():
            try:
                call = mesh.call(target, PATH)
                seen.add(call.address)
                call.succeeded()
            except Exception as exc:
                failures.append(exc)
                return

    thread = threading.Thread(target=calls)
    thread.start()
    try:
        for number in range(20):
            name, address = f"d{number}", f"127.0.0.1:{7100 + number}"
            server.put(ROUTE, route("c", name))  # before its cluster is there
            time.sleep(0.01)
            server.put(CLUSTER, cluster(name))
            server.put(ENDPOINT, endpoints(name, address))
            until(functools.partial(_came, address, seen, failures))
    finally:
        stop.set()
        thread.join()
    assert failures == []


def _came(address: str, seen: set[str], failures: list[Exception]) -> bool:
    assert failures == []
    return address in seen


@both
def test_a_hundred_changes_of_endpoints_a_second_fail_no_call(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, delta=delta)
    target = mesh.target("echo:9090")
    for number in range(200):
        server.put(ENDPOINT, endpoints("c", f"127.0.0.1:{7100 + number}"))
        until_s = time.monotonic() + 0.01
        while time.monotonic() < until_s:
            mesh.call(target, PATH).succeeded()
    until(lambda: mesh.call(target, PATH).address == "127.0.0.1:7299")


@both
def test_what_does_not_exist_is_named(serve: Serve, connect: Connect, delta: bool) -> None:
    server = serve()
    mesh = connect(server.address, delta=delta, ready_timeout_s=0.5)
    with pytest.raises(NotReadyError, match=r"cannot call nobody:9090: Listener 'nobody:9090'"):
        mesh.call(mesh.target("nobody:9090"), PATH)


def test_what_the_server_says_does_not_exist_fails_at_once(serve: Serve, connect: Connect) -> None:
    server = serve()
    mesh = connect(server.address, ready_timeout_s=30)
    began = time.monotonic()
    with pytest.raises(NotReadyError, match="the server says that it does not exist"):
        mesh.call(mesh.target("nobody:9090"), PATH)
    assert time.monotonic() - began < 5
    server.service("nobody:9090", "c", "127.0.0.1:7001")
    target = mesh.target("nobody:9090")
    until(lambda: mesh.status()["types"]["Listener"]["resources"] == 1)
    assert mesh.call(target, PATH).address == "127.0.0.1:7001"


@both
def test_a_missing_cluster_is_named_with_what_the_server_said(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    server = serve()
    server.put(LISTENER, listener("echo:9090", "r"))
    server.put(ROUTE, route("r", "gone"))
    mesh = connect(server.address, delta=delta, ready_timeout_s=0.5)
    with pytest.raises(NotReadyError, match="Cluster 'gone'") as failure:
        mesh.call(mesh.target("echo:9090"), PATH)
    assert ("Cluster", "gone") in failure.value.missing


@both
def test_one_bad_resource_among_good_ones_harms_only_itself(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    """Reference 6.15: a whole response is never refused for one of its resources."""
    server = serve()
    server.service("good:9090", "good", "127.0.0.1:7001")
    server.service("bad:9090", "bad", "127.0.0.1:7002")
    mesh = connect(server.address, delta=delta)
    good, bad = mesh.target("good:9090"), mesh.target("bad:9090")
    mesh.warm([good, bad], 5)
    broken = route("bad", "bad")
    server.put(ROUTE, type(broken)("bad", "broken", b"\xff\xff\xff"), route("good", "bad"))
    until(lambda: mesh.call(good, PATH).address == "127.0.0.1:7002")
    assert mesh.call(bad, PATH).address == "127.0.0.1:7002"
    until(lambda: mesh.status()["types"]["RouteConfiguration"]["error"] is not None)


@both
@pytest.mark.parametrize("after", [0, 1])
def test_a_stream_that_is_reset_at_each_message_ends_up_ready(
    serve: Serve, connect: Connect, delta: bool, after: int
) -> None:
    server = serve(reset_after=after)
    server.service("echo:9090", "some cluster", "127.0.0.1:7001")
    mesh = connect(server.address, delta=delta, ready_timeout_s=20)
    assert mesh.call(mesh.target("echo:9090"), PATH).address == "127.0.0.1:7001"
    assert server.streams > 1


@both
def test_a_server_that_is_away_at_start_is_found_when_it_comes(
    serve: Serve, connect: Connect, free_port: Callable[[], int], delta: bool
) -> None:
    port = free_port()
    mesh = connect(f"127.0.0.1:{port}", delta=delta, ready_timeout_s=0.3)
    target = mesh.target("echo:9090")
    with pytest.raises(NotReadyError, match=f"no control plane at 127.0.0.1:{port}"):
        mesh.call(target, PATH)
    server = serve(port)
    server.service("echo:9090", "c", "127.0.0.1:7001")
    until(lambda: mesh.status()["connected"])
    mesh.warm([target], 5)
    assert mesh.call(target, PATH).address == "127.0.0.1:7001"


@both
def test_a_server_that_comes_back_with_other_rules_is_followed(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, delta=delta)
    target = mesh.target("echo:9090")
    mesh.call(target, PATH).succeeded()
    server.stop()
    until(lambda: not mesh.status()["connected"])
    other = serve(int(server.address.rpartition(":")[2]))
    other.service("echo:9090", "d", "127.0.0.1:7002")
    until(lambda: mesh.call(target, PATH).address == "127.0.0.1:7002")


def test_connect_waits_for_nobody_for_ever(connect: Connect, free_port: Callable[[], int]) -> None:
    """Reference 6.12."""
    began = time.monotonic()
    connect(f"127.0.0.1:{free_port()}", warm=["echo:9090"], warm_timeout_s=0.3)
    assert time.monotonic() - began < 3


def test_warming_names_all_that_is_missing(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, warm=["echo:9090"])
    with pytest.raises(NotReadyError, match="one:1, two:2"):
        mesh.warm(["echo:9090", "one:1", "two:2"], 5)


def test_a_refusal_for_want_of_a_token_ends_nothing(serve: Serve, connect: Connect) -> None:
    """Reference 6.13: Kitex' client is dead for good after one Unauthenticated."""
    server = serve(refuse=(grpc.StatusCode.UNAUTHENTICATED, "the token is over"))
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, ready_timeout_s=0.5)
    target = mesh.target("echo:9090")
    with pytest.raises(NotReadyError, match="UNAUTHENTICATED: the token is over"):
        mesh.call(target, PATH)
    server.refuse = None
    until(lambda: mesh.status()["connected"])
    mesh.warm([target], 5)
    mesh.call(target, PATH).succeeded()


@both
def test_a_server_that_ends_connections_now_and_then_is_asked_again_at_once(
    serve: Serve, connect: Connect, delta: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """istiod does so every 30 minutes, here it is a bit more than a second."""
    server = serve(options=[("grpc.max_connection_age_ms", 1300)])
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, delta=delta)
    target = mesh.target("echo:9090")

    def call() -> bool:
        mesh.call(target, PATH).succeeded()
        return server.streams >= 3

    until(call, within_s=20)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_server_without_delta_is_asked_for_the_state_of_the_world(
    serve: Serve, connect: Connect
) -> None:
    server = serve(without_delta=True)
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address)
    mesh.call(mesh.target("echo:9090"), PATH).succeeded()
    assert mesh.status()["protocol"] == "state of the world"


@both
def test_a_cluster_without_endpoints_says_so(serve: Serve, connect: Connect, delta: bool) -> None:
    server = serve()
    server.service("echo:9090", "c")
    mesh = connect(server.address, delta=delta)
    with pytest.raises(NoEndpointError):
        mesh.call(mesh.target("echo:9090"), PATH)


def test_equal_settings_share_a_client_that_the_last_one_closes(
    serve: Serve, connect: Connect
) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    first, second = connect(server.address), connect(server.address)
    assert first is second
    first.close()
    second.call(second.target("echo:9090"), PATH).succeeded()
    second.close()
    with pytest.raises(ClosedError):
        second.call(second.target("echo:9090"), PATH)
    assert server.streams == 1


def test_the_first_request_says_who_asks(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, namespace="demo", pod="web-0", labels={"app": "web"})
    until(lambda: mesh.status()["connected"] or server.streams)
    mesh.call(mesh.target("echo:9090"), PATH).succeeded()
    (node,) = server.nodes
    assert node.id == "sidecar~127.0.0.1~web-0.demo~demo.svc.cluster.local"
    assert node.metadata["GENERATOR"] == "grpc"
    assert dict(node.metadata["LABELS"]) == {"app": "web"}


def test_many_threads_may_call_first_at_the_same_time(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address)
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(mesh.call(mesh.target("echo:9090"), PATH).address)
        )
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["127.0.0.1:7001"] * 16


def test_an_explanation_is_values_and_text(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address)
    found = mesh.explain("echo:9090", path=PATH)
    assert found["cluster"] == "c"
    assert "127.0.0.1:7001" in str(found)
