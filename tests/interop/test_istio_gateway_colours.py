"""A gateway of a real istiod colours by the EnvoyFilter that `meltemi lanes show` prints.

The gateway is a stock Envoy; another EnvoyFilter takes out what only Istio's build has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import istiod_process
import pytest
import stock_envoy
import yaml
from click.testing import CliRunner
from edge_envoy import asked, echo
from meltemi.cli import cli
from meltemi.lanes.share import in_share

pytestmark = pytest.mark.peers

LANES = """
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {selector: {app: app}, ports: [{name: http, port: 9080}]}
---
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {name: books, namespace: default}
spec: {services: [{host: app}], baggageKey: env}
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {name: dev, namespace: default}
spec:
  group: books
  entry:
  - headers: {uid: {exact: "100"}}
  - uri: {regex: '/v[0-9]+/.*'}
  - percentage: {value: 20, by: {header: x-user}}
"""
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app, namespace: istio-system}}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - match: [{{headers: {{baggage: {{regex: '.*env=dev.*'}}}}}}]
    headers: {{response: {{set: {{x-route: lane}}}}}}
    route: [{{destination: {{host: app.default.svc.cluster.local, port: {{number: 9080}}}}}}]
  - route: [{{destination: {{host: app.default.svc.cluster.local, port: {{number: 9080}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: app, namespace: default}}
spec:
  hosts: [app.default.svc.cluster.local]
  addresses: [240.0.0.7]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {backend}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app, namespace: default}}
spec: {{host: app.default.svc.cluster.local, trafficPolicy: {{tls: {{mode: DISABLE}}}}}}
"""
"""No TLS: nobody is there to give an Envoy of ours a certificate."""
OWN_FILTERS = ("istio.metadata_exchange", "istio.alpn", "istio.stats", "istio_authn")
NODE = {
    "id": "router~127.0.0.1~ingress-0.istio-system~istio-system.svc.cluster.local",
    "metadata": {
        "NAMESPACE": "istio-system",
        "CLUSTER_ID": "Kubernetes",
        "INSTANCE_IPS": "127.0.0.1",
        "LABELS": {"istio": "ingressgateway"},
        "ISTIO_VERSION": "1.30.0",
    },
}


def without_own_filters() -> str:
    router = {"name": "envoy.filters.network.http_connection_manager"}
    patches = [
        {
            "applyTo": "HTTP_FILTER",
            "match": {
                "context": "GATEWAY",
                "listener": {"filterChain": {"filter": {**router, "subFilter": {"name": name}}}},
            },
            "patch": {"operation": "REMOVE"},
        }
        for name in OWN_FILTERS
    ]
    return yaml.safe_dump(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": {"name": "stock", "namespace": "istio-system"},
            "spec": {"configPatches": patches},
        }
    )


async def test_istios_gateway_colours_by_the_printed_envoy_filter(
    istiod: None,
    free_port: Callable[[], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PILOT_ENABLE_METADATA_EXCHANGE", "false")
    monkeypatch.setenv("PILOT_ENABLE_ALPN_FILTER", "false")
    folder = tmp_path / "istio"
    folder.mkdir()
    (tmp_path / "lanes.yaml").write_text(LANES)
    shown = CliRunner().invoke(cli, ["lanes", "show", str(tmp_path / "lanes.yaml")])
    *_, colouring = yaml.safe_load_all(shown.stdout)
    port, backend = free_port(), free_port()
    (folder / "edge.yaml").write_text(EDGE.format(port=port, backend=backend))
    (folder / "colouring.yaml").write_text(yaml.safe_dump(colouring))
    (folder / "stock.yaml").write_text(without_own_filters())
    ports = (free_port(), free_port(), free_port())
    with istiod_process.running(folder, ports), echo(backend):
        envoy = stock_envoy.asking(NODE, ports[0], None, free_port(), tmp_path / "envoy")
        async with envoy as running:
            await running.until(
                lambda now: now.get("listener_manager.listener_create_success", 0) > 0
            )
            await asyncio.to_thread(colours, ("127.0.0.1", port))


def colours(place: tuple[str, int]) -> None:
    until_served(place)
    for headers, path, wanted in (
        ([("uid", "100")], "/", "env=dev"),
        ([("uid", "1000")], "/", ""),
        ([("baggage", "a=1,ENV=dev")], "/", "a=1"),
        ([("ot-baggage-env", "dev")], "/", ""),
        ([("baggage", "a=1,env=x")], "/v1/books?x", "a=1,env=dev"),
        *(
            ([("x-user", user)], "/", "env=dev" if in_share(user.encode(), 20) else "")
            for user in (f"user-{number}" for number in range(100))
        ),
    ):
        route, found = asked(place, headers, "GET", path, "127.0.0.7")
        assert ",".join(value for name, value in found if name == "baggage") == wanted
        assert not any(name.startswith("ot-baggage") for name, _ in found)
        assert route == ("lane" if "env=dev" in wanted else ""), "routes are Istio's"


def until_served(place: tuple[str, int]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            asked(place, [], "GET", "/", "127.0.0.7")
            return
        except (OSError, AssertionError):
            assert time.monotonic() < deadline, "the gateway does not serve"
            time.sleep(0.2)
