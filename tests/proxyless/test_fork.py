"""A pre-forking server: its children, and theirs, go on by themselves.

The parents run as processes of their own: a process that forks must not have a server of gRPC."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from meltemi.xds.messages import ENDPOINT, EXTENSION_CONFIG
from mesh_fixtures import Serve, until
from scripted_server import ScriptedServer, edge_rules_for, endpoints

HEAD = """
    import logging, os, sys, threading, time
    from meltemi import proxyless
    PATH = "/demo.Greeter/Hello"
    mesh = proxyless.connect(sys.argv[1], ready_timeout_s=20)
    echo = mesh.target("echo:9090")

    def connected():
        deadline = time.monotonic() + 20
        while not mesh.status()["connected"]:
            assert time.monotonic() < deadline, mesh.status()
            time.sleep(0.01)

    def child(work):
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)

    def statuses(pids):
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
"""


def run(server: ScriptedServer, script: str, tmp_path: Path) -> str:
    """Runs a parent to its end; what it printed."""
    path = tmp_path / "parent.py"
    path.write_text(textwrap.dedent(HEAD) + textwrap.dedent(script))
    environment = {**os.environ, "MELTEMI_XDS_LAST_KNOWN": "off"}
    done = subprocess.run(
        [sys.executable, str(path), server.address],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture
def server(serve: Serve) -> ScriptedServer:
    made = serve()
    made.service("echo:9090", "c", "127.0.0.1:7001")
    made.service("other:9090", "d", "127.0.0.1:7002")
    return made


def test_children_of_a_parent_that_goes_on_calling_call_and_are_connected(
    server: ScriptedServer, tmp_path: Path
) -> None:
    printed = run(
        server,
        """
        mesh.call(echo, PATH).succeeded()
        stop = threading.Event()
        def go_on():
            while not stop.is_set():
                mesh.call(echo, PATH).succeeded()
        threads = [threading.Thread(target=go_on) for _ in range(2)]
        for thread in threads: thread.start()

        def grandchild():
            assert mesh.call(echo, PATH).address == "127.0.0.1:7001"
            connected()
            assert mesh.call(mesh.target("other:9090"), PATH).address == "127.0.0.1:7002"
        def work():
            assert mesh.call(echo, PATH).address == "127.0.0.1:7001"
            connected()
            assert mesh.call(mesh.target("other:9090"), PATH).address == "127.0.0.1:7002"
            assert statuses([child(grandchild)]) == [0]
        print(statuses([child(work) for _ in range(12)]))
        stop.set()
        for thread in threads: thread.join()
        mesh.call(mesh.target("other:9090"), PATH).succeeded()
        """,
        tmp_path,
    )
    assert printed.strip() == str([0] * 12)


def test_a_child_begins_with_what_its_parent_knew(server: ScriptedServer, tmp_path: Path) -> None:
    printed = run(
        server,
        """
        mesh.call(echo, PATH).succeeded()
        def work():
            assert mesh.call(echo, PATH).address == "127.0.0.1:7001"
            assert not mesh.status()["connected"], "it did not wait for a stream"
        print(statuses([child(work)]))
        """,
        tmp_path,
    )
    assert printed.strip() == "[0]"


def test_a_child_that_never_calls_opens_no_stream(server: ScriptedServer, tmp_path: Path) -> None:
    run(
        server,
        """
        mesh.call(echo, PATH).succeeded()
        assert statuses([child(lambda: time.sleep(0.3)) for _ in range(4)]) == [0] * 4
        """,
        tmp_path,
    )
    assert server.streams == 1


def test_children_follow_changes_by_themselves(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "changed"
    script = f"""
        mesh.call(echo, PATH).succeeded()
        def work():
            mesh.call(echo, PATH).succeeded()
            connected()
            open({str(path)!r} + str(os.getpid()), "w").close()
            while mesh.call(echo, PATH).address != "127.0.0.1:7009":
                time.sleep(0.01)
        print(statuses([child(work) for _ in range(4)]))
        """

    def change() -> None:
        until(lambda: len(list(tmp_path.glob("changed*"))) == 4, within_s=30)
        server.put(ENDPOINT, endpoints("c", "127.0.0.1:7009"))

    changing = threading.Thread(target=change)
    changing.start()
    assert run(server, script, tmp_path).strip() == "[0, 0, 0, 0]"
    changing.join()


def test_hooks_run_before_a_fork_and_in_the_child(server: ScriptedServer, tmp_path: Path) -> None:
    printed = run(
        server,
        """
        said = []
        mesh.on_fork(before=lambda: said.append("before"), in_child=lambda: said.append("child"))
        def work():
            assert said == ["before", "child"], said
        assert statuses([child(work)]) == [0]
        print(said)
        """,
        tmp_path,
    )
    assert printed.strip() == "['before']"


def test_processes_of_multiprocessing_call(server: ScriptedServer, tmp_path: Path) -> None:
    printed = run(
        server,
        """
        import multiprocessing
        mesh.call(echo, PATH).succeeded()
        def address(_):
            return mesh.call(echo, PATH).address
        with multiprocessing.get_context("fork").Pool(3) as pool:
            print(set(pool.map(address, range(30))))
        """,
        tmp_path,
    )
    assert printed.strip() == "{'127.0.0.1:7001'}"


def test_a_child_colours_by_what_its_parent_knew_and_by_what_comes(
    server: ScriptedServer, tmp_path: Path
) -> None:
    script = """
        def coloured(uid):
            plan = mesh.colouring()
            request = Request("GET", "/", "", [("uid", uid)], "")
            return plan and ("baggage", "env=dev") in colouring.coloured(plan, request, 0)

        from meltemi.lanes import colouring
        from meltemi.lanes.colouring import Request
        assert mesh.wait_for_colouring(20)
        assert coloured("100")

        def work():
            assert coloured("100")
            open(sys.argv[0] + ".forked", "w").close()
            deadline = time.monotonic() + 20
            while not coloured("7"):
                assert time.monotonic() < deadline, mesh.status()
                time.sleep(0.01)
            print("followed", flush=True)

        print(statuses([child(work)]))
    """
    server.put(EXTENSION_CONFIG, edge_rules_for("100"))
    forked = tmp_path / "parent.py.forked"

    def change() -> None:
        until(forked.exists, within_s=60)
        server.put(EXTENSION_CONFIG, edge_rules_for("7"))

    changing = threading.Thread(target=change)
    changing.start()
    try:
        assert run(server, script, tmp_path).split() == ["followed", "[0]"]
    finally:
        forked.touch()
        changing.join()
