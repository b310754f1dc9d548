"""Endpoints come and go while calls go on: none fails that had a healthy endpoint."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import versioned_grpc
import versioned_http
from meltemi.proxyless.mesh import Mesh
from ruled_service import TARGET, VERSIONS, Ruled, ruled

FOR_S = 3.0
TO_ALL = "- route: [{destination: {host: books.mesh}}]"


@contextlib.contextmanager
def flapping(directory: Path, ports: dict[str, int]) -> Iterator[list[int]]:
    """Takes each endpoint away in turn, and back; gives how often, counted as it goes on."""
    path = directory / "service.yaml"
    whole = path.read_text()
    done = threading.Event()
    count = [0]

    def flap() -> None:
        while not done.is_set():
            port = list(ports.values())[count[0] % len(ports)]
            lines = [line for line in whole.splitlines() if f": {port}}}" not in line]
            assert len(lines) == len(whole.splitlines()) - 1
            for text in ("\n".join(lines) + "\n", whole):
                (directory / "service.new").write_text(text)
                (directory / "service.new").replace(path)
                done.wait(0.05)
            count[0] += 1

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield count
    finally:
        done.set()
        thread.join()


def calls_while_flapping(
    service: Ruled, ports: dict[str, int], call: Callable[[], object]
) -> tuple[int, int, list[Exception]]:
    """How many calls went, how often endpoints changed, and what failed."""
    failed: list[Exception] = []
    went = [0]
    ends = time.monotonic() + FOR_S

    def calling() -> None:
        while time.monotonic() < ends:
            try:
                call()
            except Exception as error:
                failed.append(error)
            went[0] += 1

    with flapping(service.directory, ports) as count:
        threads = [threading.Thread(target=calling) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return went[0], count[0], failed


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_no_call_fails_while_endpoints_flap(
    protocol: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    ports = {version: free_port() for version in VERSIONS}
    servers = versioned_http.serving(ports) if protocol == "http" else versioned_grpc.serving(ports)
    admin = (free_port(), free_port())
    with servers, ruled(tmp_path / "mesh", admin, protocol, ports) as service:
        service.rules(TO_ALL)
        with _caller(service.mesh, protocol) as call:
            went, changes, failed = calls_while_flapping(service, ports, call)
    assert failed == []
    assert went > 100
    assert changes > 10


@contextlib.contextmanager
def _caller(mesh: Mesh, protocol: str) -> Iterator[Callable[[], object]]:
    if protocol == "http":
        with mesh.httpx(f"http://{TARGET}") as client:
            yield lambda: client.get("/").raise_for_status()
    else:
        with mesh.grpc(TARGET) as channel:
            one = channel.unary_unary(versioned_grpc.ONE)
            yield lambda: one(b"", timeout=5)
