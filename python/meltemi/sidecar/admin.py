"""The sidecar's admin API: Envoy's paths and shapes, so that what people have for Envoy works.

Answers from `Holdings` and from the engine; changes (log level, the end) by POST only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from meltemi import __version__
from meltemi.admin.guard import guarded
from meltemi.admin.http import Handler, HttpError, Request, Response, as_json, router, text
from meltemi.admin.logs import LEVELS, level, set_level
from meltemi.sidecar.dump import config_dump
from meltemi.sidecar.holdings import Holdings
from meltemi.xds import messages

log = logging.getLogger("meltemi.sidecar")

HELP = """admin commands are:
  /: this list
  /clusters: endpoints of each cluster (?format=json)
  /config_dump: what is held, with versions (?include_eds, ?resource=dynamic_listeners)
  /logging (POST): shows the log level; ?level=debug changes it
  /quitquitquit (POST): drains and ends the sidecar
  /ready: LIVE once the first configuration is in force
  /server_info: version, state and node
  /stats: counters (?format=json|prometheus, ?filter=TEXT with .* for anything, ?usedonly)
  /stats/prometheus: the same for Prometheus
"""
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

XDS_STATS = {
    # type URL: Envoy's prefix of its counters
    messages.CLUSTER: "cluster_manager.cds",
    messages.LISTENER: "listener_manager.lds",
    messages.ROUTE: "rds",
    messages.ENDPOINT: "eds",
    messages.WORKLOAD: "workloads",
}


class EngineReaders(Protocol):
    """What the admin API asks the engine."""

    def clusters(self) -> list[dict[str, Any]]: ...
    def listener_errors(self) -> list[tuple[str, str]]: ...
    def stats(self) -> dict[str, int | float]: ...
    def prometheus(self) -> bytes: ...
    def set_log_level(self, level: str) -> None: ...


class Admin:
    """Handlers; `state` gives LIVE, PRE_INITIALIZING or DRAINING, `quit` starts the drain."""

    def __init__(
        self,
        engine: EngineReaders,
        holdings: Holdings,
        node: dict[str, Any],
        state: Callable[[], str],
        quit: Callable[[], None],
        connected: Callable[[], bool],
    ) -> None:
        self._engine, self._holdings, self._node = engine, holdings, node
        self._state, self._quit, self._connected = state, quit, connected
        self._started = time.monotonic()

    def handler(self) -> Handler:
        return guarded(
            router(
                (
                    ("GET", "/", self._help),
                    ("GET", "/help", self._help),
                    ("GET", "/clusters", self._clusters),
                    ("GET", "/config_dump", self._config_dump),
                    ("GET", "/ready", self._ready),
                    ("GET", "/server_info", self._server_info),
                    ("GET", "/stats", self._stats),
                    ("GET", "/stats/prometheus", self._prometheus),
                    ("POST", "/logging", self._logging),
                    ("POST", "/quitquitquit", self._quitquitquit),
                )
            )
        )

    async def _help(self, _request: Request) -> Response:
        return text(HELP)

    async def _ready(self, _request: Request) -> Response:
        state = self._state()
        return text(f"{state}\n", 200 if state == "LIVE" else 503)

    async def _server_info(self, _request: Request) -> Response:
        return as_json(
            {
                "version": f"meltemi/{__version__}",
                "state": self._state(),
                "uptime_all_epochs": f"{time.monotonic() - self._started:.0f}s",
                "node": self._node,
            }
        )

    async def _config_dump(self, request: Request) -> Response:
        query = request.query
        include_eds = query.get("include_eds", "off") not in ("off", "false", "0")
        resource = query.get("resource")
        include_eds = include_eds or resource == "dynamic_endpoint_configs"
        try:
            dump = config_dump(
                self._holdings,
                self._node,
                dict(self._engine.listener_errors()),
                include_eds=include_eds,
                resource=resource,
            )
        except KeyError as error:
            raise HttpError(404, f"there is no resource {error.args[0]!r} in the dump") from error
        return as_json(dump)

    async def _clusters(self, request: Request) -> Response:
        clusters = self._engine.clusters()
        if request.query.get("format") == "json":
            return as_json({"cluster_statuses": [_cluster_status(found) for found in clusters]})
        return text("".join(_cluster_lines(found) for found in clusters))

    async def _stats(self, request: Request) -> Response:
        form = request.query.get("format", "text")
        if form == "prometheus":
            return await self._prometheus(request)
        stats = self._filtered(request)
        if form == "json":
            listed = [{"name": name, "value": value} for name, value in stats.items()]
            return as_json({"stats": listed})
        return text("".join(f"{name}: {value}\n" for name, value in stats.items()))

    def _filtered(self, request: Request) -> dict[str, int | float]:
        stats = {**self._engine.stats(), **self._xds_stats()}
        wanted = request.query.get("filter", "")
        used_only = "usedonly" in request.query
        return {
            name: value
            for name, value in sorted(stats.items())
            if _is_wanted(name, wanted) and (value or not used_only)
        }

    def _xds_stats(self) -> dict[str, int | float]:
        """Envoy's counters of what the xDS stream brought."""
        stats: dict[str, int | float] = {
            "control_plane.connected_state": int(self._connected()),
            "server.uptime": round(time.monotonic() - self._started),
            "server.live": int(self._state() == "LIVE"),
        }
        for type_url, prefix in XDS_STATS.items():
            stats[f"{prefix}.update_success"] = self._holdings.update_success[type_url]
            stats[f"{prefix}.update_rejected"] = self._holdings.update_rejected[type_url]
            stats[f"{prefix}.held"] = len(self._holdings.accepted(type_url))
        return stats

    async def _prometheus(self, _request: Request) -> Response:
        lines = []
        for name, value in self._xds_stats().items():
            metric = "envoy_" + name.replace(".", "_")
            kind = "counter" if "update_" in name else "gauge"
            lines.append(f"# TYPE {metric} {kind}\n{metric} {value}\n")
        return Response(self._engine.prometheus() + "".join(lines).encode(), 200, PROMETHEUS)

    async def _logging(self, request: Request) -> Response:
        wanted = request.query.get("level")
        if wanted is not None:
            if wanted not in LEVELS:
                raise HttpError(400, f"there is no log level {wanted!r}", ", ".join(LEVELS))
            self._engine.set_log_level(wanted)
            set_level(wanted)
            log.info("log level is %s", wanted)
        return text(f"active loggers:\n  meltemi: {level()}\n")

    async def _quitquitquit(self, _request: Request) -> Response:
        self._quit()
        return text("OK\n")


