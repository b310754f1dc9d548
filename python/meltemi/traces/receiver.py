"""Receives what processes of this machine export, and answers what is asked of it, over HTTP.

`POST /v1/traces` is OTLP's; `GET /api/traces/{id}` and `GET /api/graph` are ours. Callers are
local, and no web page of another site (`meltemi.admin.guard`)."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from meltemi.admin.guard import guarded
from meltemi.admin.http import HttpError, HttpServer, Request, Response, as_json, router
from meltemi.admin.sockets import bind
from meltemi.traces import otlp
from meltemi.traces.graph import Graph
from meltemi.traces.hops import Way
from meltemi.traces.store import Store

FIRST_PORT: Final = 4318
"""OTLP/HTTP's own."""
PORTS: Final = 100
"""So many are tried, one after another."""
DEFAULT_MINUTES: Final = 5.0
TRACE_ID = re.compile(r"[0-9a-f]{32}")


def bound(first_port: int = FIRST_PORT) -> socket.socket:
    """A socket of loopback at the first port that is free. Raises OSError where none is."""
    for port in range(first_port, first_port + PORTS - 1):
        try:
            return bind(f"127.0.0.1:{port}")
        except OSError:
            continue
    return bind(f"127.0.0.1:{first_port + PORTS - 1}")


class Receiver:
    """The receiver of one mesh and the traces that it holds."""

    def __init__(
        self, store: Store | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store or Store()
        self._clock = clock
        routes = (
            ("POST", "/v1/traces", self._export),
            ("GET", "/api/traces/{}", self._trace),
            ("GET", "/api/graph", self._graph),
        )
        self.handle = guarded(router(routes))
        self._server = HttpServer(self.handle)

    async def start(self, sock: socket.socket) -> None:
        """Serves on `sock`, which is the receiver's from here on."""
        await self._server.start(sock)

    async def close(self) -> None:
        await self._server.close()

    async def _export(self, request: Request) -> Response:
        media_type = otlp.PROTOBUF
        try:
            media_type = otlp.encoding(request.headers.get("content-type", ""))
            content_encoding = request.headers.get("content-encoding", "")
            export = otlp.decode(media_type, content_encoding, request.body)
        except otlp.Refused as refused:
            return Response(otlp.refusal(media_type, refused), refused.status, media_type)
        full = self._store.add(export.spans, self._clock())
        problems = [export.problem] if export.problem else []
        if full:
            problems.append(f"{full} of traces that have as many spans as are kept")
        body = otlp.response(media_type, export.rejected + full, "; ".join(problems))
        return Response(body, 200, media_type)

    async def _trace(self, _request: Request, trace_id: str) -> Response:
        if not TRACE_ID.fullmatch(trace_id):
            raise HttpError(400, f"{trace_id[:64]!r} is no trace id", "32 digits of lower-case hex")
        found = self._store.way(trace_id, self._clock())
        if found is None:
            hint = "spans come a moment after the request; old traces make room for new ones"
            raise HttpError(404, f"nothing is known of trace {trace_id}", hint)
        return as_json(way_as_json(trace_id, found))

    async def _graph(self, request: Request) -> Response:
        minutes = _minutes(request.query.get("minutes"))
        path = request.query.get("path", "")
        found = self._store.graph(minutes * 60, self._clock(), path)
        return as_json(graph_as_json(found, minutes))


def way_as_json(trace_id: str, found: Way) -> dict[str, Any]:
    """What `GET /api/traces/{id}` answers; `start` and `duration` are milliseconds, `start` from
    the first hop's on."""
    first = min((hop.start for hop in found.hops), default=0)
    return {
        "trace_id": trace_id,
        "complete": found.complete,
        "hops": [
            {
                "id": hop.id,
                "parent": hop.parent or None,
                "service": hop.service,
                "version": hop.version or None,
                "instance": hop.instance or None,
                "name": hop.name,
                "lane": hop.lane,
                "mark": hop.mark,
                "start": _milliseconds(hop.start - first),
                "duration": _milliseconds(hop.duration),
                "protocol": hop.protocol or None,
                "path": hop.path or None,
                "error": hop.error,
                "traced": hop.traced,
            }
            for hop in found.hops
        ],
    }


def graph_as_json(found: Graph, minutes: float) -> dict[str, Any]:
    """What `GET /api/graph` answers: "" is the source of requests from outside, and the version or
    lane that nobody says; `duration` is the mean in milliseconds."""
    return {
        "minutes": minutes,
        "nodes": [
            {
                "service": node.service,
                "requests": node.requests,
                "errors": node.errors,
                "versions": dict(sorted(node.versions.items())),
            }
            for node in found.nodes
        ],
        "edges": [
            {
                "source": edge.source,
                "target": edge.target,
                "requests": edge.requests,
                "errors": edge.errors,
                "lanes": dict(sorted(edge.lanes.items())),
                "duration": _milliseconds(edge.duration / edge.requests),
            }
            for edge in found.edges
        ],
    }


def _milliseconds(nanoseconds: float) -> float:
    return round(nanoseconds / 1e6, 3)


def _minutes(text: str | None) -> float:
    try:
        minutes = float(text) if text is not None else DEFAULT_MINUTES
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= 24 * 60:
        raise HttpError(400, f"minutes={text!r} is no number of minutes", "for example minutes=5")
    return minutes
