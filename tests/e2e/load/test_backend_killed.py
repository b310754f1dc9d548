"""One of three backends is killed under load: what it held fails, with an answer; nothing else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from engines import POOL, Mode, answers, backend, engine, load
from runner import resources

pytestmark = pytest.mark.load

SERVICE_US = 20_000
"""Long enough for a third of the requests to be at the backend that is killed."""
NOTICED_NS = 50_000_000
"""Until the engine has read that the connections are closed, requests may still be sent on them."""


def test_only_requests_in_flight_on_a_killed_backend_fail(
    mode: Mode, tools: Path, free_port: Callable[[], int], tmp_path: Path
) -> None:
    connections, depth = (64, 1) if mode == POOL else (16, 4)
    record = tmp_path / "record"
    with contextlib.ExitStack() as stack:
        slow = ("--delay", str(SERVICE_US))
        delayed = [backend(tools, free_port(), 1, *slow, mode=mode) for _ in range(3)]
        backends = [stack.enter_context(one) for one in delayed]
        ports = [one.ports[0] for one in backends]
        running = stack.enter_context(engine())
        port = free_port()
        routes = [resources.route("all", {"three": 1})]
        running.serve(port, {"three": ports}, routes, mode)
        options = [*mode.words, "-c", connections, "-d", depth, "-t", 3, "-w", 0]
        requests = load(tools, port, *options, "--expect-errors", "--record", record)
        time.sleep(1.5)
        before_ns = time.monotonic_ns()
        gone_ns = backends[0].kill()
        result = requests.result()

    everything = list(answers(record))
    failed = [answer for answer in everything if answer.failed]
    served = [answer for answer in everything if not answer.failed]
    assert len(everything) == result["sent"]  # each got an answer
    assert 0 < len(failed) <= connections * depth
    for answer in failed:
        assert answer.end_ns >= before_ns
        assert answer.start_ns <= gone_ns + NOTICED_NS
        assert f"127.0.0.1:{ports[0]}" in answer.backend
    assert {answer.backend for answer in served if answer.end_ns < before_ns} == set(
        map(str, ports)
    )
    late = {answer.backend for answer in served if answer.start_ns > gone_ns + NOTICED_NS}
    assert late == set(map(str, ports[1:]))


def test_a_backend_that_comes_back_is_called_again(
    mode: Mode, tools: Path, free_port: Callable[[], int], tmp_path: Path
) -> None:
    record = tmp_path / "record"
    first, second = free_port(), free_port()
    with backend(tools, first, mode=mode), engine() as running:
        port = free_port()
        routes = [resources.route("all", {"two": 1})]
        running.serve(port, {"two": [first, second]}, routes, mode)
        options = [*mode.words, "-c", 16, "-t", 4.5, "-w", 0]
        requests = load(tools, port, *options, "--record", record)
        time.sleep(1)
        with backend(tools, second, mode=mode):
            back_ns = time.monotonic_ns()
            result = requests.result()

    assert set(result["backends"]) == {str(first), str(second)}
    again = next(a.start_ns for a in answers(record) if a.backend == str(second))
    assert again - back_ns < 3e9
