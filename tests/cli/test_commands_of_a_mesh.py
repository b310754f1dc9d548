"""apply, get, delete and status against a real control plane, as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from control_plane_process import HOST, MESH, Running, listening, router, running
from meltemi.cli.kinds import KINDS, kind_named
from meltemi.config import kinds as config_kinds

Meltemi = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def meltemi(control_plane: Running) -> Meltemi:
    """Runs the command; the registry holds the one mesh of the test."""

    def run(
        *arguments: str, given: str | None = None, registry: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        registry = registry or control_plane.directory.parent
        done = subprocess.run(
            [sys.executable, "-m", "meltemi", *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "XDG_RUNTIME_DIR": str(registry)},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def test_apply_get_and_delete_find_the_only_mesh_that_runs(meltemi: Meltemi) -> None:
    done = meltemi("apply", "-f", "-", given=router("v1"))
    assert (done.returncode, done.stdout) == (0, "MetaRouter default/echo created\n"), done.stderr
    done = meltemi("get", "metarouters")
    assert done.stdout.splitlines() == [
        "NAMESPACE   NAME   SOURCE",
        "default     echo   applied",
    ]
    done = meltemi("delete", "MetaRouter", "echo")
    assert (done.returncode, done.stdout) == (0, "MetaRouter default/echo deleted\n")
    done = meltemi("get", "metarouters")
    assert (done.returncode, done.stdout) == (0, "")
    assert "No MetaRouter in namespace default" in done.stderr


def test_apply_takes_several_files_as_one_change(meltemi: Meltemi, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(router("v1", "good"))
    bad.write_text(router("v1", "bad").replace("hosts:", "host:"))
    done = meltemi("apply", "-f", str(good), "-f", str(bad))
    assert done.returncode == 1
    assert f"{bad}:5:3: error:" in done.stderr and "did you mean hosts?" in done.stderr
    assert "nothing was changed" in done.stderr
    assert meltemi("get", "mr", "good").returncode == 1
    bad.write_text(router("v2", "bad"))
    done = meltemi("apply", "-f", str(good), "-f", str(bad))
    assert done.returncode == 0
    assert "host-taken" not in done.stderr and "has no effect" in done.stderr


def test_an_issue_names_its_path_once(meltemi: Meltemi, control_plane: Running) -> None:
    text = router("v1").replace("  routes:", "  gateways: [a/b]\n  routes:")
    done = meltemi("apply", "--filename", "-", given=text)
    assert done.stderr.count("spec.gateways") == 1, done.stderr
    assert meltemi("status").stdout.count("spec.gateways") == 1
    assert control_plane.log.read_text().count("spec.gateways") == 1


def test_status_counts_one_object_as_one(meltemi: Meltemi, control_plane: Running) -> None:
    assert ", 4 objects\n" in meltemi("status").stdout
    one = MESH.split("---")[0]
    (control_plane.directory / "mesh.yaml").write_text(one)
    deadline = time.monotonic() + 5
    while ", 1 object\n" not in meltemi("status").stdout:
        assert time.monotonic() < deadline


def test_what_get_prints_as_yaml_can_be_applied_again(meltemi: Meltemi) -> None:
    match = "    match: {attributes: {method: {exact: 'yes'}, n: {exact: '0x1F'}}}\n"
    text = router("v1").replace("to-v1", '"1e3"').replace("    route:", f"{match}    route:")
    assert meltemi("apply", "-f", "-", given=text).returncode == 0
    shown = meltemi("get", "MetaRouter", "echo", "-o", "yaml").stdout
    assert yaml.safe_load(shown)["spec"]["routes"][0]["name"] == "1e3"
    done = meltemi("apply", "-f", "-", given=shown)
    assert done.stdout == "MetaRouter default/echo unchanged\n", done.stderr


def test_get_shows_json_as_kubectl_does(meltemi: Meltemi) -> None:
    one = json.loads(meltemi("get", "service", "echo", "-o", "json").stdout)
    assert (one["kind"], one["metadata"]["namespace"]) == ("Service", "default")
    many = json.loads(meltemi("get", "services", "-o", "json").stdout)
    assert (many["kind"], len(many["items"])) == ("List", 1)
    none = json.loads(meltemi("get", "serviceentry", "-o", "json").stdout)
    assert none["items"] == []


def test_an_object_of_a_file_is_shown_with_its_place_and_neither_applied_nor_deleted(
    meltemi: Meltemi, control_plane: Running
) -> None:
    file = str(control_plane.directory / "mesh.yaml")
    assert f"{file}:8" in meltemi("get", "dr").stdout
    held = meltemi("get", "dr", "echo", "-o", "yaml").stdout
    for done in (
        meltemi("apply", "-f", "-", given=held),
        meltemi("delete", "dr", "echo"),
    ):
        assert (done.returncode, file in done.stderr) == (1, True)


def test_a_name_that_is_not_there_says_where_it_is(meltemi: Meltemi) -> None:
    done = meltemi("get", "svc", "echo", "-n", "other")
    assert done.returncode == 1
    assert "no Service echo in namespace other" in done.stderr
    assert "In other namespaces: default" in done.stderr


def test_a_kind_goes_by_every_usual_name_and_a_wrong_one_is_wrong_usage(meltemi: Meltemi) -> None:
    for name in (
        "MetaRouter",
        "metarouter",
        "METAROUTERS",
        "mr",
        "metarouter.metaprotocol.aeraki.io",
    ):
        assert kind_named(name) == "MetaRouter"
    done = meltemi("get", "metaroute")
    assert (done.returncode, "did you mean MetaRouter?" in done.stderr) == (2, True)


def test_the_kinds_of_the_commands_are_those_of_the_configuration() -> None:
    assert set(KINDS) == {kind.name for kind in config_kinds.KINDS.values()}


async def test_status_shows_nodes_processes_and_issues(
    meltemi: Meltemi, control_plane: Running
) -> None:
    import asyncio

    (control_plane.directory / "broken.yaml").write_text("kind: [")
    node_id = control_plane.node_id("caller")
    processes = {
        "pid": os.getpid(),
        "processes": [
            {"name": "caller-0.default", "pid": 4711, "restarts": 2, "address": "127.1.2.3"},
            {"name": "echo-v1-0.default", "pid": None, "restarts": 0, "problem": "cannot start"},
        ],
    }
    (control_plane.state / "processes.json").write_text(json.dumps(processes))
    async with listening(control_plane, node_id, control_plane.token(node_id)) as node:
        await node.until(node.route)
        node.refuse[f"{HOST}_9090"] = "no such matcher"
        await asyncio.to_thread(meltemi, "apply", "-f", "-", given=router("v1"))
        done = await asyncio.to_thread(meltemi, "status")
        shown = await asyncio.to_thread(meltemi, "status", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert control_plane.xds in done.stdout
    assert node_id in done.stdout and "1 refused" in done.stdout
    assert "no such matcher" in done.stdout
    assert "4711" in done.stdout and "cannot start" in done.stdout
    assert "broken.yaml:" in done.stdout
    found = json.loads(shown.stdout)
    assert found["nodes"][0]["id"] == node_id
    assert found["processes"] == processes["processes"]
    assert found["issues"][0]["severity"] == "error"


async def test_apply_warns_of_a_node_that_refuses(meltemi: Meltemi, control_plane: Running) -> None:
    import asyncio

    node_id = control_plane.node_id("caller")
    async with listening(control_plane, node_id, control_plane.token(node_id)) as node:
        await node.until(node.route)
        node.refuse[f"{HOST}_9090"] = "no such matcher"
        done = await asyncio.to_thread(meltemi, "apply", "-f", "-", given=router("v1"))
    assert done.returncode == 0
    assert f"warning: {node_id} refused RouteConfiguration {HOST}_9090" in done.stderr


class TestWhichMesh:
    def test_none_that_runs_is_unreachable(self, meltemi: Meltemi, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for command in (["status"], ["get", "svc"], ["apply", "-f", "/dev/null"]):
            done = meltemi(*command, registry=tmp_path / "empty")
            assert (done.returncode, "meltemi up" in done.stderr) == (3, True), done.stderr

    def test_several_have_to_be_told_apart(
        self,
        meltemi: Meltemi,
        control_plane: Running,
        tmp_path: Path,
        free_port: Callable[[], int],
    ) -> None:
        other = tmp_path / "other"
        other.mkdir()
        with running(other, (free_port(), free_port())):
            done = meltemi("status")
            assert done.returncode == 2
            assert str(other) in done.stderr and str(control_plane.directory) in done.stderr
            done = meltemi("status", "--mesh", str(other))
            assert (done.returncode, str(other) in done.stdout) == (0, True)
        assert meltemi("status").returncode == 0, "one that ended is no longer counted"

    def test_one_that_was_killed_is_not_counted(
        self, meltemi: Meltemi, control_plane: Running
    ) -> None:
        control_plane.kill()
        done = meltemi("status")
        assert (done.returncode, "no mesh runs" in done.stderr) == (3, True)

    def test_a_control_plane_that_up_starts_again_is_waited_for(
        self, meltemi: Meltemi, control_plane: Running
    ) -> None:
        (control_plane.state / "processes.json").write_text(json.dumps({"pid": os.getpid()}))
        control_plane.kill()
        xds, admin = control_plane.xds, control_plane.admin
        arguments = ["--config", str(control_plane.directory)]
        arguments += ["--xds-address", xds, "--admin-address", admin]
        with subprocess.Popen(
            [sys.executable, "-m", "meltemi", "control-plane", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "XDG_RUNTIME_DIR": str(control_plane.directory.parent)},
        ) as again:
            done = meltemi("apply", "-f", "-", given=router("v1"))
            again.terminate()
        assert done.returncode == 0, done.stderr

    def test_a_control_plane_that_stays_away_is_said_and_the_processes_are_shown(
        self, meltemi: Meltemi, control_plane: Running
    ) -> None:
        table = {"pid": os.getpid(), "processes": [{"name": "x-0.y", "pid": 4711, "restarts": 0}]}
        (control_plane.state / "processes.json").write_text(json.dumps(table))
        control_plane.kill()
        done = meltemi("status")
        assert (done.returncode, "does not answer" in done.stderr) == (3, True)
        assert "4711" in done.stdout


class TestMistakes:
    def test_a_file_that_cannot_be_read_is_named(self, meltemi: Meltemi, tmp_path: Path) -> None:
        binary = tmp_path / "binary.yaml"
        binary.write_bytes(b"\xff\xfe\x00\xd8")
        for name, says in (
            (tmp_path / "absent.yaml", "No such file"),
            (binary, "binary.yaml"),
            (tmp_path, "no YAML file"),
        ):
            binary.unlink() if name == tmp_path else None
            done = meltemi("apply", "-f", str(name))
            assert (done.returncode, says in done.stderr) == (1, True), done.stderr

    def test_apply_without_a_file_is_wrong_usage(self, meltemi: Meltemi) -> None:
        assert meltemi("apply").returncode == 2
        done = meltemi("apply", "hello.yaml")
        assert (done.returncode, "meltemi apply -f hello.yaml" in done.stderr) == (2, True)
        done = meltemi("apply", "-f", "a.yaml", "b c.yaml")
        assert "meltemi apply -f a.yaml -f 'b c.yaml'" in done.stderr

    def test_ctrl_c_ends_a_command_without_a_word_too_many(self, control_plane: Running) -> None:
        command = [sys.executable, "-m", "meltemi", "apply", "-f", "-"]
        with subprocess.Popen(
            [*command, "--mesh", str(control_plane.directory)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A runner in the background may hand down that SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            reading = Path(f"/proc/{process.pid}/syscall")  # read(0, ...: it waits for its input
            deadline = time.monotonic() + 20
            while not reading.read_text().startswith("0 0x0 "):
                assert time.monotonic() < deadline, "it does not read its input"
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors.strip()) == (130, "")

    def test_a_closed_pipe_ends_it_quietly(self, control_plane: Running) -> None:
        command = f"{sys.executable} -m meltemi get svc -o json --mesh {control_plane.directory}"
        done = subprocess.run(
            ["bash", "-c", f"{command} | true"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.stderr == ""


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("--access-log-format", "%NOPE%"), "unknown word %NOPE%"),
        (("--access-log-format", "jsn"), "neither text nor json"),
        (("--sidecar-limit", "nope=1"), "no limit called nope"),
        (("--sidecar-limit", "max_connections"), "NAME=VALUE"),
    ],
)
def test_up_refuses_what_its_sidecars_would_before_anything_starts(
    tmp_path: Path, wrong: tuple[str, str], says: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meltemi", "up", str(tmp_path), *wrong],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / ".meltemi").exists()
