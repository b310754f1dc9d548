"""`WorkloadEntry` of networking.istio.io; `ServiceEntry.endpoints` have the same fields.

Source: istio/api networking/v1alpha3/workload_entry.proto and its CRD."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meltemi.config.schema.types import Labels, Port, Schema, UInt32, not_yet


class WorkloadEntrySpec(Schema):
    address: Annotated[str | None, Field(max_length=256)] = None
    ports: Annotated[dict[str, Port] | None, Field(max_length=128)] = None
    labels: Annotated[Labels | None, Field(max_length=256)] = None
    network: Annotated[str | None, Field(max_length=2048), not_yet] = None
    locality: Annotated[str | None, Field(max_length=2048)] = None
    weight: UInt32 | None = None
    service_account: Annotated[str | None, Field(max_length=253), not_yet] = None
