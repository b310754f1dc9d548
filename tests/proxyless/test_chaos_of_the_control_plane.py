"""What happens to the control plane happens to no call that has a healthy endpoint."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from answering import Ports, answering, some_ports
from meltemi.proxyless import NotReadyError
from meltemi.proxyless.mesh import Mesh
from meltemi.xds import messages
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE
from mesh_fixtures import Connect, Serve, until
from named_callers import NAMES, PROTOCOLS, Call, calling
from scripted_server import ScriptedServer, endpoints, listener, route

TARGET, OTHER = "books:9080", "music:9080"
every_client = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def ports(free_port: Callable[[], int]) -> Iterator[Ports]:
    made = some_ports(free_port)
    with answering(made):
        yield made


def address(ports: Ports, name: str, version: str) -> str:
    return f"127.0.0.1:{ports[PROTOCOLS[name]][version]}"


@dataclass
class Going:
    """Calls that go on in a thread, one after the other."""

    answers: list[str] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)

    def more(self, count: int = 20) -> None:
        """Waits for so many more."""
        wanted = len(self.answers) + count
        until(lambda: self.failed or len(self.answers) >= wanted)

    def move_to(self, version: str) -> None:
        """Waits until calls go there."""
        until(lambda: self.failed or self.answers[-1] == version, within_s=30)
        self.more(5)
        assert self.answers[-5:] == [version] * 5


@contextlib.contextmanager
def going(call: Call) -> Iterator[Going]:
    """None of them fails."""
    found, done = Going(), threading.Event()

    def run() -> None:
        while not done.is_set():
            try:
                found.answers.append(call(0))
            except Exception as error:
                found.failed.append(error)
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        found.more()
        yield found
        found.more()
    finally:
        done.set()
        thread.join()
    assert found.failed == []


def started_again(serve: Serve, server: ScriptedServer, **attributes: Any) -> ScriptedServer:
    return serve(int(server.address.rpartition(":")[2]), **attributes)


@every_client
def test_a_start_without_a_control_plane_lives_on_what_was_known(
    serve: Serve, connect: Connect, ports: Ports, tmp_path: Path, name: str
) -> None:
    server = serve()
    server.service(TARGET, "c", address(ports, name, "v1"))
    first = connect(server.address, last_known=tmp_path)
    first.warm([TARGET], 10)
    first.close()
    server.stop()
    mesh = connect(server.address, last_known=tmp_path)
    with calling(name, mesh, TARGET, tmp_path) as call, going(call) as calls:
        assert set(calls.answers) == {"v1"}
        back = serve(int(server.address.rpartition(":")[2]))
        back.service(TARGET, "other", address(ports, name, "v2"))
        calls.move_to("v2")


@every_client
def test_a_start_without_anything_known_says_so_and_calls_when_it_is(
    serve: Serve, connect: Connect, ports: Ports, tmp_path: Path, name: str
) -> None:
    server = serve()
    server.stop()
    mesh = connect(server.address, ready_timeout_s=0.2)
    with calling(name, mesh, TARGET, tmp_path) as call:
        with pytest.raises(Exception, match=r"books:9080.*not known") as refused:
            call(0)
        assert isinstance(refused.value, NotReadyError) or name in ("grpc", "httpx")
        back = started_again(serve, server)
        back.service(TARGET, "c", address(ports, name, "v1"))
        until(lambda: mesh.status()["connected"])
        until(lambda: _answers(call))
        assert call(0) == "v1"


def _answers(call: Call) -> bool:
    with contextlib.suppress(Exception):
        return bool(call(0))
    return False


@every_client
def test_calls_go_on_while_it_is_away_and_follow_the_rules_that_it_comes_back_with(
    serve: Serve, connect: Connect, ports: Ports, tmp_path: Path, name: str
) -> None:
    server = serve()
    server.service(TARGET, "c", address(ports, name, "v1"))
    mesh = connect(server.address)
    with calling(name, mesh, TARGET, tmp_path) as call, going(call) as calls:
        server.stop()
        until(lambda: not mesh.status()["connected"])
        calls.more()
        back = started_again(serve, server)
        back.service(TARGET, "other", address(ports, name, "v2"))
        calls.move_to("v2")


@every_client
def test_a_stream_that_ends_at_each_message_fails_no_call_and_learns_in_the_end(
    serve: Serve, connect: Connect, ports: Ports, tmp_path: Path, name: str
) -> None:
    server = serve()
    for target, cluster in ((TARGET, "c"), (OTHER, "d")):
        server.service(target, cluster, address(ports, name, "v1"))
    mesh = connect(server.address)
    with calling(name, mesh, TARGET, tmp_path) as call, going(call) as calls:
        server.stop()
        back = started_again(serve, server, reset_after=0)
        for target, cluster in ((TARGET, "c"), (OTHER, "d")):
            back.service(target, cluster, address(ports, name, "v2"))
        calls.move_to("v2")
        with calling(name, mesh, OTHER, tmp_path) as other:
            assert other(0) == "v2"
        assert back.streams > 2


@every_client
def test_a_bad_resource_of_each_kind_among_good_ones_fails_no_call(
    serve: Serve, connect: Connect, ports: Ports, tmp_path: Path, name: str
) -> None:
    server = serve()
    for target, cluster in ((TARGET, "c"), (OTHER, "d")):
        server.service(target, cluster, address(ports, name, "v1"))
    mesh = connect(server.address)
    mesh.warm([OTHER], 10)
    with (
        calling(name, mesh, OTHER, tmp_path) as other,
        calling(name, mesh, TARGET, tmp_path) as call,
        going(call) as calls,
    ):
        for type_url, bad in ((CLUSTER, "d"), (ENDPOINT, "d"), (ROUTE, "d"), (LISTENER, OTHER)):
            good = server.held[type_url][bad]
            server.put(type_url, _broken(type_url, bad))
            until(functools.partial(_has_error, mesh, type_url))
            assert other(0) == "v1", "its last good state stays"
            server.put(type_url, good)
        server.put(ENDPOINT, endpoints("c", address(ports, name, "v2")))
        calls.move_to("v2")
        server.put(ENDPOINT, endpoints("d", address(ports, name, "v2")))
        until(lambda: other(0) == "v2")


def _has_error(mesh: Mesh, type_url: str) -> bool:
    return mesh.status()["types"][type_url.rpartition(".")[2]]["error"] is not None


def _broken(type_url: str, name: str) -> Any:
    """A resource that no client can take: each lacks what it is about."""
    if type_url == LISTENER:
        return listener(name, "")
    if type_url == ROUTE:
        return route(name, "")
    key = "cluster_name" if type_url == ENDPOINT else "name"
    made = messages.message_of(type_url)(**{key: name})
    if type_url == ENDPOINT:
        made.endpoints.add().lb_endpoints.add().endpoint.address.socket_address.address = "no.ip"
    else:
        made.type = 3
        made.lb_policy = 6
    return messages.resource(name, made)


@every_client
def test_endpoints_come_and_go_a_dead_one_among_them(
    serve: Serve,
    connect: Connect,
    ports: Ports,
    tmp_path: Path,
    free_port: Callable[[], int],
    name: str,
) -> None:
    server = serve()
    v1, v2 = (address(ports, name, version) for version in ("v1", "v2"))
    dead = f"127.0.0.1:{free_port()}"
    server.service(TARGET, "c", v1)
    mesh = connect(server.address)
    changes = ((v1, dead), (v2,), (dead, v2, v1), (v1,), (dead, v1), (v1, v2))
    with calling(name, mesh, TARGET, tmp_path) as call, going(call) as calls:
        for _ in range(10):
            for some in changes:
                server.put(ENDPOINT, endpoints("c", *some))
                time.sleep(0.02)
        calls.more()
        assert {"v1", "v2"} <= set(calls.answers)
