"""The rules of colouring as the control plane sends them."""

from __future__ import annotations

from google.protobuf import json_format

from meltemi.engine.colouring import Colouring
from meltemi.lanes import edge_rules
from meltemi.lanes.callers import Callers
from meltemi.lanes.colouring import compiled
from meltemi.lanes.edge_rules import RESOURCE
from meltemi.xds import messages

__all__ = ["RESOURCE", "rules_of"]


def rules_of(body: bytes) -> tuple[Colouring, Callers]:
    """Of a serialized `TypedExtensionConfig`: what colouring does, and whose marks count with
    servers. Raises ValueError for one that is none."""
    packed = messages.parse(messages.EXTENSION_CONFIG, body).typed_config
    try:
        struct = messages.unpack(packed)
    except messages.UnknownMessageError as exc:
        raise ValueError(str(exc)) from exc
    if getattr(struct, "type_url", "") != edge_rules.TYPE_URL:
        raise ValueError(f"want a TypedStruct of {edge_rules.TYPE_URL}")
    value = json_format.MessageToDict(struct.value)
    return compiled(edge_rules.read(value)), Callers(edge_rules.callers(value))
