"""`metadata` of any object (Kubernetes ObjectMeta)."""

from __future__ import annotations

from typing import Any

from meltemi.config.schema.types import Integer, Labels, Schema


class Metadata(Schema):
    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    labels: Labels | None = None
    annotations: Labels | None = None
    # What a server writes and `kubectl get -o yaml` shows: read, and of no meaning here.
    uid: str | None = None
    resource_version: str | None = None
    generation: Integer | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: Integer | None = None
    finalizers: list[str] | None = None
    owner_references: list[dict[str, Any]] | None = None
    managed_fields: list[dict[str, Any]] | None = None
    self_link: str | None = None
