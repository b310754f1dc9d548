from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

from engine_mesh import Mesh, call, called, listener, read_frame, start_engine, to


def test_an_engine_without_metrics_serves_and_counts_no_requests(
    free_port: Callable[[], int], serve: Callable[[str], int]
) -> None:
    found = {}
    for metrics in (True, False):
        mesh = Mesh(start_engine(metrics=metrics), free_port())
        mesh.cluster("v1", serve("one"))
        mesh.routes(to("v1"))
        mesh.accept("listener", listener(mesh.port))
        with connected(mesh) as connection:
            connection.sendall(call("sayHello", 7))
            assert called(read_frame(connection)) == ("sayHello", 2, 7)
        found[metrics] = b"istio_requests_total" in mesh.engine.prometheus()
        mesh.engine.close()
    assert found == {True: True, False: False}


def connected(mesh: Mesh) -> socket.socket:
    """As soon as it listens."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            return mesh.connect()
        time.sleep(0.01)
    raise AssertionError("it does not listen")
