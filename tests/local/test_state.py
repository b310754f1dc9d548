from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from meltemi.local.state import AlreadyRunning, State


def test_the_state_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.take()
    assert state.root.stat().st_mode & 0o777 == 0o700
    state.write("a.json", {"a": 1})
    assert (state.root / "a.json").stat().st_mode & 0o777 == 0o600
    state.release()


def test_a_directory_has_one_running_mesh(tmp_path: Path) -> None:
    first = State(tmp_path)
    first.take()
    with pytest.raises(AlreadyRunning):
        State(tmp_path).take()
    first.release()
    State(tmp_path).take()


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.take()
    state.write("a.json", {"a": 1})
    with pytest.raises(TypeError):
        state.write("a.json", {"a": object()})
    assert json.loads((state.root / "a.json").read_text()) == {"a": 1}
    state.release()


def test_a_broken_file_reads_as_empty(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.take()
    (state.root / "a.json").write_text("{")
    assert state.read("a.json") == {}
    assert state.read("missing.json") == {}
    state.release()


def test_a_pid_file_is_for_its_owner_only_whatever_the_umask_and_never_through_a_link(
    tmp_path: Path,
) -> None:
    state = State(tmp_path)
    state.take()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (state.root / "control-plane.pid").symlink_to(victim)
    before = os.umask(0)
    try:
        state.write_pid("control-plane", 4711)
    finally:
        os.umask(before)
    path = state.root / "control-plane.pid"
    assert victim.read_text() == "mine"
    assert path.read_text() == "4711\n"
    assert path.stat().st_mode & 0o777 == 0o600
    state.write_pid("control-plane", None)
    assert not path.exists()
    state.release()
