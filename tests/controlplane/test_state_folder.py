"""The state folder: who may read it, one control plane a mesh, nothing half-written."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from meltemi.controlplane import registry
from meltemi.controlplane.state import StateError, StateFolder, short_path, write_whole
from meltemi.controlplane.tokens import Tokens
from meltemi.secret import Secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path)
    folder.create()
    return folder


def test_the_folder_and_what_it_holds_are_for_this_user_alone(state: StateFolder) -> None:
    state.bind_socket().close()
    Tokens.open(state.path)
    assert mode(state.path) == 0o700
    assert mode(state.config) == 0o700
    assert mode(state.socket) == 0o600
    assert mode(state.path / "secret") == 0o600


def test_a_folder_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / ".meltemi").mkdir(mode=0o755)
    StateFolder(tmp_path).create()
    assert mode(tmp_path / ".meltemi") == 0o700


def test_the_socket_is_found_however_long_the_path_is(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    state = StateFolder(deep)
    state.create()
    with state.bind_socket():
        assert registry.answers(deep)


def test_a_socket_that_a_killed_process_left_is_replaced(state: StateFolder) -> None:
    state.bind_socket().close()
    assert not registry.answers(state.directory)
    with state.bind_socket():
        assert registry.answers(state.directory)


def test_a_second_control_plane_is_refused_and_told_the_first_ones_pid(state: StateFolder) -> None:
    held = state.take_lock()
    with pytest.raises(StateError, match=str(os.getpid())):
        state.take_lock()
    os.close(held)
    os.close(state.take_lock())


def test_a_lock_ends_with_its_process_also_when_that_is_killed(state: StateFolder) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from meltemi.controlplane.state import StateFolder\n"
        "StateFolder(Path(sys.argv[1])).take_lock(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(state.directory)], check=False)
    os.close(state.take_lock())


def test_a_file_is_replaced_whole_or_not_at_all(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = state.path / "file"
    write_whole(path, b"before")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(state.path.glob(".*.new")) == []


def test_a_missing_directory_is_said_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no directory"):
        StateFolder(tmp_path / "absent").create()


def test_a_short_path_is_one_that_a_socket_can_be_bound_to(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with socket.socket(socket.AF_UNIX) as plain, pytest.raises(OSError, match="too long"):
        plain.bind(str(deep / "x.sock"))
    with socket.socket(socket.AF_UNIX) as bound, short_path(deep / "x.sock") as path:
        bound.bind(path)
    assert (deep / "x.sock").is_socket()


class TestTokens:
    def test_a_token_proves_its_own_id_only(self, state: StateFolder) -> None:
        tokens = Tokens.open(state.path)
        token = tokens.token("sidecar~127.1.0.2~a-0.x~x.svc.cluster.local").reveal()
        assert tokens.is_proof("sidecar~127.1.0.2~a-0.x~x.svc.cluster.local", token)
        assert not tokens.is_proof("sidecar~127.1.0.2~b-0.x~x.svc.cluster.local", token)
        assert not tokens.is_proof("sidecar~127.1.0.2~a-0.x~x.svc.cluster.local", None)
        assert not tokens.is_proof("sidecar~127.1.0.2~a-0.x~x.svc.cluster.local", "")

    def test_tokens_stay_the_same_over_restarts_and_differ_between_meshes(
        self, tmp_path: Path
    ) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
        first = Tokens.open(tmp_path / "a").token("id")
        assert Tokens.open(tmp_path / "a").token("id") == first
        assert Tokens.open(tmp_path / "b").token("id") != first

    def test_a_damaged_secret_is_refused_not_used(self, state: StateFolder) -> None:
        (state.path / "secret").write_text("short")
        with pytest.raises(StateError, match="damaged"):
            Tokens.open(state.path)


def test_a_secret_shows_nothing_of_itself() -> None:
    secret = Secret("value-of-it")
    shown = f"{secret} {secret!r} {secret!s} {[secret]} {secret:>20}"
    assert "value-of-it" not in shown
    assert secret == Secret("value-of-it") != Secret("another")
    with pytest.raises(TypeError):
        __import__("pickle").dumps(secret)


class TestRegistry:
    def test_a_mesh_that_was_entered_is_listed_until_it_is_removed(self, tmp_path: Path) -> None:
        folder, mesh = tmp_path / "registry", tmp_path / "mesh"
        registry.add(mesh, folder)
        assert registry.entries(folder) == [mesh]
        assert mode(folder) == 0o700
        registry.remove(mesh, folder)
        assert registry.entries(folder) == []

    def test_a_folder_that_others_can_write_is_not_believed(self, tmp_path: Path) -> None:
        folder, mesh = tmp_path / "registry", tmp_path / "mesh"
        registry.add(mesh, folder)
        folder.chmod(0o777)
        assert registry.entries(folder) == []
        with pytest.raises(OSError):
            registry.add(mesh, folder)

    def test_a_link_in_its_place_is_not_followed(self, tmp_path: Path) -> None:
        folder, mesh = tmp_path / "registry", tmp_path / "mesh"
        registry.add(mesh, folder)
        (tmp_path / "link").symlink_to(folder)
        assert registry.entries(tmp_path / "link") == []
