"""`ServiceEntry` of networking.istio.io.

Source: istio/api networking/v1alpha3/service_entry.proto and its CRD."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meltemi.config.schema.types import Labels, NotYet, Port, Schema, not_yet
from meltemi.config.schema.workload_entry import WorkloadEntrySpec

Resolution = Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]

_RESOLVED = NotYet(
    but=(None, "NONE", "STATIC"),  # NONE: the rules say what comes of it
    hint="sidecars do not look names up: requests to them are answered with an error",
)
_OWN_ADDRESS = NotYet(
    hint="each caller reaches the service at an address of its own, given in its environment"
)


class ServicePort(Schema):
    number: Port
    name: Annotated[str, Field(max_length=256)]
    protocol: Annotated[str | None, Field(max_length=256)] = None
    target_port: Port | None = None


class WorkloadSelector(Schema):
    labels: Annotated[Labels | None, Field(max_length=256)] = None


class ServiceEntrySpec(Schema):
    hosts: Annotated[list[str], Field(min_length=1, max_length=256)]
    addresses: Annotated[list[str] | None, Field(max_length=256), _OWN_ADDRESS] = None
    ports: Annotated[list[ServicePort] | None, Field(max_length=256)] = None
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] | None = None
    resolution: Annotated[Resolution | None, _RESOLVED] = None
    endpoints: Annotated[list[WorkloadEntrySpec] | None, Field(max_length=4096)] = None
    workload_selector: WorkloadSelector | None = None
    export_to: list[str] | None = None
    subject_alt_names: Annotated[list[str] | None, not_yet] = None
