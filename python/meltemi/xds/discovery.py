"""The four messages of xDS as values: requests and responses, state of the world and delta.

The state machines of both ends speak in these; the shells turn them to bytes and back here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError

from meltemi.xds import messages
from meltemi.xds.resource import Resource

WILDCARD: Final = "*"
NAME_TABLE: Final = "nameTable"
"""What we call the one resource of that type: it has no name of its own."""
WELCOME: Final = "x-control-plane"
"""Initial metadata with which our server accepts a node, before there is anything to send."""
INVALID_ARGUMENT: Final = 3
"""google.rpc.Code of a refused response."""
MAX_ERROR_CHARS: Final = 16_384
"""Of a refusal's reason: it is kept for `status` and travels in every refusal."""

DELIVERY: Final = (
    messages.CLUSTER,
    messages.ENDPOINT,
    messages.LISTENER,
    messages.ROUTE,
    messages.WORKLOAD,
)
"""The order of the protocol's documents; other types follow."""
USERS: Final = (messages.LISTENER, messages.ROUTE)
"""Types whose resources name destinations."""
SETS: Final = frozenset(
    {messages.LISTENER, messages.CLUSTER, messages.WORKLOAD, messages.NAME_TABLE}
)
"""Types that a request without names asks for whole; in state of the world their answers are whole
too, so that absence deletes."""

_DISCOVERY: Final = "envoy.service.discovery.v3."
_WRAPPER: Final = messages.TYPE_PREFIX + _DISCOVERY + "Resource"


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """Asks for `names`, all of them each time; with a nonce it also answers that response."""

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    """Of the last response that was accepted."""
    nonce: str = ""
    error: str | None = None
    """Why the response was refused; None when it was accepted."""


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """Adds to and takes from the subscription; with a nonce it also answers that response."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    """What the client still holds from a former stream: version by name."""
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """Resources of one type. `removed` is used in delta only."""

    type_url: str
    nonce: str
    version: str = ""
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    """At the client: name ("" where it cannot be known) and reason of what is no such resource."""


class MalformedError(ValueError):
    """Bytes that are not the message that the method carries."""


def decode_sotw_request(data: bytes) -> tuple[SotwRequest, Any]:
    """The request and its `envoy.config.core.v3.Node`, None where it has none."""
    raw = _parse("DiscoveryRequest", data)
    request = SotwRequest(
        type_url=raw.type_url,
        names=tuple(raw.resource_names),
        version=raw.version_info,
        nonce=raw.response_nonce,
        error=_reason(raw),
    )
    return request, raw.node if raw.HasField("node") else None


def encode_sotw_request(request: SotwRequest, node: Any = None) -> bytes:
    raw = messages.message(_DISCOVERY + "DiscoveryRequest")(
        type_url=request.type_url,
        resource_names=request.names,
        version_info=request.version,
        response_nonce=request.nonce,
    )
    return _finish_request(raw, request.error, node)


def decode_delta_request(data: bytes) -> tuple[DeltaRequest, Any]:
    """The request and its `envoy.config.core.v3.Node`, None where it has none."""
    raw = _parse("DeltaDiscoveryRequest", data)
    request = DeltaRequest(
        type_url=raw.type_url,
        subscribe=tuple(raw.resource_names_subscribe),
        unsubscribe=tuple(raw.resource_names_unsubscribe),
        initial_versions=dict(raw.initial_resource_versions),
        nonce=raw.response_nonce,
        error=_reason(raw),
    )
    return request, raw.node if raw.HasField("node") else None


def encode_delta_request(request: DeltaRequest, node: Any = None) -> bytes:
    raw = messages.message(_DISCOVERY + "DeltaDiscoveryRequest")(
        type_url=request.type_url,
        resource_names_subscribe=request.subscribe,
        resource_names_unsubscribe=request.unsubscribe,
        initial_resource_versions=request.initial_versions,
        response_nonce=request.nonce,
    )
    return _finish_request(raw, request.error, node)


def encode_sotw_response(response: Response, *, wrapped: bool = False) -> bytes:
    """`wrapped`: each resource travels in a `Resource` with its name and version, which a client
    must have said that it understands (resource.RESOURCE_IN_SOTW)."""
    raw = messages.message(_DISCOVERY + "DiscoveryResponse")(
        type_url=response.type_url,
        nonce=response.nonce,
        version_info=response.version,
    )
    raw.control_plane.identifier = "meltemi"
    for resource in response.resources:
        if wrapped:
            body = _wrap(response.type_url, resource).SerializeToString()
            raw.resources.add(type_url=_WRAPPER, value=body)
        else:
            raw.resources.add(type_url=response.type_url, value=resource.body)
    data: bytes = raw.SerializeToString()
    return data


def encode_delta_response(response: Response) -> bytes:
    raw = messages.message(_DISCOVERY + "DeltaDiscoveryResponse")(
        type_url=response.type_url,
        nonce=response.nonce,
        system_version_info=response.version,
        removed_resources=response.removed,
    )
    raw.control_plane.identifier = "meltemi"
    for resource in response.resources:
        held = raw.resources.add(name=resource.name, version=resource.version)
        held.resource.type_url = response.type_url
        held.resource.value = resource.body
    data: bytes = raw.SerializeToString()
    return data


def decode_sotw_response(data: bytes) -> Response:
    """Resources get the response's version: in state of the world they have none of their own."""
    raw = _parse("DiscoveryResponse", data)
    found: list[Resource] = []
    bad: list[tuple[str, str]] = []
    for packed in raw.resources:
        name = ""
        if packed.type_url == _WRAPPER:
            try:
                wrapper = messages.unpack(packed)
            except ValueError as exc:
                bad.append(("", str(exc)))
                continue
            name, packed = wrapper.name, wrapper.resource
        if packed.type_url != raw.type_url:
            bad.append((name, f"is a {packed.type_url or 'nothing'}, not a {raw.type_url}"))
            continue
        name = name or _name_of(packed)
        if name:
            found.append(Resource(name, raw.version_info, packed.value))
        else:
            bad.append(("", "a resource has no name, or cannot be read"))
    return Response(
        type_url=raw.type_url,
        nonce=raw.nonce,
        version=raw.version_info,
        resources=tuple(found),
        unreadable=tuple(bad),
    )


