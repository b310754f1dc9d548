"""The file of the last good state: whose it is, when it is not used, and a start with it."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from meltemi.proxyless import NotReadyError
from meltemi.proxyless.last_known import LastKnown, load, save
from meltemi.xds.messages import CLUSTER, ENDPOINT
from mesh_fixtures import Connect, Serve, until
from scripted_server import cluster, endpoints

KNOWN = LastKnown({CLUSTER: [cluster("c")]}, {"echo:9090": 100.0})
PATH = "/demo.Greeter/Hello"
DAY_S = 24 * 3600.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "known.json"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_saved_is_loaded_and_nobody_elses_to_read(file: Path) -> None:
    save(file, "me", KNOWN, now=1000.0)
    found = load(file, "me", now=1000.0 + DAY_S, max_age_s=DAY_S)
    assert found == KNOWN
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert [each.name for each in file.parent.iterdir()] == [file.name], "nothing is left beside it"


def test_no_file_is_no_problem(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load(file, "me", now=0.0, max_age_s=DAY_S) is None
    assert caplog.text == ""


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def make_a_link(path: Path) -> None:
    other = path.with_suffix(".other")
    path.rename(other)
    path.symlink_to(other)


def open_to_others(path: Path) -> None:
    path.chmod(0o644)


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


def replace_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "harm",
    [damage, cut, make_a_link, open_to_others, replace_by_a_folder, replace_by_a_pipe],
)
def test_a_file_that_somebody_touched_is_not_used(
    file: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    save(file, "me", KNOWN, now=1000.0)
    harm(file)
    assert load(file, "me", now=1000.0, max_age_s=DAY_S) is None
    assert f"the last known state in {file} is not used" in caplog.text


@pytest.mark.parametrize(("owner", "now"), [("you", 1000.0), ("me", 1001.0 + DAY_S), ("me", 0.0)])
def test_a_file_of_others_or_of_another_time_is_not_used(
    file: Path, owner: str, now: float, caplog: pytest.LogCaptureFixture
) -> None:
    save(file, "me", KNOWN, now=1000.0)
    assert load(file, owner, now=now, max_age_s=DAY_S) is None
    assert "is not used" in caplog.text


def test_a_failed_write_leaves_the_former_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(file, "me", KNOWN, now=1000.0)

    def fail(*_arguments: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        save(file, "me", LastKnown({}), now=1001.0)
    assert load(file, "me", now=1001.0, max_age_s=DAY_S) == KNOWN
    assert len(list(file.parent.iterdir())) == 1


@pytest.mark.parametrize("kind", ["grpc", "delta off"])
def test_a_start_without_a_control_plane_calls_what_it_called_before(
    serve: Serve, connect: Connect, tmp_path: Path, kind: str
) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    settings = {"last_known": tmp_path, "delta": kind == "grpc", "ready_timeout_s": 0.3}
    first = connect(server.address, **settings)
    first.call(first.target("echo:9090"), PATH).succeeded()
    first.close()
    server.stop()
    again = connect(server.address, **settings)
    assert again.call(again.target("echo:9090"), PATH).address == "127.0.0.1:7001"
    with pytest.raises(NotReadyError):
        again.call(again.target("other:9090"), PATH)
    back = serve(int(server.address.rpartition(":")[2]))
    back.service("echo:9090", "c", "127.0.0.1:7002")
    until(lambda: again.call(again.target("echo:9090"), PATH).address == "127.0.0.1:7002")


def test_changes_are_written_while_the_process_runs(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    mesh = connect(server.address, last_known=tmp_path)
    mesh.call(mesh.target("echo:9090"), PATH).succeeded()
    until(lambda: list(tmp_path.glob("*.json")))
    (path,) = tmp_path.glob("*.json")
    written = path.read_bytes()
    server.put(ENDPOINT, endpoints("c", "127.0.0.1:7002"))
    until(lambda: path.read_bytes() != written, within_s=20)


def test_a_target_that_nobody_called_for_long_is_forgotten(
    serve: Serve, connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "meltemi.proxyless")
    server = serve()
    server.service("echo:9090", "c", "127.0.0.1:7001")
    server.service("old:9090", "d", "127.0.0.1:7002")
    first = connect(server.address, last_known=tmp_path)
    first.warm(["echo:9090", "old:9090"], 5)
    first.close()
    (path,) = tmp_path.glob("*.json")
    options = first._options
    owner = f"{options.node_id} at {options.address} as {options.mode}"
    found = load(path, owner, time.time(), DAY_S)
    assert found is not None
    used_at = {**found.used_at, "old:9090": time.time() - 2 * DAY_S}
    save(path, owner, LastKnown(found.resources, used_at), time.time())
    again = connect(server.address, last_known=tmp_path)
    until(lambda: again.status()["connected"])
    assert again.status()["types"]["Listener"]["resources"] == 1
    assert [each["name"] for each in again.status()["clusters"]] == ["c"]
