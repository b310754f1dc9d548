"""Where a mesh's traces go: to `meltemi up`, unless its user has a collector."""

from __future__ import annotations

import errno
import logging

import pytest
from meltemi.local import tracing
from meltemi.local.tracing import Tracing


async def test_children_export_to_the_receiver_of_up() -> None:
    traces = Tracing({})
    await traces.start()
    try:
        assert traces.address is not None and traces.address.startswith("http://127.0.0.1:4")
        environment = traces.environment()
        assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == traces.address
        assert environment["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
        assert environment["MELTEMI_TRACES"] == traces.address
        assert traces.described() == {"receiver": traces.address, "collector": None}
    finally:
        await traces.close()


@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
)
async def test_a_collector_of_the_users_wins(variable: str) -> None:
    traces = Tracing({variable: "http://collector:4318"})
    await traces.start()
    assert traces.address is None
    assert traces.environment() == {"MELTEMI_TRACES": ""}
    assert traces.described() == {"receiver": None, "collector": "http://collector:4318"}
    await traces.close()


async def test_without_a_free_port_the_mesh_runs_without_traces(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none() -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(tracing, "bound", none)
    traces = Tracing({})
    with caplog.at_level(logging.WARNING):
        await traces.start()
    assert traces.address is None
    assert "no port of 4318-4417 is free" in caplog.text
    await traces.close()
