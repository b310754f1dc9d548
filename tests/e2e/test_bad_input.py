"""What goes wrong gives one clear sentence, the right exit code, and leaves what runs running."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from mesh import eventually, meltemi, running

WORKLOAD = """\
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {{name: {name}}}
spec:
  command: {command}
  ports: [{{name: tcp-x, port: {port}{more}}}]
  mesh: {mesh}
"""

LISTENS = (
    '[python, -c, "import os, socket, time; '
    "s = socket.create_server((os.environ['HOST'], int(os.environ['PORT']))); time.sleep(60)\"]"
)


def workload(name: str, command: str, port: int = 9090, more: str = "", mesh: str = "none") -> str:
    return WORKLOAD.format(name=name, command=command, port=port, more=more, mesh=mesh)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("up", "/nonexistent"), 1, "not a directory"),
        (("validate", "-f", "/nonexistent.yaml"), 1, "/nonexistent.yaml"),
        (("apply", "-f", "/nonexistent.yaml", "--mesh", "/nonexistent"), 1, "/nonexistent"),
        (("status", "--mesh", "/nonexistent"), 3, "meltemi up"),
        (("get", "MetaRouter", "--mesh", "/tmp"), 3, "meltemi up"),
        (("logs", "x", "--mesh", "/tmp"), 3, "meltemi up"),
        (("no-such-command",), 2, "no-such-command"),
        (("up",), 2, "DIR"),
        (("control-plane", "--config", "/nonexistent"), 1, "/nonexistent"),
        (("dump-xds", "--config", "/nonexistent", "--node", "a.b"), 1, "/nonexistent"),
        (("sidecar", "--xds", "nonsense", "--node", "a.b"), 2, "nonsense"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_clear_sentence(
    arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = meltemi(*arguments)
    assert (done.code, says in done.err + done.out) == (code, True), done


def test_a_command_that_cannot_start_leaves_the_others_running(tmp_path: Path) -> None:
    directory = tmp_path / "mesh"
    directory.mkdir()
    broken = workload("broken", "[/nonexistent/program]").replace(
        "[{name: tcp-x, port: 9090}]", "[]"
    )
    (directory / "a.yaml").write_text(broken)
    (directory / "b.yaml").write_text(workload("works", LISTENS, port=9091))
    with running(directory) as mesh:
        eventually(lambda: "cannot start" in mesh.output.read_text())
        assert "/nonexistent/program" in mesh.output.read_text()
        assert mesh.processes()["works-0.default"]["pid"]
        status = mesh.meltemi("status")
        assert status.code == 0 and "cannot start" in status.out


def test_a_mesh_starts_with_what_is_valid_and_says_what_is_not(tmp_path: Path) -> None:
    directory = tmp_path / "mesh"
    directory.mkdir()
    (directory / "a.yaml").write_text("kind: Workload\nspec: [")
    (directory / "b.yaml").write_text(workload("works", LISTENS))
    with running(directory) as mesh:
        assert mesh.processes()["works-0.default"]["pid"]
        eventually(lambda: "a.yaml:" in mesh.output.read_text())


def test_a_host_port_that_is_taken_is_named_and_the_rest_runs(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as taken:
        directory = tmp_path / "mesh"
        directory.mkdir()
        text = workload("a", LISTENS, more=f", hostPort: {port}", mesh="sidecar")
        (directory / "a.yaml").write_text(text)
        with running(directory) as mesh:
            eventually(lambda: f"127.0.0.1:{port}" in mesh.log("a-0.default.sidecar"))
            assert mesh.processes()["a-0.default"]["pid"]
            assert mesh.processes()["a-0.default sidecar"]["restarts"] == 0
            said = (
                f"a-0.default sidecar: listener 127.0.0.1_{port}: cannot listen on 127.0.0.1:{port}"
            )
            assert said in mesh.meltemi("status").out
            shown = mesh.meltemi("status", "-o", "json").json()["processes"]
            [unbound] = [process["unbound"] for process in shown if "unbound" in process]
            assert [listener["name"] for listener in unbound] == [f"127.0.0.1_{port}"]
            taken.close()
            eventually(lambda: said not in mesh.meltemi("status").out)