def decode_delta_response(data: bytes) -> Response:
    raw = _parse("DeltaDiscoveryResponse", data)
    found: list[Resource] = []
    bad: list[tuple[str, str]] = []
    for held in raw.resources:
        type_url = held.resource.type_url
        if type_url != raw.type_url:
            bad.append((held.name, f"is a {type_url or 'nothing'}, not a {raw.type_url}"))
        else:
            name = NAME_TABLE if type_url == messages.NAME_TABLE else held.name
            found.append(Resource(name, held.version, held.resource.value))
    return Response(
        type_url=raw.type_url,
        nonce=raw.nonce,
        version=raw.system_version_info,
        resources=tuple(found),
        removed=tuple(raw.removed_resources),
        unreadable=tuple(bad),
    )


def _parse(name: str, data: bytes) -> Any:
    try:
        return messages.message(_DISCOVERY + name).FromString(data)
    except DecodeError as exc:
        raise MalformedError(f"not a {name}: {exc}") from exc


def _reason(raw: Any) -> str | None:
    if not raw.HasField("error_detail"):
        return None
    return str(raw.error_detail.message)[:MAX_ERROR_CHARS] or "refused without a reason"


def _finish_request(raw: Any, error: str | None, node: Any) -> bytes:
    if node is not None:
        raw.node.CopyFrom(node)
    if error is not None:
        raw.error_detail.code = INVALID_ARGUMENT
        raw.error_detail.message = error[:MAX_ERROR_CHARS]
    data: bytes = raw.SerializeToString()
    return data


def _wrap(type_url: str, resource: Resource) -> Any:
    wrapper = messages.message(_DISCOVERY + "Resource")(
        name=resource.name, version=resource.version
    )
    wrapper.resource.type_url = type_url
    wrapper.resource.value = resource.body
    return wrapper


def _name_of(packed: Any) -> str:
    """The name inside a resource; "" where its message has none or we do not have the message."""
    if packed.type_url == messages.NAME_TABLE:
        return NAME_TABLE
    try:
        body = messages.unpack(packed)
    except (messages.UnknownMessageError, ValueError):
        return ""
    field_name = "cluster_name" if packed.type_url == messages.ENDPOINT else "name"
    return str(getattr(body, field_name, ""))
