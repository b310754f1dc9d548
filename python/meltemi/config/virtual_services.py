"""`VirtualService` as the model has it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from meltemi.config.check import Object
from meltemi.config.gateways import MESH, full_names
from meltemi.config.rules.names import full_host
from meltemi.config.rules.virtual_service_actions import GRPC_STATUS
from meltemi.config.schema import virtual_service as schema
from meltemi.config.schema.types import pairs, seconds, texts
from meltemi.model import (
    Cors,
    Destination,
    DirectResponse,
    Fault,
    HeaderChanges,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    Mirror,
    Redirect,
    Retries,
    Rewrite,
    StringMatch,
    VirtualService,
)

_ANY: Final = "*"  # as a regex of a header, Istio reads it as: present
_ALL: Final = 1_000_000

REDIRECTS: Final = (301, 302, 303, 307, 308)
"""The codes that a redirect may have."""


def virtual_service(item: Object) -> VirtualService | None:
    """None for one without http routes for the mesh: of gateways only, of TCP, or a delegate."""
    spec: schema.VirtualServiceSpec = item.spec
    if not (spec.hosts and spec.http and holds_for_mesh(spec)):
        return None
    namespace = item.ref.namespace
    return VirtualService(
        namespace=namespace,
        name=item.ref.name,
        hosts=hosts(spec, namespace),
        routes=tuple(_routes(spec.http, namespace)),
        export_to=texts(spec.export_to),
    )


def at_gateways(item: Object) -> VirtualService | None:
    """What it says to gateways; None for one that names none, or without http routes."""
    spec: schema.VirtualServiceSpec = item.spec
    namespace = item.ref.namespace
    gateways = full_names(spec.gateways, namespace)
    if not (spec.hosts and spec.http and gateways):
        return None
    return VirtualService(
        namespace=namespace,
        name=item.ref.name,
        hosts=hosts(spec, namespace),
        routes=tuple(_gateway_routes(spec.http, namespace)),
        export_to=texts(spec.export_to),
        gateways=gateways,
    )


def holds_for_mesh(spec: schema.VirtualServiceSpec) -> bool:
    """Without `gateways` it does."""
    return not spec.gateways or MESH in spec.gateways


def hosts(spec: schema.VirtualServiceSpec, namespace: str) -> tuple[str, ...]:
    """Fully qualified."""
    return tuple(full_host(host, namespace) for host in spec.hosts or ())


def _routes(routes: list[schema.HttpRoute], namespace: str) -> Iterator[HttpRoute]:
    for route in routes:
        wanted = [
            match for match in route.match or () if not match.gateways or MESH in match.gateways
        ]
        if route.match and not wanted:
            continue  # for gateways only
        refused = _refused(route)
        if not (route.route or refused):
            continue  # of a fault alone
        yield _route(route, namespace, (_match(match) for match in wanted), refused)


def _gateway_routes(routes: list[schema.HttpRoute], namespace: str) -> Iterator[HttpRoute]:
    for route in routes:
        wanted = [match for match in route.match or () if not match.gateways or _outside(match)]
        if route.match and not wanted:
            continue  # for the mesh only
        matches = (_match_at_gateway(match, namespace) for match in wanted)
        refused = _refused_at_gateway(route)
        yield replace(
            _route(route, namespace, matches, refused),
            redirect=_redirect(route.redirect) if route.redirect else None,
            direct_response=_answer(route.direct_response) if route.direct_response else None,
            rewrite=_rewrite(route.rewrite) if route.rewrite else None,
            fault=_fault(route.fault) if route.fault else None,
            mirrors=tuple(_mirrors(route, namespace)),
            cors=_cors(route.cors_policy) if route.cors_policy else None,
        )


def _refused_at_gateway(route: schema.HttpRoute) -> str:
    if route.delegate is not None:
        return "delegate is not there yet"
    code = route.redirect.redirect_code if route.redirect else None
    return f"redirectCode {code} is not there yet" if code and code not in REDIRECTS else ""


def _outside(match: schema.HttpMatch) -> bool:
    return any(gateway != MESH for gateway in match.gateways or ())


def _route(
    route: schema.HttpRoute, namespace: str, matches: Iterable[HttpMatch], refused: str
) -> HttpRoute:
    """What means the same in the mesh and at a gateway."""
    request, response = _headers(route.headers)
    return HttpRoute(
        name=route.name or "",
        matches=tuple(matches),
        destinations=tuple(_destinations(route.route or [], namespace)),
        timeout_s=seconds(route.timeout),
        retries=_retries(route.retries),
        request=request,
        response=response,
        refused=refused,
    )


def _refused(route: schema.HttpRoute) -> str:
    for field, given in (
        ("redirect", route.redirect),
        ("directResponse", route.direct_response),
        ("delegate", route.delegate),
    ):
        if given is not None:
            return f"{field} is not there yet"
    return ""


def _match(match: schema.HttpMatch) -> HttpMatch:
    unsupported = {
        "scheme": match.scheme,
        "authority": match.authority,
        "queryParams": match.query_params,
    }
    return HttpMatch(
        name=match.name or "",
        uri=_condition(match.uri),
        ignore_uri_case=bool(match.ignore_uri_case),
        method=_condition(match.method),
        headers=_conditions(match.headers),
        without_headers=_conditions(match.without_headers),
        port=match.port or None,
        source_labels=pairs(match.source_labels),
        source_namespace=match.source_namespace or "",
        unsupported=tuple(name for name, given in unsupported.items() if given),
    )


def _match_at_gateway(match: schema.HttpMatch, namespace: str) -> HttpMatch:
    """A gateway decides all of them."""
    params = {name: _condition(each) for name, each in (match.query_params or {}).items()}
    return replace(
        _match(match),
        unsupported=(),
        gateways=full_names(match.gateways, namespace),
        scheme=_condition(match.scheme),
        authority=_condition(match.authority),
        query_params=tuple(
            (name, condition or StringMatch("present"))
            for name, condition in sorted(params.items())
        ),
    )


def _condition(match: schema.StringMatch | None) -> StringMatch | None:
    """Of what every request has: `{}` asks for nothing."""
    if match is None:
        return None
    if match.exact is not None:
        return StringMatch("exact", match.exact)
    if match.prefix is not None:
        return StringMatch("prefix", match.prefix)
    return StringMatch("regex", match.regex) if match.regex is not None else None


def _conditions(
    headers: Mapping[str, schema.StringMatch] | None,
) -> tuple[tuple[str, StringMatch], ...]:
    """`{}` and the regex `*` mean that the header is there, as in Istio."""
    made = []
    for name, match in sorted((headers or {}).items(), key=lambda item: item[0].lower()):
        condition = _condition(match)
        if condition is None or (condition.kind, condition.value) == ("regex", _ANY):
            condition = StringMatch("present")
        made.append((name.lower(), condition))
    return tuple(made)


def _destinations(
    destinations: list[schema.HttpRouteDestination], namespace: str
) -> Iterator[HttpDestination]:
    """The only one of a route gets every request, whatever its weight."""
    for each in destinations:
        request, response = _headers(each.headers)
        yield HttpDestination(
            _destination(each.destination, namespace),
            100 if len(destinations) == 1 else each.weight or 0,
            request,
            response,
        )


def _retries(retries: schema.Retries | None) -> Retries | None:
    if retries is None:
        return None
    conditions = (part.strip() for part in (retries.retry_on or "").split(","))
    return Retries(
        retries.attempts or 0,
        tuple(part for part in conditions if part),
        seconds(retries.per_try_timeout),
        seconds(retries.backoff),
    )


def _headers(headers: schema.Headers | None) -> tuple[HeaderChanges, HeaderChanges]:
    """Of requests, of responses."""
    if headers is None:
        return HeaderChanges(), HeaderChanges()
    return _changes(headers.request), _changes(headers.response)


def _changes(operations: schema.HeaderOperations | None) -> HeaderChanges:
    if operations is None:
        return HeaderChanges()
    return HeaderChanges(
        _lower(operations.set),
        _lower(operations.add),
        tuple(name.lower() for name in operations.remove or ()),
    )


def _lower(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in pairs(headers))


def _redirect(said: schema.Redirect) -> Redirect:
    return Redirect(
        code=said.redirect_code or 301,
        uri=said.uri or "",
        prefix_rewrite=said.prefix_rewrite or "",
        authority=said.authority or "",
        scheme=said.scheme or "",
        port="request" if said.derive_port == "FROM_REQUEST_PORT" else said.port or None,
    )


def _answer(said: schema.DirectResponse) -> DirectResponse:
    body = said.body
    if body is None:
        return DirectResponse(said.status)
    if body.string is not None:
        return DirectResponse(said.status, body.string.encode())
    try:
        return DirectResponse(said.status, base64.b64decode(body.bytes or ""))
    except binascii.Error:
        return DirectResponse(said.status)


def _rewrite(said: schema.Rewrite) -> Rewrite:
    regex = said.uri_regex_rewrite
    return Rewrite(
        uri=said.uri or "",
        authority=said.authority or "",
        regex=(regex.match or "", regex.rewrite or "") if regex is not None else None,
    )


def _fault(said: schema.Fault) -> Fault:
    delay, abort = said.delay or schema.Delay(), said.abort or schema.Abort()
    grpc_status = GRPC_STATUS.index(abort.grpc_status) if abort.grpc_status else None
    return Fault(
        delay_s=seconds(delay.fixed_delay) or 0,
        delay_share=_millionths(delay.percentage, delay.percent) if delay.fixed_delay else 0,
        abort_status=abort.http_status,
        abort_grpc_status=grpc_status,
        abort_share=_millionths(abort.percentage, None) if said.abort else 0,
    )


def _mirrors(route: schema.HttpRoute, namespace: str) -> Iterator[Mirror]:
    if route.mirror is not None:
        share = _millionths(route.mirror_percentage, route.mirror_percent)
        yield Mirror(_destination(route.mirror, namespace), share)
    for each in route.mirrors or ():
        yield Mirror(_destination(each.destination, namespace), _millionths(each.percentage, None))


def _cors(said: schema.CorsPolicy) -> Cors:
    """`allowOrigin` is the older form of exact `allowOrigins`."""
    origins = [condition for each in said.allow_origins or () if (condition := _condition(each))]
    origins += [StringMatch("exact", each) for each in said.allow_origin or ()]
    return Cors(
        tuple(origins),
        texts(said.allow_methods),
        texts(said.allow_headers),
        texts(said.expose_headers),
        seconds(said.max_age),
        said.allow_credentials,
        said.unmatched_preflights != "IGNORE",
    )


def _millionths(said: schema.Percent | None, percent: int | None) -> int:
    """All of them where nothing is said."""
    if said is not None:
        return round((said.value or 0) * 10_000)
    return _ALL if percent is None else percent * 10_000


def _destination(to: schema.Destination, namespace: str) -> Destination:
    port = to.port.number if to.port else None
    return Destination(full_host(to.host, namespace), to.subset or "", port or None)
