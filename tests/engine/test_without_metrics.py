from __future__ import annotations

from collections.abc import Callable

from engine_mesh import Mesh, call, called, listener, read_frame, start_engine, to


def test_an_engine_without_metrics_serves_and_counts_no_requests(
    free_port: Callable[[], int], serve: Callable[[str], int]
) -> None:
    found = {}
    for metrics in (True, False):
        mesh = Mesh(start_engine(metrics=metrics), free_port())
        mesh.cluster("v1", serve("one"))
        mesh.accept("listener", listener(mesh.port))
        mesh.routes(to("v1"))
        with mesh.connect() as connection:
            connection.sendall(call("sayHello", 7))
            assert called(read_frame(connection)) == ("sayHello", 2, 7)
        found[metrics] = b"istio_requests_total" in mesh.engine.prometheus()
        mesh.engine.close()
    assert found == {True: True, False: False}
