"""A server by hand, meshes that are closed, and a Thrift server that reads every wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from meltemi import proxyless
from meltemi.proxyless import thrift as mesh_thrift
from meltemi.proxyless.mesh import Mesh
from mesh_fixtures import Connect, Serve
from scripted_server import ScriptedServer
from thrift_peers import Handler, load, running, server_of


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own says who we are."""
    for name in ("MELTEMI_XDS_ADDRESS", "POD_NAME", "POD_NAMESPACE", "INSTANCE_IP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MELTEMI_XDS_LAST_KNOWN", "off")


@pytest.fixture
def serve(free_port: Callable[[], int]) -> Iterator[Serve]:
    """Starts servers: `serve()` gives a ScriptedServer."""
    with ExitStack() as stack:

        def started(port: int | None = None, **attributes: Any) -> ScriptedServer:
            server = ScriptedServer(port or free_port())
            for name, value in attributes.items():
                assert hasattr(server, name), name
                setattr(server, name, value)
            stack.callback(server.stop)
            return server.start()

        yield started


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects meshes: `connect(server.address, ...)`."""
    with ExitStack() as stack:

        def connected(address: str, **settings: Any) -> Mesh:
            mesh = proxyless.connect(address, **settings)
            stack.callback(mesh.close)
            return mesh

        yield connected


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What thriftpy2 makes of the tests' IDL."""
    return load(tmp_path_factory.mktemp("idl"))


@pytest.fixture
def handler(module: Any) -> Handler:
    return Handler(module)


@pytest.fixture
def wrapped(module: Any, handler: Handler, free_port: Callable[[], int]) -> Iterator[str]:
    """The address of a server that reads every wire."""
    port = free_port()
    with running(mesh_thrift.mesh_server(server_of(module, handler, port))):
        yield f"127.0.0.1:{port}"
