"""The admin port of the control plane: read only, loopback, for scrapers and for debugging.

Nothing here changes the mesh; that is done through the Unix socket (`steering`)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from meltemi import __version__
from meltemi.admin.guard import guarded
from meltemi.admin.http import Handler, HttpError, Request, Response, as_json, router, text
from meltemi.controlplane.nodes import short
from meltemi.controlplane.serving import MeshSource
from meltemi.xds import messages
from meltemi.xds.resource import Node
from meltemi.xds.server import NodeStatus

HELP = """control plane; paths:
  /ready: whether configuration is served
  /config_dump?node=ID: what a node gets (without node=: the ids that are connected)
  /debug/syncz: what each node was sent and acknowledged, as istiod shows it
  /stats/prometheus: counters
"""
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
SYNCZ = {
    messages.CLUSTER: "cluster",
    messages.LISTENER: "listener",
    messages.ROUTE: "route",
    messages.ENDPOINT: "endpoint",
}


class Admin:
    """Handlers; `nodes` gives the connected nodes, `counts` the gauges of the mesh by name."""

    def __init__(
        self,
        source: MeshSource,
        nodes: Callable[[], list[NodeStatus]],
        counts: Callable[[], dict[str, int]],
    ) -> None:
        self._source, self._nodes, self._counts = source, nodes, counts
        self._started = time.time()

    def handler(self) -> Handler:
        return guarded(
            router(
                (
                    ("GET", "/", self._help),
                    ("GET", "/ready", self._ready),
                    ("GET", "/config_dump", self._config_dump),
                    ("GET", "/debug/syncz", self._syncz),
                    ("GET", "/stats/prometheus", self._prometheus),
                )
            )
        )

    async def _help(self, _request: Request) -> Response:
        return text(HELP)

    async def _ready(self, _request: Request) -> Response:
        return text("LIVE\n")

    async def _config_dump(self, request: Request) -> Response:
        """What a connected node gets: as `dump-xds`, with field names as Envoy prints them."""
        wanted = request.query.get("node")
        nodes = {found.node.id: found.node for found in self._nodes()}
        if wanted is None:
            return as_json({"nodes": sorted(nodes)})
        for node in nodes.values():
            if wanted in (node.id, f"{node.pod}.{node.namespace}"):
                return as_json(self._dump(node))
        raise HttpError(404, f"no node {wanted!r} is connected", "see /debug/syncz")

    def _dump(self, node: Node) -> dict[str, Any]:
        resources = self._source.all(node)
        return {
            kind: {
                name: messages.any_to_json(type_url, found.body)
                for name, found in sorted(resources.get(type_url, {}).items())
            }
            for kind, type_url in (
                ("listeners", messages.LISTENER),
                ("routes", messages.ROUTE),
                ("clusters", messages.CLUSTER),
                ("endpoints", messages.ENDPOINT),
            )
        }

    async def _syncz(self, _request: Request) -> Response:
        """istiod's shape: a list of `{proxy, cluster_sent, cluster_acked, ...}`."""
        return as_json([_sync_status(found) for found in self._nodes()])

    async def _prometheus(self, _request: Request) -> Response:
        nodes = self._nodes()
        refused: Counter[str] = Counter()
        for found in nodes:
            for type_url, status in found.types.items():
                refused[short(type_url)] += len(status.refusals)
        lines = [
            "# HELP meltemi_build_info Version of the control plane.",
            "# TYPE meltemi_build_info gauge",
            f'meltemi_build_info{{component="control-plane",tag="{__version__}"}} 1',
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {self._started:.3f}",
            "# HELP meltemi_nodes Nodes that are connected.",
            "# TYPE meltemi_nodes gauge",
            f"meltemi_nodes {len(nodes)}",
            "# HELP meltemi_resources_refused Resources that nodes refuse now.",
            "# TYPE meltemi_resources_refused gauge",
            *(f'meltemi_resources_refused{{type="{t}"}} {n}' for t, n in sorted(refused.items())),
        ]
        for name, value in sorted(self._counts().items()):
            lines += [f"# TYPE meltemi_{name} gauge", f"meltemi_{name} {value}"]
        return Response("\n".join([*lines, ""]).encode(), 200, PROMETHEUS)


def _sync_status(found: NodeStatus) -> dict[str, str]:
    status = {"proxy": found.node.id, "proxy_type": found.node.client.value}
    for type_url, name in SYNCZ.items():
        if type_url in found.types:
            status[f"{name}_sent"] = found.types[type_url].sent
            status[f"{name}_acked"] = found.types[type_url].acknowledged
    return status
