"""Colouring for processes that are their own edge: one resource with the rules of all lanes."""

from __future__ import annotations

from typing import Any

from meltemi.lanes import edge_rules
from meltemi.model import LaneGroup, Workload
from meltemi.xds import messages


def extension(groups: tuple[LaneGroup, ...], workloads: tuple[Workload, ...] = ()) -> Any:
    """An `envoy.config.core.v3.TypedExtensionConfig`."""
    return messages.message("envoy.config.core.v3.TypedExtensionConfig")(
        name=edge_rules.RESOURCE,
        typed_config=messages.pack(
            messages.typed_struct(edge_rules.TYPE_URL, edge_rules.written(groups, workloads))
        ),
    )
