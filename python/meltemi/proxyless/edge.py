"""The rules of colouring as the control plane sends them."""

from __future__ import annotations

from google.protobuf import json_format

from meltemi.lanes import edge_rules
from meltemi.lanes.colouring import Plan
from meltemi.lanes.edge_rules import RESOURCE
from meltemi.xds import messages

__all__ = ["RESOURCE", "plan_of"]


def plan_of(body: bytes) -> Plan:
    """The plan of a serialized `TypedExtensionConfig`. Raises ValueError for one that is none."""
    packed = messages.parse(messages.EXTENSION_CONFIG, body).typed_config
    try:
        struct = messages.unpack(packed)
    except messages.UnknownMessageError as exc:
        raise ValueError(str(exc)) from exc
    if getattr(struct, "type_url", "") != edge_rules.TYPE_URL:
        raise ValueError(f"want a TypedStruct of {edge_rules.TYPE_URL}")
    return Plan(edge_rules.read(json_format.MessageToDict(struct.value)))
