"""Metainfo: what a call tells its callee beside its arguments, in Kitex's two ways.

A *transient* value goes one hop: the callee reads it and does not hand it on. A *persistent* value
goes with every later call, for ever. Both are strings; an empty key or value is none. They live in
OpenTelemetry's context beside the baggage; `context` carries them over the wire, under the names
below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from opentelemetry.context import Context, create_key, get_value, set_value

TRANSIENT_PREFIX = "RPC_TRANSIT_"  # in TTHeader and THeader, and in queues: keys as they are
PERSISTENT_PREFIX = "RPC_PERSIST_"
UPSTREAM_PREFIX = "RPC_TRANSIT_UPSTREAM_"  # transient values of the hop before; never sent by us
HTTP_TRANSIENT_PREFIX = "rpc-transit-"  # in HTTP and gRPC: keys in lower case, - for _
HTTP_PERSISTENT_PREFIX = "rpc-persist-"
RESERVED = frozenset({"baggage", "traceparent", "tracestate"})  # written from their own sources

_NOTHING: Mapping[str, str] = MappingProxyType({})
_KEY = create_key("meltemi-metainfo")


def _nothing() -> Mapping[str, str]:
    return _NOTHING


@dataclass(frozen=True, slots=True)
class MetaInfo:
    """What one context holds: values to send, and the transient ones that came in."""

    persistent: Mapping[str, str] = field(default_factory=_nothing)
    transient: Mapping[str, str] = field(default_factory=_nothing)
    received: Mapping[str, str] = field(default_factory=_nothing)


NONE = MetaInfo()


def held(context: Context | None = None) -> MetaInfo:
    """The metainfo of `context`, by default of OpenTelemetry's current one."""
    found = get_value(_KEY, context)
    return found if isinstance(found, MetaInfo) else NONE


def with_held(metainfo: MetaInfo, context: Context | None = None) -> Context:
    """`context` with `metainfo` for all of its own."""
    return set_value(_KEY, metainfo, context)


def value(key: str, context: Context | None = None) -> str | None:
    """What is known by `key` here: set here or received, transient before persistent."""
    info = held(context)
    for values in (info.transient, info.received, info.persistent):
        if key in values:
            return values[key]
    return None


def with_transient(key: str, text: str, context: Context | None = None) -> Context:
    """`context` whose calls also say `key` to their callees, and to nobody behind these.

    Raises ValueError where key or text is empty, or the key is one that has its own source.
    """
    _check(key, text)
    info = held(context)
    transient = MappingProxyType({**info.transient, key: text})
    return with_held(MetaInfo(info.persistent, transient, info.received), context)


def with_persistent(key: str, text: str, context: Context | None = None) -> Context:
    """`context` whose calls, and all that follow from them, say `key`.

    Raises ValueError where key or text is empty, or the key is one that has its own source.
    """
    _check(key, text)
    info = held(context)
    persistent = MappingProxyType({**info.persistent, key: text})
    return with_held(MetaInfo(persistent, info.transient, info.received), context)


def _check(key: str, text: str) -> None:
    if not key or not text:
        raise ValueError(f"metainfo {key!r}: want a key and a value that are not empty")
    if header_name(key) in RESERVED:
        raise ValueError(f"metainfo {key!r}: set it through opentelemetry's baggage or trace")


def header_name(key: str) -> str:
    """How HTTP and gRPC write `key`."""
    return key.lower().replace("_", "-")


def key_of_header(name: str) -> str:
    """The key that a receiver makes of what HTTP or gRPC wrote."""
    return name.upper().replace("-", "_")
