"""Free-form values inside messages."""

from __future__ import annotations

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
