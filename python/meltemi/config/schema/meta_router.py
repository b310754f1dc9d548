"""`MetaRouter` of metaprotocol.aeraki.io, as its documentation means it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meltemi.config.schema.types import (
    AnyDuration,
    Port,
    PositiveDuration,
    Schema,
    UInt32,
    not_yet,
)

Text = Annotated[str, Field(min_length=1)]


class StringMatch(Schema):
    """One of the three; none of them means that the attribute is present."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class Match(Schema):
    attributes: dict[str, StringMatch] | None = None


class PortSelector(Schema):
    number: Port | None = None


class Destination(Schema):
    host: str
    subset: str | None = None
    port: PortSelector | None = None


class RouteDestination(Schema):
    destination: Destination
    weight: UInt32 | None = None


class Mutation(Schema):
    """Sets an attribute, or takes it out: one of the two (`remove` is ours, not Aeraki's)."""

    key: Text
    value: Text | None = None
    remove: bool | None = None


class Percent(Schema):
    value: float | None = None


class Route(Schema):
    name: str | None = None
    match: Match | None = None
    route: list[RouteDestination] | None = None
    mirror: Annotated[Destination | None, not_yet] = None
    mirror_percentage: Annotated[Percent | None, not_yet] = None
    request_mutation: list[Mutation] | None = None
    response_mutation: list[Mutation] | None = None


class TokenBucket(Schema):
    max_tokens: Annotated[UInt32, Field(ge=1)]
    tokens_per_fill: Annotated[UInt32 | None, Field(ge=1)] = None
    fill_interval: PositiveDuration


class Condition(Schema):
    match: Match
    token_bucket: TokenBucket


class LocalRateLimit(Schema):
    token_bucket: TokenBucket | None = None
    conditions: list[Condition] | None = None


class Descriptor(Schema):
    property: Text
    descriptor_key: Text


class GlobalRateLimit(Schema):
    match: Match | None = None
    domain: Text
    request_timeout: AnyDuration | None = None
    deny_on_fail: bool | None = None
    rate_limit_service: Text
    descriptors: Annotated[list[Descriptor], Field(min_length=1)]


class MetaRouterSpec(Schema):
    hosts: Annotated[list[str], Field(min_length=1, max_length=1)]
    gateways: Annotated[list[str] | None, not_yet] = None
    routes: list[Route] | None = None
    local_rate_limit: LocalRateLimit | None = None
    global_rate_limit: Annotated[GlobalRateLimit | None, not_yet] = None
    export_to: list[str] | None = None
