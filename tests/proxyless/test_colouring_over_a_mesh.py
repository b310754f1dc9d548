"""An application that is its own edge: the rules of colouring come from the control plane."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import control_plane_process
import pytest
from control_plane_process import MESH, Running
from meltemi.lanes import edge_rules
from meltemi.lanes.colouring import Request, coloured, compiled
from meltemi.proxyless import colouring
from meltemi.proxyless.mesh import Mesh
from meltemi.xds import messages
from meltemi.xds.discovery import DeltaRequest, SotwRequest
from meltemi.xds.messages import EXTENSION_CONFIG
from mesh_fixtures import Connect, Serve, until
from scripted_server import ScriptedServer, edge_rules_for

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
UID = ("uid", "100")
STRANGE = ("baggage", "a=1,env=x")


def lanes(uid: str) -> str:
    return f"""
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {{name: shop}}
spec: {{services: [{{host: echo}}], baggageKey: env}}
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {{name: dev}}
spec: {{group: shop, entry: [{{headers: {{uid: {{exact: "{uid}"}}}}}}]}}
"""


class Application:
    """A wrapped application; `baggage` is what it gets for a request."""

    def __init__(self, mesh: Mesh, wait_s: float = 5.0) -> None:
        self._seen: list[tuple[bytes, bytes]] = []

        async def app(scope: Any, _receive: Any, _send: Any) -> None:
            self._seen = scope["headers"]

        self._app = colouring.asgi(app, mesh=mesh, wait_s=wait_s)

    def baggage(self, *headers: tuple[str, str]) -> list[str]:
        scope = {
            "type": "http",
            "path": "/",
            "headers": [(name.encode(), value.encode()) for name, value in headers],
        }

        async def run() -> None:
            await self._app(scope, _nothing, _nothing)

        asyncio.run(run())
        return [value.decode() for name, value in self._seen if name == b"baggage"]


async def _nothing(*_message: Any) -> None:
    raise AssertionError("the application neither reads nor answers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mesh"
    made.mkdir()
    (made / "mesh.yaml").write_text(MESH)
    (made / "lanes.yaml").write_text(lanes("100"))
    return made


@pytest.fixture
def control_plane(folder: Path, free_port: Callable[[], int]) -> Iterator[Running]:
    with control_plane_process.running(folder, (free_port(), free_port())) as started:
        yield started


@both
def test_requests_are_coloured_by_the_rules_and_their_edits(
    control_plane: Running, connect: Connect, delta: bool
) -> None:
    app = Application(connect(control_plane.xds, delta=delta))
    assert app.baggage(UID, STRANGE) == ["a=1,env=dev"]
    assert app.baggage(STRANGE) == ["a=1"]
    (control_plane.directory / "lanes.yaml").write_text(lanes("7"))
    until(lambda: app.baggage(UID) == [])
    assert app.baggage(("uid", "7")) == ["env=dev"]
    (control_plane.directory / "lanes.yaml").write_text(lanes("7").partition("---")[0])
    until(lambda: app.baggage(("uid", "7"), STRANGE) == ["a=1"])
    (control_plane.directory / "lanes.yaml").unlink()
    until(lambda: app.baggage(STRANGE) == ["a=1,env=x"])  # it means nothing any more


def asked(server: ScriptedServer) -> set[str]:
    """The names that somebody asked for."""
    found: set[str] = set()
    for request in server.requests:
        if request.type_url == EXTENSION_CONFIG and isinstance(request, SotwRequest):
            found |= set(request.names)
        elif request.type_url == EXTENSION_CONFIG and isinstance(request, DeltaRequest):
            found |= set(request.subscribe)
    return found


@both
def test_who_does_not_colour_does_not_ask(serve: Serve, connect: Connect, delta: bool) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    server.put(EXTENSION_CONFIG, edge_rules_for("100"))
    mesh = connect(server.address, delta=delta)
    mesh.warm(["echo:9090"], 5)
    assert asked(server) == set()
    assert Application(mesh).baggage(UID) == ["env=dev"]
    assert asked(server) == {edge_rules.RESOURCE}


def test_until_rules_are_known_all_baggage_is_taken_away(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    with caplog.at_level(logging.WARNING, "meltemi.proxyless"):
        app = Application(connect(server.address), wait_s=0.05)
    assert "no rules of colouring came within 0.05 s" in caplog.text
    assert app.baggage(UID, STRANGE, ("Baggage", "b=1")) == []
    server.put(EXTENSION_CONFIG, edge_rules_for("100"))
    until(lambda: app.baggage(UID, STRANGE) == ["a=1,env=dev"])


def test_all_that_carries_baggage_is_taken_away_until_rules_are_known() -> None:
    baggage = ("baggage", "ot-baggage-a", "uberctx-a", "rpc-persist-baggage", "RPC_TRANSIT_baggage")
    others = ("traceparent", "rpc-transit-a", "x-baggage", "ot-baggage-")
    headers = [(name, "a=1") for name in (*baggage, *others)]
    left = coloured(compiled(None), Request("GET", "/", "", headers, ""), 0)
    assert [name for name, _ in left] == list(others)


def test_rules_that_cannot_be_read_are_refused_and_the_last_ones_stay(
    serve: Serve, connect: Connect
) -> None:
    server = serve()
    server.put(EXTENSION_CONFIG, edge_rules_for("100"))
    mesh = connect(server.address)
    app = Application(mesh)
    assert app.baggage(UID) == ["env=dev"]
    made = messages.message_of(EXTENSION_CONFIG)(name=edge_rules.RESOURCE)
    for config, wanted in (
        (messages.typed_struct("type.googleapis.com/other", {}), "want a TypedStruct"),
        (messages.typed_struct(edge_rules.TYPE_URL, {"groups": [{}]}), "not the rules of lanes"),
        (messages.typed_struct(edge_rules.TYPE_URL, {}), "not the rules of lanes"),
    ):
        made.typed_config.CopyFrom(messages.pack(config))
        server.put(EXTENSION_CONFIG, messages.resource(edge_rules.RESOURCE, made))
        until(functools.partial(_complains, mesh, wanted))
        assert app.baggage(UID) == ["env=dev"]
    server.put(EXTENSION_CONFIG, edge_rules_for("7"))
    until(lambda: app.baggage(("uid", "7")) == ["env=dev"])


def _complains(mesh: Mesh, text: str) -> bool:
    return text in str(mesh.status()["types"]["TypedExtensionConfig"]["error"])


def test_a_start_without_a_control_plane_colours_as_before(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    server = serve()
    server.put(EXTENSION_CONFIG, edge_rules_for("100"))
    first = connect(server.address, last_known=tmp_path)
    assert Application(first).baggage(UID) == ["env=dev"]
    first.close()
    server.stop()
    again = Application(connect(server.address, last_known=tmp_path), wait_s=0)
    assert again.baggage(UID, STRANGE) == ["a=1,env=dev"]
    back = serve(int(server.address.rpartition(":")[2]))
    back.put(EXTENSION_CONFIG, edge_rules_for("7"))
    until(lambda: again.baggage(("uid", "7")) == ["env=dev"], within_s=20)
