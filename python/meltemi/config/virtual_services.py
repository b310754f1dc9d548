"""`VirtualService` as the model has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from meltemi.config.check import Object
from meltemi.config.rules.names import full_host
from meltemi.config.schema import virtual_service as schema
from meltemi.config.schema.types import pairs, seconds, texts
from meltemi.model import (
    Destination,
    HeaderChanges,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    Retries,
    StringMatch,
    VirtualService,
)

MESH: Final = "mesh"
"""The gateway that stands for all callers inside the mesh."""

_ANY: Final = "*"  # as a regex of a header, Istio reads it as: present


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
        request, response = _headers(route.headers)
        yield HttpRoute(
            name=route.name or "",
            matches=tuple(_match(match) for match in wanted),
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
        to = each.destination
        port = to.port.number if to.port else None
        request, response = _headers(each.headers)
        yield HttpDestination(
            Destination(full_host(to.host, namespace), to.subset or "", port or None),
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
