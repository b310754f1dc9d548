from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

APPS = Path(__file__).with_name("apps")
sys.path[:0] = [str(Path(__file__).parent), str(APPS)]

import thrift_mesh  # noqa: E402 - found by the path above
from mesh import Mesh, running  # noqa: E402


@pytest.fixture(scope="session")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The running mesh of `thrift_mesh`; a test that applies a rule deletes it."""
    directory = tmp_path_factory.mktemp("hello") / "mesh"
    shutil.copytree(APPS, directory, ignore=shutil.ignore_patterns("__pycache__"))
    notes = directory.parent / "notes"
    notes.touch()
    (directory / "mesh.yaml").write_text(thrift_mesh.documents(str(notes)))
    with running(directory) as mesh:
        yield mesh


@pytest.fixture
def clean(hello: Mesh) -> Iterator[Mesh]:
    """The same mesh, without rules before and after the test."""
    yield hello
    hello.meltemi("delete", "MetaRouter", "hello", "-n", thrift_mesh.NAMESPACE)
