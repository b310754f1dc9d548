from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
FOLDERS = ("interop", "e2e", "e2e/apps", "lanes", "proxyless")
sys.path[:0] = [str(TESTS / folder) for folder in FOLDERS]

import apache_dubbo  # noqa: E402 - found by the path above
import istiod_process  # noqa: E402
import kitex_peers  # noqa: E402
from mesh import Mesh, running  # noqa: E402


@pytest.fixture(scope="session")
def java_peers() -> None:
    """Apache Dubbo's side is built; where it cannot be, what needs it is skipped."""
    for tool in ("javac", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}: a JDK of 17 or later and Maven build Dubbo's side")
    apache_dubbo.build()


@pytest.fixture(scope="session")
def kitex() -> None:
    """Kitex's side is built; where it cannot be, what needs it is skipped."""
    if shutil.which("go") is None and not Path("/usr/local/go/bin/go").exists():
        pytest.skip("there is no go: Go of 1.24 or later builds Kitex's side")
    kitex_peers.build()


@pytest.fixture(scope="session")
def istiod() -> None:
    """istiod is built; where it cannot be, what needs it is skipped."""
    if shutil.which("go") is None and not Path("/usr/local/go/bin/go").exists():
        pytest.skip("there is no go: Go of 1.26 or later builds istiod")
    istiod_process.build()


@pytest.fixture(scope="session")
def apache_mesh(java_peers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh of `apache_dubbo.documents`, running."""
    directory = tmp_path_factory.mktemp("apache") / "mesh"
    directory.mkdir()
    (directory / "mesh.yaml").write_text(apache_dubbo.documents())
    with running(directory) as mesh:
        yield mesh


@pytest.fixture(scope="session")
def shop(apache_mesh: Mesh) -> apache_dubbo.Consumer:
    """The consumer, once it and both providers serve."""
    return apache_dubbo.consumer(apache_mesh)
