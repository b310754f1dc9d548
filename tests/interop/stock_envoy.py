"""A real Envoy that gets all its configuration from our xDS server."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from meltemi.model import Mesh
from meltemi.translate import Translator
from meltemi.xds.resource import Node, Resource
from meltemi.xds.server import AdsServer

START_S = 30.0


class MeshSource:
    """What the control plane is to the server: the mesh of the moment."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.translator = Translator()

    def resources(self, node: Node, type_url: str) -> Mapping[str, Resource]:
        return self.translator.resources(self.mesh, node).get(type_url, {})


class Control:
    """A running xDS server whose mesh can be replaced."""

    def __init__(self, server: AdsServer, source: MeshSource, port: int) -> None:
        self.server, self.source, self.port = server, source, port

    def change(self, mesh: Mesh) -> None:
        self.source.mesh = mesh
        self.server.changed()


@contextlib.asynccontextmanager
async def control(mesh: Mesh, port: int) -> AsyncIterator[Control]:
    source = MeshSource(mesh)
    server = AdsServer(source)
    await server.start(f"127.0.0.1:{port}")
    try:
        yield Control(server, source, port)
    finally:
        await server.stop()


class Envoy:
    """A running Envoy, asked through its admin port."""

    def __init__(self, admin_port: int) -> None:
        self.admin_port = admin_port

    def get(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)

    def counters(self) -> dict[str, int]:
        stats = self.get("/stats?format=json")["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "value" in stat}

    async def until(self, condition: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        """The counters once `condition` holds for them."""
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError):
                counters = await asyncio.to_thread(self.counters)
                if condition(counters):
                    return counters
            assert time.monotonic() < deadline, f"Envoy did not get there within {START_S} s"
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def envoy(
    node_id: str, control: Control, admin_port: int, folder: Path, api_type: str = "GRPC"
) -> AsyncIterator[Envoy]:
    """Started, and with all clusters warm and all listeners up."""
    bootstrap = _bootstrap(node_id, control.port, admin_port, api_type)
    async with _running(bootstrap, admin_port, folder) as running:
        yield running


@contextlib.asynccontextmanager
async def asking(
    node: dict[str, Any],
    xds_port: int,
    listeners: list[dict[str, Any]] | None,
    admin_port: int,
    folder: Path,
    token: str | None = None,
) -> AsyncIterator[Envoy]:
    """One that is `node` (`id`, `metadata`) to a control plane, with its listeners from there, or
    with `listeners` whose routes and clusters alone are from there."""
    bootstrap = _bootstrap(node["id"], xds_port, admin_port, "DELTA_GRPC")
    bootstrap["node"].update(node)
    if token is not None:
        said = {"key": "authorization", "value": f"Bearer {token}"}
        services = bootstrap["dynamic_resources"]["ads_config"]["grpc_services"]
        services[0]["initial_metadata"] = [said]
    if listeners is not None:
        del bootstrap["dynamic_resources"]["lds_config"]
        bootstrap["static_resources"]["listeners"] = listeners
    async with _running(bootstrap, admin_port, folder) as running:
        yield running


@contextlib.asynccontextmanager
async def standing_alone(
    resources: dict[str, Any], admin_port: int, folder: Path
) -> AsyncIterator[Envoy]:
    """One that is given its listeners and clusters (`static_resources`) in a file."""
    bootstrap = {
        "node": {"id": "alone", "cluster": "interop"},
        "admin": {"address": address("127.0.0.1", admin_port)},
        "static_resources": resources,
    }
    async with _running(bootstrap, admin_port, folder) as running:
        yield running


@contextlib.asynccontextmanager
async def _running(
    bootstrap: dict[str, Any], admin_port: int, folder: Path
) -> AsyncIterator[Envoy]:
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "envoy.json"
    configuration.write_text(json.dumps(bootstrap))
    command = [str(_binary()), "-c", str(configuration), "--concurrency", "1"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen([*command, "--use-dynamic-base-id"], stdout=log, stderr=log)
        try:
            running = Envoy(admin_port)
            await running.until(lambda now: now.get("listener_manager.workers_started", 0) == 1)
            yield running
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 20)


def _binary() -> Path:
    found = importlib.util.find_spec("envoy")
    assert found is not None and found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "_bin" / "envoy"


def _bootstrap(node_id: str, xds_port: int, admin_port: int, api_type: str) -> dict[str, Any]:
    ads = {"ads": {}, "resource_api_version": "V3"}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "node": {"id": node_id, "cluster": "interop"},
        "admin": {"address": address("127.0.0.1", admin_port)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "lds_config": ads,
            "cds_config": ads,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                        options: {
                            "@type": f"type.googleapis.com/{options}",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {"endpoint": {"address": address("127.0.0.1", xds_port)}}
                                ]
                            }
                        ],
                    },
                }
            ]
        },
    }


def address(host: str, port: int) -> dict[str, Any]:
    """As Envoy writes an address."""
    return {"socket_address": {"address": host, "port_value": port}}
