"""`VirtualService` of networking.istio.io.

Source: istio/api networking/v1alpha3/virtual_service.proto and its CRD."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from meltemi.config.schema.types import (
    Duration,
    DurationOrZero,
    Int32,
    Labels,
    NotYet,
    Schema,
    UInt32,
    not_yet,
)


def _at_gateways(spec: Any) -> bool:
    """Whether a rule is for gateways alone, which do all that HTTP proxies do."""
    gateways = spec.get("gateways") if isinstance(spec, dict) else None
    return isinstance(gateways, list) and bool(gateways) and "mesh" not in gateways


_NO_MATCH = NotYet(
    hint="for callers in the mesh the match is left out: it takes no request", unless=_at_gateways
)
_ANSWERED = NotYet(
    hint="requests of the route from inside the mesh are answered with an error",
    unless=_at_gateways,
)
_NOT_IN_MESH = NotYet(hint="it holds at gateways only", unless=_at_gateways)
_NEVER = NotYet(hint="requests of the route are answered with an error")
_MESH_ONLY = NotYet(hint="only http routes have an effect, and on clients without a sidecar")


class StringMatch(Schema):
    """One of the three; of a header, none of them means that it is present."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class PortSelector(Schema):
    number: UInt32 | None = None


class Destination(Schema):
    host: str
    subset: str | None = None
    port: PortSelector | None = None


class HeaderOperations(Schema):
    set: Labels | None = None
    add: Labels | None = None
    remove: list[str] | None = None


class Headers(Schema):
    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class RouteDestination(Schema):
    """Of a tcp or tls route."""

    destination: Destination
    weight: Int32 | None = None


class HttpRouteDestination(Schema):
    destination: Destination
    weight: Int32 | None = None
    headers: Headers | None = None


class HttpMatch(Schema):
    name: str | None = None
    uri: StringMatch | None = None
    scheme: Annotated[StringMatch | None, _NO_MATCH] = None
    method: StringMatch | None = None
    authority: Annotated[StringMatch | None, _NO_MATCH] = None
    headers: dict[str, StringMatch] | None = None
    port: UInt32 | None = None
    source_labels: Labels | None = None
    gateways: list[str] | None = None
    query_params: Annotated[dict[str, StringMatch] | None, _NO_MATCH] = None
    ignore_uri_case: bool | None = None
    without_headers: dict[str, StringMatch] | None = None
    source_namespace: str | None = None
    stat_prefix: Annotated[str | None, not_yet] = None


class Percent(Schema):
    value: float | None = None


class Redirect(Schema):
    uri: str | None = None
    authority: str | None = None
    port: UInt32 | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    scheme: str | None = None
    redirect_code: UInt32 | None = None
    prefix_rewrite: str | None = None


class Body(Schema):
    string: str | None = None
    bytes: str | None = None


class DirectResponse(Schema):
    status: UInt32
    body: Body | None = None


class Delegate(Schema):
    name: str | None = None
    namespace: str | None = None


class RegexRewrite(Schema):
    match: str | None = None
    rewrite: str | None = None


class Rewrite(Schema):
    uri: str | None = None
    authority: str | None = None
    uri_regex_rewrite: RegexRewrite | None = None


class Retries(Schema):
    attempts: Int32 | None = None
    per_try_timeout: Duration | None = None
    retry_on: str | None = None
    retry_remote_localities: Annotated[bool | None, not_yet] = None
    retry_ignore_previous_hosts: Annotated[bool | None, not_yet] = None
    backoff: Duration | None = None


class Delay(Schema):
    percent: Int32 | None = None
    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percentage: Percent | None = None


class Abort(Schema):
    http_status: Int32 | None = None
    grpc_status: str | None = None
    http2_error: Annotated[str | None, Field(alias="http2Error")] = None
    percentage: Percent | None = None


class Fault(Schema):
    delay: Delay | None = None
    abort: Abort | None = None


class Mirror(Schema):
    destination: Destination
    percentage: Percent | None = None


class CorsPolicy(Schema):
    allow_origin: list[str] | None = None
    allow_origins: list[StringMatch] | None = None
    allow_methods: list[str] | None = None
    allow_headers: list[str] | None = None
    expose_headers: list[str] | None = None
    max_age: DurationOrZero | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] | None = None


class HttpRoute(Schema):
    name: str | None = None
    match: list[HttpMatch] | None = None
    route: list[HttpRouteDestination] | None = None
    redirect: Annotated[Redirect | None, _ANSWERED] = None
    direct_response: Annotated[DirectResponse | None, _ANSWERED] = None
    delegate: Annotated[Delegate | None, _NEVER] = None
    rewrite: Annotated[Rewrite | None, _NOT_IN_MESH] = None
    timeout: Duration | None = None
    retries: Retries | None = None
    fault: Annotated[Fault | None, _NOT_IN_MESH] = None
    mirror: Annotated[Destination | None, _NOT_IN_MESH] = None
    mirrors: Annotated[list[Mirror] | None, _NOT_IN_MESH] = None
    mirror_percent: Annotated[UInt32 | None, _NOT_IN_MESH] = None
    mirror_percentage: Annotated[Percent | None, _NOT_IN_MESH] = None
    cors_policy: Annotated[CorsPolicy | None, _NOT_IN_MESH] = None
    headers: Headers | None = None


class TlsMatch(Schema):
    sni_hosts: list[str]
    destination_subnets: list[str] | None = None
    port: UInt32 | None = None
    source_labels: Labels | None = None
    gateways: list[str] | None = None
    source_namespace: str | None = None


class TlsRoute(Schema):
    match: list[TlsMatch]
    route: list[RouteDestination] | None = None


class TcpMatch(Schema):
    destination_subnets: list[str] | None = None
    port: UInt32 | None = None
    source_subnet: str | None = None
    source_labels: Labels | None = None
    gateways: list[str] | None = None
    source_namespace: str | None = None


class TcpRoute(Schema):
    match: list[TcpMatch] | None = None
    route: list[RouteDestination] | None = None


class VirtualServiceSpec(Schema):
    hosts: list[str] | None = None
    gateways: list[str] | None = None
    http: list[HttpRoute] | None = None
    tls: Annotated[list[TlsRoute] | None, _MESH_ONLY] = None
    tcp: Annotated[list[TcpRoute] | None, _MESH_ONLY] = None
    export_to: list[str] | None = None
