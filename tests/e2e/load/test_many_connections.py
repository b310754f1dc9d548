"""Five thousand connections at once, and how connections spread over workers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from engines import Engine, Mode, backend, engine, load
from runner import resources

pytestmark = pytest.mark.load

MANY = 5000
KIB_EACH = 8
"""Resident memory that a connection with its request in flight may take, both sides together."""


@pytest.mark.slow
def test_each_of_5000_connections_is_answered_in_bounded_memory(
    mode: Mode, tools: Path, free_port: Callable[[], int]
) -> None:
    with backend(tools, free_port(), 2, mode=mode) as served, engine() as running:
        port = free_port()
        routes = [resources.route("all", {"two": 1})]
        running.serve(port, {"two": served.ports}, routes, mode)
        before = running.resident_mib()
        options = [*mode.words, "-c", MANY, "-t", 3, "-w", 1, "-g", 15]
        result = load(tools, port, *options, "-x", running.pid).result()
        after = result["processes"][0]["resident_kib"] / 1024

        assert result["connections"] == MANY
        assert result["sent"] == result["answers"] >= MANY
        assert after - before < MANY * KIB_EACH / 1024
        eventually_connections(running, 0)


@pytest.mark.parametrize("connections", [64, 501])
def test_connections_spread_evenly_over_two_workers(
    connections: int, tools: Path, free_port: Callable[[], int]
) -> None:
    with backend(tools, free_port()) as served, engine(workers=2) as running:
        port = free_port()
        running.serve(port, {"one": served.ports}, [resources.route("all", {"one": 1})])
        eventually_connections(running, 0)
        requests = load(tools, port, "-c", connections, "-t", 2, "-w", 0)
        time.sleep(1)
        counts = by_worker(running)
        result = requests.result()

    assert sum(counts) == connections == result["connections"]
    assert max(counts) - min(counts) <= 0.1 * connections / 2


def test_connections_stay_even_when_half_of_them_leave(
    tools: Path, free_port: Callable[[], int]
) -> None:
    with backend(tools, free_port()) as served, engine(workers=2) as running:
        port = free_port()
        running.serve(port, {"one": served.ports}, [resources.route("all", {"one": 1})])
        eventually_connections(running, 0)
        leaving = load(tools, port, "-c", 100, "-t", 1, "-w", 0)
        time.sleep(0.3)
        staying = load(tools, port, "-c", 60, "-t", 4, "-w", 0)
        leaving.result()
        eventually_connections(running, 60)
        coming = load(tools, port, "-c", 60, "-t", 2, "-w", 0)
        time.sleep(1)
        counts = by_worker(running)
        staying.result()
        coming.result()

    assert sum(counts) == 120
    assert max(counts) - min(counts) <= 12


def by_worker(running: Engine) -> list[int]:
    name = re.compile(r"listener_manager\.worker_\d+\.downstream_cx_active")
    return [int(value) for key, value in running.stats().items() if name.fullmatch(key)]


def eventually_connections(running: Engine, count: int) -> None:
    deadline = time.monotonic() + 10
    while sum(counts := by_worker(running)) != count:
        assert time.monotonic() < deadline, f"{counts} connections, not {count} together"
        time.sleep(0.05)
