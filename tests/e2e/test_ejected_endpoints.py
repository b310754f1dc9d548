"""An endpoint that fails is left out for a while, the same for every protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hello_mesh
import pytest
from mesh import Mesh, eventually
from protocols import Connection, Problem


@pytest.fixture
def watched(clean: Mesh) -> Iterator[Mesh]:
    """Two errors in a row eject an endpoint for longer than a test."""
    outlier = {
        "consecutive5xxErrors": 2,
        "baseEjectionTime": "1h",
        "maxEjectionPercent": 50,
    }
    spec = {"host": hello_mesh.HOST, "trafficPolicy": {"outlierDetection": outlier}}
    rule = hello_mesh.document("networking.istio.io/v1", "DestinationRule", "watched", spec)
    assert "warning" not in clean.apply(rule).err
    yield clean
    forget(clean)


def forget(mesh: Mesh) -> None:
    mesh.meltemi("delete", "DestinationRule", "watched", "-n", hello_mesh.NAMESPACE)


def ejected(mesh: Mesh) -> int:
    found: dict[str, Any] = mesh.sidecar(hello_mesh.CLIENT, "/clusters?format=json").json()
    return sum(
        host["health_status"].get("failed_outlier_check", False)
        for cluster in found["cluster_statuses"]
        for host in cluster["host_statuses"]
    )


def test_an_endpoint_that_answers_errors_gets_no_calls_as_long_as_the_rule_says(
    watched: Mesh, connection: Connection
) -> None:
    eventually(lambda: _fails(connection) and ejected(watched) == 1)
    (left,) = connection.versions(6)
    assert left in ("v1", "v2")
    shown = watched.meltemi("proxy", "clusters", hello_mesh.CLIENT).out
    assert "ejected" in shown
    # The other one may fail as it likes: no more than half of them are left out.
    for _ in range(4):
        _fails(connection)
    assert ejected(watched) == 1
    forget(watched)
    eventually(lambda: ejected(watched) == 0)
    assert connection.versions(6) == {"v1": 3, "v2": 3}


def _fails(connection: Connection) -> bool:
    with pytest.raises(Problem, match="noSuchMethod"):
        connection.call("noSuchMethod", "x")
    return True
