"""The listeners of a gateway: an HTTP connection manager of a stock Envoy for each port.

Its settings are those of Istio's gateways, and where a proxy at the edge must not trust its callers
those that Envoy's documentation recommends ("Configuring Envoy as an edge proxy")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from meltemi.lanes.envoy_filter import SLOT_TYPES, SLOTS, slots
from meltemi.model import LaneGroup
from meltemi.translate import gateway_routes, listeners
from meltemi.translate.api_listeners import ROUTER_FILTER
from meltemi.translate.clusters import EDS_SOURCE
from meltemi.translate.gateway_routes import CORS_FILTER, FAULT_FILTER
from meltemi.translate.structs import typed_struct
from meltemi.xds import messages

FILTER: Final = "envoy.filters.network.http_connection_manager"
SERVER_NAME: Final = "meltemi"
HEADERS_S: Final = 10
"""How long the headers of a request may take to come."""

_MANAGER: Final = "envoy.extensions.filters.network.http_connection_manager.v3"
_CORS: Final = "envoy.extensions.filters.http.cors.v3.Cors"
_LIMIT_BYTES: Final = 32 * 1024
_STREAMS: Final = 100
_STREAM_WINDOW: Final = 64 * 1024
_CONNECTION_WINDOW: Final = 1024 * 1024


_LOCAL_REPLIES: Final[dict[str, Any]] = {
    "mappers": [
        {
            "filter": {
                "and_filter": {
                    "filters": [
                        {"response_flag_filter": {"flags": ["UH"]}},
                        {"header_filter": {"header": {"name": "baggage", "present_match": True}}},
                    ]
                }
            },
            "body_format_override": {
                "text_format_source": {
                    "inline_string": "%LOCAL_REPLY_BODY% in lane %METADATA(ROUTE:meltemi:mark)%\n"
                }
            },
        }
    ]
}
"""Whom nobody could answer is told the lane that has no instance: a strict one."""


def listener(address: str, number: int, port: int, tracer: Mapping[str, Any] | None = None) -> Any:
    """At `address:number`, with the routes of the gateway's `port`. Spans are made where there is a
    `tracer` for them."""
    manager = messages.pack(_manager(port, tracer))
    made = listeners.listener(
        address, number, "OUTBOUND", {"name": FILTER, "typed_config": manager}
    )
    made.per_connection_buffer_limit_bytes.value = _LIMIT_BYTES
    # Else another gateway of the machine could open the port too, and take some of the requests.
    made.enable_reuse_port.value = False
    return made


def colouring(groups: Sequence[LaneGroup]) -> dict[str, Any]:
    """The filters before the router by name, as `TypedExtensionConfig`: they come apart from the
    listeners, so that a new lane closes no connection."""
    return {
        each["name"]: messages.from_json("envoy.config.core.v3.TypedExtensionConfig", each)
        for each in slots(groups, underscores=False)
    }


def _manager(port: int, tracer: Mapping[str, Any] | None) -> Any:
    return messages.message(f"{_MANAGER}.HttpConnectionManager")(
        stat_prefix=f"outbound_0.0.0.0_{port}",
        rds={
            "config_source": EDS_SOURCE,
            "route_config_name": gateway_routes.name(port),
        },
        http_filters=[
            *(_discovered(name) for name in SLOTS),
            {"name": CORS_FILTER, "typed_config": typed_struct(_CORS, {})},
            _filter(FAULT_FILTER, "envoy.extensions.filters.http.fault.v3.HTTPFault"),
            _filter(ROUTER_FILTER, "envoy.extensions.filters.http.router.v3.Router"),
        ],
        tracing=_tracing(tracer) if tracer else None,
        local_reply_config=_LOCAL_REPLIES,
        server_name=SERVER_NAME,
        use_remote_address={"value": True},
        internal_address_config={},
        normalize_path={"value": True},
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        strip_any_host_port=False,
        request_headers_timeout={"seconds": HEADERS_S},
        upgrade_configs=[{"upgrade_type": "websocket"}],
        common_http_protocol_options={"headers_with_underscores_action": "REJECT_REQUEST"},
        http2_protocol_options={
            "max_concurrent_streams": {"value": _STREAMS},
            "initial_stream_window_size": {"value": _STREAM_WINDOW},
            "initial_connection_window_size": {"value": _CONNECTION_WINDOW},
        },
    )


def _tracing(tracer: Mapping[str, Any]) -> dict[str, Any]:
    """Spans of each request, and of each attempt with what is known of its upstream."""
    config = dict(tracer["typed_config"])
    kind = str(config.pop("@type")).removeprefix(messages.TYPE_PREFIX)
    return {
        "provider": {"name": tracer["name"], "typed_config": typed_struct(kind, config)},
        "spawn_upstream_span": {"value": True},
        "custom_tags": [
            _tag("meltemi.mark", "route", "mark"),
            _tag("meltemi.lane", "host", "lane"),
            _tag("peer.service", "cluster", "service"),
        ],
    }


def _tag(name: str, of: str, key: str) -> dict[str, Any]:
    """From the metadata `meltemi` of the route, the cluster or the endpoint."""
    metadata_key = {"key": "meltemi", "path": [{"key": key}]}
    return {"tag": name, "metadata": {"kind": {of: {}}, "metadata_key": metadata_key}}


def _discovered(name: str) -> dict[str, Any]:
    discovery = {"config_source": EDS_SOURCE, "type_urls": list(SLOT_TYPES)}
    return {"name": name, "config_discovery": discovery}


def _filter(name: str, message: str) -> dict[str, Any]:
    return {"name": name, "typed_config": messages.pack(messages.message(message)())}