def _is_wanted(name: str, wanted: str) -> bool:
    """Whether the texts between `.*` are in `name`, in this order.

    Not a regular expression, as Envoy has it: Python's may take exponential time."""
    at = 0
    for part in wanted.replace("\\.", ".").split(".*"):
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _cluster_lines(cluster: dict[str, Any]) -> str:
    """Envoy's text: `CLUSTER::ADDRESS::WHAT::VALUE`."""
    lines = [f"{cluster['name']}::added_via_api::true\n"]
    for endpoint in cluster["endpoints"]:
        prefix = f"{cluster['name']}::{endpoint['address']}::"
        for name, value in (
            ("rq_active", endpoint["active"]),
            ("rq_error", endpoint["errors"]),
            ("rq_total", endpoint["total"]),
            ("health_flags", _health_flags(endpoint)),
            ("weight", endpoint["weight"]),
            ("priority", endpoint["priority"]),
        ):
            lines.append(f"{prefix}{name}::{value}\n")
    return "".join(lines)


def _health_flags(endpoint: dict[str, Any]) -> str:
    """Envoy's words."""
    if endpoint["ejected"]:
        return "/failed_outlier_check"
    return "healthy" if endpoint["healthy"] else "/failed_eds_health"


def _cluster_status(cluster: dict[str, Any]) -> dict[str, Any]:
    """envoy.admin.v3.ClusterStatus as protobuf JSON."""
    return {
        "name": cluster["name"],
        "added_via_api": True,
        "host_statuses": [_host_status(endpoint) for endpoint in cluster["endpoints"]],
    }


def _host_status(endpoint: dict[str, Any]) -> dict[str, Any]:
    host, _, port = str(endpoint["address"]).rpartition(":")
    return {
        "address": {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}},
        "stats": [
            {"name": "rq_active", "type": "GAUGE", "value": str(endpoint["active"])},
            {"name": "rq_error", "type": "COUNTER", "value": str(endpoint["errors"])},
            {"name": "rq_total", "type": "COUNTER", "value": str(endpoint["total"])},
        ],
        "health_status": _health_status(endpoint),
        "weight": endpoint["weight"],
        "priority": endpoint["priority"],
    }


def _health_status(endpoint: dict[str, Any]) -> dict[str, Any]:
    """What the control plane says, and what the sidecar learnt."""
    if endpoint["ejected"]:
        return {"eds_health_status": "HEALTHY", "failed_outlier_check": True}
    return {"eds_health_status": "HEALTHY" if endpoint["healthy"] else "UNHEALTHY"}
