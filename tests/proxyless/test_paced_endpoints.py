"""Endpoints that go on changing are taken now and then, all else at once."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from meltemi.proxyless.mesh import Mesh
from meltemi.xds import blocking_client
from meltemi.xds.client_on_demand import OnDemandState
from meltemi.xds.client_state import Request
from meltemi.xds.messages import ENDPOINT
from meltemi.xds.resource import Node
from mesh_fixtures import Connect, Serve, until
from scripted_server import endpoints

FIRST, SECOND, THIRD = (f"127.0.0.1:{port}" for port in (1001, 1002, 1003))


def address(mesh: Mesh, target: str) -> str:
    call = mesh.call(mesh.target(target), "/")
    call.abandoned()
    return call.address


def test_the_first_change_is_taken_at_once_and_the_next_ones_after_a_pause(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    server.service("books:9080", "books", FIRST)
    mesh = connect(server.address)
    assert address(mesh, "books:9080") == FIRST
    monkeypatch.setattr(blocking_client, "ENDPOINTS_EVERY_S", 3.0)
    server.put(ENDPOINT, endpoints("books", SECOND))
    until(lambda: address(mesh, "books:9080") == SECOND, within_s=2.5)
    server.put(ENDPOINT, endpoints("books", THIRD))
    with pytest.raises(AssertionError):
        until(lambda: address(mesh, "books:9080") == THIRD, within_s=1)
    until(lambda: address(mesh, "books:9080") == THIRD, within_s=10)


def test_a_first_call_waits_for_no_pause(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    server.service("books:9080", "books", FIRST)
    server.service("music:9080", "music", SECOND)
    monkeypatch.setattr(blocking_client, "ENDPOINTS_EVERY_S", 60.0)
    mesh = connect(server.address)
    assert address(mesh, "books:9080") == FIRST
    assert address(mesh, "music:9080") == SECOND


def test_what_is_asked_for_in_a_pause_is_asked_for_then(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = blocking_client.Server(f"127.0.0.1:{silent.getsockname()[1]}")
        state = OnDemandState(delta=True)
        client = blocking_client.BlockingAdsClient(
            server, Node.of("a"), state, on_update=lambda *_: (), on_change=lambda _: None
        )
        monkeypatch.setattr(client, "_read_again_at", time.monotonic() + 60)
        client.start()
        time.sleep(blocking_client.ACCEPTED_S + 0.5)  # there is nothing else that it wakes up for

        def ask(*_: object) -> list[Request]:
            asked.set()
            return []

        try:
            client.post(ask)
            assert asked.wait(5)
        finally:
            client.close()
