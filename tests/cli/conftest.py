"""What the tests of the commands may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from control_plane_process import MESH, Running, running


@pytest.fixture
def mesh_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "mesh"
    directory.mkdir()
    (directory / "mesh.yaml").write_text(MESH)
    return directory


@pytest.fixture
def ports(free_port: Callable[[], int]) -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def control_plane(mesh_directory: Path, ports: tuple[int, int]) -> Iterator[Running]:
    with running(mesh_directory, ports) as started:
        yield started
