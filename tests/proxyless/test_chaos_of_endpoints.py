"""A hundred updates of endpoints a second: no call fails or takes longer, nor in forked workers."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from answering import Ports, answering, some_ports
from flapping_plane import Plane, plane
from mesh_fixtures import Connect
from named_callers import NAMES, PROTOCOLS, Call, calling

OTHER = "other:9080"
"""Whose endpoints change where nobody shall learn of it: the control plane works as hard."""
WORK_S = 0.005
"""Of the server for a call."""
ROUND_S = 0.6
THREADS = 4
FEWEST, MOST = 6, 16
"""Pairs of rounds."""
SLOWER = 1.3


def target(protocol: str) -> str:
    return f"{protocol}:9080"


@pytest.fixture(scope="module")
def flapping(free_port: Callable[[], int]) -> Iterator[Plane]:
    ports: Ports = some_ports(free_port)
    services = {
        target(protocol): [f"127.0.0.1:{port}" for port in versions.values()]
        for protocol, versions in ports.items()
    }
    unused = {OTHER: [f"127.0.0.1:{free_port()}" for _ in range(2)]}
    with answering(ports), plane(free_port(), services | unused) as running:
        yield running


def p99(call: Call) -> tuple[float, set[str]]:
    """Of the calls of one round, in threads that call at once; and who answered."""
    ends = time.monotonic() + ROUND_S

    def calls(_: int) -> tuple[list[float], set[str]]:
        took, answers = [], set()
        while time.monotonic() < ends:
            began = time.perf_counter()
            answers.add(call(WORK_S))
            took.append(time.perf_counter() - began)
        return took, answers

    with ThreadPoolExecutor(THREADS) as threads:
        done = list(threads.map(calls, range(THREADS)))
    every = [each for took, _ in done for each in took]
    return statistics.quantiles(every, n=100)[98], set().union(*(some for _, some in done))


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_updates_of_endpoints_a_second_slow_no_call_down(
    flapping: Plane, connect: Connect, tmp_path: Path, name: str
) -> None:
    """Rounds with and without take turns, so that what else the machine does meets both: the middle
    of the ratios counts, once it is within the bound or as many pairs were tried as may be."""
    mesh = connect(flapping.address)
    own = target(PROTOCOLS[name])
    ratios: list[float] = []
    made, lasted = 0, 0.0
    with calling(name, mesh, own, tmp_path) as call:
        for _ in range(20):
            call(0)
        while len(ratios) < FEWEST or (statistics.median(ratios) > SLOWER and len(ratios) < MOST):
            flapping.flap(OTHER)
            without, _ = p99(call)
            before, began = flapping.flap(own), time.monotonic()
            with_updates, answers = p99(call)
            lasted += time.monotonic() - began
            made += flapping.flap("") - before
            assert answers == {"v1", "v2"}
            ratios.append(with_updates / without)
    assert statistics.median(ratios) <= SLOWER, ratios
    assert made / lasted > 60, "the control plane changed them often enough on a loaded machine"


PARENT = """
    import os, sys, threading, time, traceback
    from pathlib import Path
    from meltemi import proxyless
    from named_callers import calling

    mesh = proxyless.connect(sys.argv[1], ready_timeout_s=20)
    folder = Path(sys.argv[2])

    def work(call, count):
        assert {call(0) for _ in range(count)} <= {"v1", "v2"}

    def until(holds):
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline, mesh.status()

    def follow(call):
        # A child begins with what its parent knew, one endpoint perhaps. Then it learns itself.
        work(call, 100)
        until(lambda: call(0) and mesh.status()["connected"])
        for version in ("v1", "v2", "v1", "v2"):
            until(lambda: call(0) == version)
        work(call, 200)

    def child(call):
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            follow(call)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    with calling("thrift", mesh, "thrift:9080", folder) as call:
        until(lambda: {call(0) for _ in range(20)} == {"v1", "v2"})
        done, failed = threading.Event(), []

        def go_on():
            try:
                while not done.is_set():
                    call(0)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=go_on)
        thread.start()
        children = [child(call) for _ in range(8)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        done.set()
        thread.join()
    mesh.close()
    print(codes, failed)
"""


@pytest.mark.timeout(90)
def test_forked_workers_call_on_while_endpoints_change(flapping: Plane, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text("\n".join(line[4:] for line in PARENT.splitlines()))
    flapping.flap(target("thrift"))
    try:
        parent = subprocess.run(
            [sys.executable, str(script), flapping.address, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=80,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    finally:
        flapping.flap("")
    assert parent.stdout.strip() == f"{[0] * 8} []", parent.stderr
    assert "Traceback" not in parent.stderr, parent.stderr
