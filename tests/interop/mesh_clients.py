"""Clients of one control plane that are processes of their own: Envoy in two places, and gRPC's.

Each service there has a port of Thrift, of HTTP and of gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import stock_envoy
from control_plane_process import Running

T = TypeVar("T")

THRIFT, HTTP, GRPC = "tcp-metaprotocol-thrift", "http", "grpc"
PORTS = {THRIFT: 9090, HTTP: 9080, GRPC: 9070}
"""Of each host."""
LABELS = {"app": "caller"}

WORKLOAD = """\
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {{name: {0}, labels: {{app: caller}}}}
spec: {{command: [python, client.py]}}
---
"""


def service_addresses(plane: Running, workload: str) -> dict[str, str]:
    """Where the proxy of a workload listens for each host."""
    return dict(plane.workloads()[workload]["instances"][0]["service_addresses"])


@contextlib.contextmanager
def blocking(manager: contextlib.AbstractAsyncContextManager[T]) -> Iterator[T]:
    with asyncio.Runner() as runner:
        entered = runner.run(_entered(manager))
        try:
            yield entered
        finally:
            runner.run(_left(manager))


async def _entered(manager: contextlib.AbstractAsyncContextManager[T]) -> T:
    return await manager.__aenter__()


async def _left(manager: contextlib.AbstractAsyncContextManager[Any]) -> None:
    await manager.__aexit__(None, None, None)


def envoy_of_thrift(
    plane: Running, admin_port: int, folder: Path
) -> contextlib.AbstractAsyncContextManager[stock_envoy.Envoy]:
    """In the place of the sidecar of `before`."""
    node_id = plane.node_id("before")
    node = {"id": node_id}
    port = int(plane.xds.rpartition(":")[2])
    return stock_envoy.asking(node, port, None, admin_port, folder, plane.token(node_id))


def envoy_of_http(
    plane: Running, listening: Mapping[str, int], admin_port: int, folder: Path
) -> contextlib.AbstractAsyncContextManager[stock_envoy.Envoy]:
    """It asks for routes and clusters as the SDK does; gRPC and HTTP have the same."""
    listeners = [_listener(host, port) for host, port in listening.items()]
    node = {"id": "an-envoy", "metadata": {"MELTEMI_CLIENT": "sdk", "LABELS": LABELS}}
    port = int(plane.xds.rpartition(":")[2])
    return stock_envoy.asking(node, port, listeners, admin_port, folder)


def _listener(host: str, port: int) -> dict[str, Any]:
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "rds": {
            "route_config_name": f"outbound|{PORTS[HTTP]}||{host}",
            "config_source": {"ads": {}, "resource_api_version": "V3"},
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": host,
        "address": stock_envoy.address("127.0.0.1", port),
        "filter_chains": [{"filters": filters}],
    }


@contextlib.contextmanager
def grpc_caller(plane: Running, folder: Path) -> Iterator[subprocess.Popen[str]]:
    bootstrap = folder / "bootstrap.json"
    server = {
        "server_uri": plane.xds,
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    node = {"id": "a-grpc-caller", "metadata": {"GENERATOR": "grpc", "LABELS": LABELS}}
    bootstrap.write_text(json.dumps({"xds_servers": [server], "node": node}))
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("grpc_caller.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(bootstrap)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
