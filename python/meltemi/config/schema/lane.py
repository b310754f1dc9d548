"""`LaneGroup` and `Lane` of meltemi.io. What is of Istio is in Istio's words."""

from __future__ import annotations

from typing import Literal

from meltemi.config.schema.types import Int32, Labels, Percent, Schema
from meltemi.config.schema.virtual_service import StringMatch

Mode = Literal["permissive", "strict"]


class LaneService(Schema):
    host: str
    mode: Mode | None = None
    fallback: list[str] | None = None


class Baseline(Schema):
    labels: Labels | None = None


class Edge(Schema):
    trusted_sources: list[str] | None = None


class WorkloadSelector(Schema):
    """Either may be left out."""

    namespace: str | None = None
    labels: Labels | None = None


class LaneGroupSpec(Schema):
    services: list[LaneService]
    baggage_key: str | None = None
    baseline: Baseline | None = None
    mode: Mode | None = None
    fallback: list[str] | None = None
    edge: Edge | None = None
    marks_from: list[WorkloadSelector] | None = None


class By(Schema):
    """One of them: what of a request stays the same, and so stays in the share."""

    header: str | None = None
    cookie: str | None = None
    baggage: str | None = None
    source_address: bool | None = None


class Percentage(Schema):
    value: Percent
    by: By | None = None


class Entry(Schema):
    """All conditions hold together."""

    headers: dict[str, StringMatch] | None = None
    cookies: dict[str, StringMatch] | None = None
    query_params: dict[str, StringMatch] | None = None
    uri: StringMatch | None = None
    method: StringMatch | None = None
    source_addresses: list[str] | None = None
    percentage: Percentage | None = None


class LaneSpec(Schema):
    group: str
    labels: Labels | None = None
    entry: list[Entry] | None = None
    enabled: bool | None = None
    priority: Int32 | None = None
    mode: Mode | None = None
