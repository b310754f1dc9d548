"""The tour of Bookinfo leaves port 8080 to who has it."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
from pathlib import Path

import pytest
from meltemi.local import tour_bookinfo
from meltemi.local.tour import StepFailed

MESH = Path(__file__).resolve().parents[2] / "examples" / "bookinfo" / "mesh.yaml"


def host_port(directory: Path) -> int:
    (found,) = re.findall(r"hostPort: (\d+)", (directory / "mesh.yaml").read_text())
    return int(found)


def test_where_port_8080_is_taken_the_gateway_has_the_next_free_one(tmp_path: Path) -> None:
    shutil.copy(MESH, tmp_path)
    assert host_port(tmp_path) == 8080
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # who has it has it
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        tour_bookinfo.arrange(tmp_path)
    assert 8080 < host_port(tmp_path) < 8180


def test_without_a_free_port_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(MESH, tmp_path)
    monkeypatch.setattr(tour_bookinfo, "_is_free", lambda _port: False)
    with pytest.raises(StepFailed, match="no port of 8080-8179 is free"):
        tour_bookinfo.arrange(tmp_path)
