"""The traces of a mesh: `meltemi up` receives what its workloads export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mesh import Mesh, eventually, running

DOCUMENTS = """
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: shop-v2, namespace: shop, labels: {app: shop, version: v2}}
spec: {command: [python, shop.py], mesh: none}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: named, namespace: shop}
spec:
  command: [python, named.py]
  mesh: none
  env: {OTEL_SERVICE_NAME: mine, OTEL_EXPORTER_OTLP_ENDPOINT: "http://mine:4318"}
"""
SHOP = """
import pathlib, signal
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
with provider.get_tracer("shop").start_as_current_span("buy", kind=SpanKind.SERVER) as span:
    pass
pathlib.Path("trace.new").write_text(f"{span.get_span_context().trace_id:032x}")
pathlib.Path("trace.new").rename("trace.txt")
signal.pause()
"""
NAMED = """
import json, os, pathlib, signal
pathlib.Path("named.new").write_text(json.dumps(dict(os.environ)))
pathlib.Path("named.new").rename("named.json")
signal.pause()
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("traces") / "shop"
    _lay(directory)
    with running(directory) as mesh:
        eventually((directory / "trace.txt").exists, 30)
        eventually((directory / "named.json").exists, 30)
        yield mesh


def _lay(directory: Path) -> None:
    directory.mkdir()
    (directory / "shop.py").write_text(SHOP)
    (directory / "named.py").write_text(NAMED)
    (directory / "mesh.yaml").write_text(DOCUMENTS)


def test_what_a_workload_exports_is_read_where_up_says(shop: Mesh) -> None:
    traces = shop.meltemi("status", "-o", "json").json()["traces"]
    assert traces["collector"] is None
    assert f"traces {traces['receiver']}" in shop.output.read_text()
    assert f"traces: {traces['receiver']}" in shop.meltemi("status").out
    trace_id = (shop.directory / "trace.txt").read_text()
    found = httpx.get(f"{traces['receiver']}/api/traces/{trace_id}", trust_env=False).json()
    (hop,) = found["hops"]
    said = (hop["service"], hop["version"], hop["instance"])
    assert said == ("shop", "v2", "shop-v2-0")


def test_what_a_workload_says_of_itself_wins(shop: Mesh) -> None:
    environment = json.loads((shop.directory / "named.json").read_text())
    assert environment["OTEL_SERVICE_NAME"] == "mine"
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://mine:4318"
    attributes = "service.namespace=shop,service.instance.id=named-0"
    assert environment["OTEL_RESOURCE_ATTRIBUTES"] == attributes


def test_where_the_user_has_a_collector_up_receives_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "collected"
    _lay(directory)
    (directory / "shop.py").write_text(NAMED)
    collector = "http://127.0.0.1:9"
    with running(directory, env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector}) as mesh:
        traces = mesh.meltemi("status", "-o", "json").json()["traces"]
        assert traces == {"receiver": None, "collector": collector}
        assert f"traces {collector}" in mesh.output.read_text()
