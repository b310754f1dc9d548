"""`/config_dump` in Envoy's shape: what is held, by kind, each with its version and time.

The order of `configs` is Envoy's own (by the kind's name), with MetaProtocol Proxy's routes fifth,
where aerakictl looks for them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from meltemi.sidecar.holdings import Holdings, Refused
from meltemi.sidecar.meta_routes import route_configuration
from meltemi.xds import messages
from meltemi.xds.shell import Accepted

Json = dict[str, Any]
ADMIN = "type.googleapis.com/envoy.admin.v3."
META_PROTOCOL_ROUTES = (
    "type.googleapis.com/aeraki.meta_protocol_proxy.admin.v1alpha.RoutesConfigDump"
)


def config_dump(
    holdings: Holdings,
    node: Mapping[str, Any],
    unbound: Mapping[str, str],
    *,
    include_eds: bool,
    resource: str | None = None,
) -> Json:
    """The whole dump; with `resource` (`dynamic_listeners`) only the elements of that list.
    `unbound`: why listeners that are held are not open, by name.

    Raises KeyError when nothing has a list of that name."""
    configs = [
        {"@type": ADMIN + "BootstrapConfigDump", "bootstrap": {"node": dict(node)}},
        _clusters(holdings),
        {"@type": ADMIN + "EcdsConfigDump"},
        *([_endpoints(holdings)] if include_eds else []),
        _listeners(holdings, unbound),
        _meta_protocol_routes(holdings),
        _routes(holdings),
    ]
    if resource is None:
        return {"configs": configs}
    found = [config[resource] for config in configs if resource in config]
    if not found:
        raise KeyError(resource)
    return {"configs": [element for elements in found for element in elements]}


def _clusters(holdings: Holdings) -> Json:
    return {
        "@type": ADMIN + "ClustersConfigDump",
        "version_info": holdings.version(messages.CLUSTER),
        "dynamic_active_clusters": _dynamic(holdings, messages.CLUSTER, "cluster"),
    }


def _endpoints(holdings: Holdings) -> Json:
    return {
        "@type": ADMIN + "EndpointsConfigDump",
        "dynamic_endpoint_configs": _dynamic(holdings, messages.ENDPOINT, "endpoint_config"),
    }


def _listeners(holdings: Holdings, unbound: Mapping[str, str]) -> Json:
    listeners: dict[str, Json] = {}
    for held in holdings.accepted(messages.LISTENER):
        state = _state(held, messages.LISTENER, "listener")
        name = held.resource.name
        listeners[name] = {"name": name, "active_state": state}
        if name in unbound:
            listeners[name]["error_state"] = {"details": unbound[name]}
    for refused in holdings.refused(messages.LISTENER):
        listener = listeners.setdefault(refused.name, {"name": refused.name})
        listener["error_state"] = _error(refused, messages.LISTENER)
    return {
        "@type": ADMIN + "ListenersConfigDump",
        "version_info": holdings.version(messages.LISTENER),
        "dynamic_listeners": list(listeners.values()),
    }


def _meta_protocol_routes(holdings: Holdings) -> Json:
    routes = _dynamic(holdings, messages.ROUTE, "route_config", route_configuration)
    return {"@type": META_PROTOCOL_ROUTES, "dynamic_route_configs": routes}


def _routes(holdings: Holdings) -> Json:
    """The same routes in the form in which they came."""
    routes = _dynamic(holdings, messages.ROUTE, "route_config")
    return {"@type": ADMIN + "RoutesConfigDump", "dynamic_route_configs": routes}


def _dynamic(
    holdings: Holdings,
    type_url: str,
    field: str,
    shown_as: Callable[[Json], Json] | None = None,
) -> list[Json]:
    """Each resource of a type; one that was refused has an `error_state`."""
    found = {
        held.resource.name: _state(held, type_url, field, shown_as)
        for held in holdings.accepted(type_url)
    }
    for refused in holdings.refused(type_url):
        found.setdefault(refused.name, {})["error_state"] = _error(refused, type_url)
    return list(found.values())


def _state(
    held: Accepted, type_url: str, field: str, shown_as: Callable[[Json], Json] | None = None
) -> Json:
    message = messages.any_to_json(type_url, held.resource.body)
    return {
        "version_info": held.resource.version,
        field: shown_as(message) if shown_as else message,
        "last_updated": timestamp(held.last_updated),
    }


def _error(refused: Refused, type_url: str) -> Json:
    """Envoy's UpdateFailureState."""
    return {
        "failed_configuration": messages.any_to_json(type_url, refused.body),
        "last_update_attempt": timestamp(refused.tried),
        "details": refused.reason,
        "version_info": refused.version,
    }


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, as protobuf JSON writes a Timestamp."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
