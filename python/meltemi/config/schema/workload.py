"""`Workload` of meltemi.io: one process of the mesh, as a Pod is in Kubernetes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meltemi.config.schema.types import Integer, Labels, Port, Schema

MAX_REPLICAS = 1000


class WorkloadPort(Schema):
    name: Annotated[str, Field(min_length=1)]
    port: Port
    host_port: Port | None = None


class WorkloadSpec(Schema):
    command: list[str] | None = None
    env: Labels | None = None
    ports: list[WorkloadPort] | None = None
    replicas: Annotated[Integer | None, Field(ge=0, le=MAX_REPLICAS)] = None
    mesh: Literal["sidecar", "proxyless", "gateway", "none"] | None = None
