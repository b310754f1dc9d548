"""Listeners of clients without a sidecar: one a name that a service is called by, asked for by name
(gRFC A27). A client knows where to go from the routes that its listener names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from meltemi.model import Service
from meltemi.translate import names
from meltemi.xds import messages

ROUTER_FILTER: Final = "envoy.filters.http.router"
DOMAIN: Final = ".svc.cluster.local"

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def hosts(service: Service, *, near: bool) -> Iterator[str]:
    """What the service is called: its hostname, and as Kubernetes' name service lets one write it;
    by its name alone by who is `near`, in its namespace."""
    yield service.hostname
    if service.external or not service.hostname.endswith(DOMAIN):
        return
    qualified = service.hostname.removesuffix(DOMAIN)
    yield f"{qualified}.svc"
    yield qualified
    if near:
        yield qualified.partition(".")[0]


def connection_manager(hostname: str, port: int) -> Any:
    """The packed filter of all listeners of a service's port."""
    return messages.pack(
        messages.message(_MANAGER)(
            stat_prefix=names.outbound(port, "", hostname),
            rds={
                "config_source": {"ads": {}, "resource_api_version": "V3"},
                "route_config_name": names.outbound(port, "", hostname),
            },
            http_filters=[{"name": ROUTER_FILTER, "typed_config": _router()}],
        )
    )


@cache
def _router() -> Any:
    return messages.pack(messages.message("envoy.extensions.filters.http.router.v3.Router")())


def listener(name: str, manager: Any) -> Any:
    """Envoy's Listener that no socket belongs to."""
    return messages.message("envoy.config.listener.v3.Listener")(
        name=name, api_listener={"api_listener": manager}
    )
