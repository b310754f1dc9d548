from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

APPS = Path(__file__).with_name("apps")
sys.path[:0] = [str(Path(__file__).parent), str(APPS)]

import hello_mesh  # noqa: E402 - found by the path above
from browser import browser, open_page, screenshot  # noqa: E402 - as above
from mesh import Mesh, running  # noqa: E402
from protocols import MODES, PROTOCOLS, WIRES, Connection, Wire  # noqa: E402

__all__ = ["browser", "open_page", "screenshot"]


@pytest.fixture(scope="session")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The running mesh of `hello_mesh`; a test that applies a rule deletes it."""
    directory = tmp_path_factory.mktemp("hello") / "mesh"
    hello_mesh.put_programs(directory)
    notes = directory.parent / "notes"
    notes.touch()
    (directory / "mesh.yaml").write_text(hello_mesh.documents(str(notes)))
    with running(directory) as mesh:
        yield mesh


@pytest.fixture
def clean(hello: Mesh) -> Iterator[Mesh]:
    """The same mesh, without rules before and after the test."""
    yield hello
    hello.meltemi("delete", "MetaRouter", "hello", "-n", hello_mesh.NAMESPACE)


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Wire:
    """One wire of each protocol."""
    return PROTOCOLS[request.param]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Wire:
    """One wire of each protocol, and of each way in which requests find an upstream connection."""
    return MODES[request.param]


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    """Every wire."""
    return WIRES[request.param]


@pytest.fixture
def connection(hello: Mesh, protocol: Wire) -> Iterator[Connection]:
    """A connection of `protocol` to the client's sidecar."""
    with protocol.connect(hello) as connection:
        yield connection
