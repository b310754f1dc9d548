"""Free-form values inside messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meltemi.xds import messages


def struct(value: dict[str, Any]) -> Any:
    """A `google.protobuf.Struct`."""
    made = messages.message("google.protobuf.Struct")()
    made.update(value)
    return made


def duration(seconds: float) -> Any:
    """A `google.protobuf.Duration`."""
    made = messages.message("google.protobuf.Duration")()
    made.FromNanoseconds(round(seconds * 1e9))
    return made


def typed_struct(name: str, value: Mapping[str, Any]) -> Any:
    """The message of that name, of which we need no descriptor, as JSON in a packed
    `xds.type.v3.TypedStruct`: Envoy takes one for the configuration of any extension."""
    made = messages.message("xds.type.v3.TypedStruct")(type_url=messages.TYPE_PREFIX + name)
    made.value.update(value)
    return messages.pack(made)
