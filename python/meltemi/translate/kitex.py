"""What Kitex's xDS client reads of routes, and how it is told the same with that
(kitex-contrib/xds: core/xdsresource, xdssuite).

It knows a path by equality or any path; of a header exact, prefix and regex, which it searches for
instead of matching the whole value; a condition that it does not know is no condition at all. So
every regex is anchored, presence is a regex, and a match that cannot be said is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from meltemi.model import (
    Destination,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    MetaRoute,
    MetaRouter,
    Retries,
    StringMatch,
)
from meltemi.translate import retries
from meltemi.translate.http_matches import CannotMatchError, is_value
from meltemi.translate.routes import cluster_of
from meltemi.translate.virtual_services import HttpRules

ANY_PATH: Final[Mapping[str, Any]] = {"prefix": "/"}
"""Any other prefix matches nothing."""

CALL_METHOD: Final = "POST"
"""Of every call, as gRPC has it; Kitex has no such header."""

MOST_RETRIES: Final = 5
"""Kitex refuses a policy with more."""

SMALLEST_WEIGHT: Final = 10
SMALLEST_TOTAL: Final = 100
FINE_TOTAL: Final = 10_000
"""Kitex gives the first cluster one part too many, and the last one too few. One of a hundred does
not matter but to a cluster that has few of them: then the same shares are said in smaller parts."""

_ANY_REGEX = frozenset((".*", "/.*", ".+", "/.+"))

_ANY_METHOD = StringMatch("present")

_NO_METADATA = frozenset(("method", "service"))
"""Attributes of a MetaRouter that are not among the metadata of a call of Kitex."""


def matches(of: HttpMatch) -> list[dict[str, Any]]:
    """The RouteMatch that Kitex reads as `of`; empty where no call can match.

    Raises CannotMatchError."""
    if of.unsupported:
        raise CannotMatchError(f"{', '.join(of.unsupported)} is not there yet")
    if of.without_headers:
        name = of.without_headers[0][0]
        raise CannotMatchError(f"Kitex cannot test that header {name} is not there or differs")
    path = _path(of)
    if of.method is not None and not is_value(of.method, CALL_METHOD):
        return []
    twice = [name for name, count in Counter(name for name, _ in of.headers).items() if count > 1]
    if twice:
        raise CannotMatchError(f"Kitex takes one condition a header, and {twice[0]} has more")
    headers = [_header(name, condition) for name, condition in of.headers]
    return [path | ({"headers": headers} if headers else {})]


def weighted(destinations: Iterable[HttpDestination]) -> list[tuple[HttpDestination, int]]:
    """Destinations and their weights, the heaviest first: see FINE_TOTAL."""
    ordered = sorted(destinations, key=lambda each: -each.weight)
    total = sum(each.weight for each in ordered)
    parts = 1
    if len(ordered) > 1 and (total < SMALLEST_TOTAL or ordered[-1].weight < SMALLEST_WEIGHT):
        parts = -(-FINE_TOTAL // total)
    return [(each, each.weight * parts) for each in ordered]


def retry_policy(wanted: Retries | None) -> tuple[dict[str, Any], list[str]]:
    """Always one: a route without would keep the policy of the last version, and Kitex does not ask
    whether a call may be repeated. None by default."""
    if wanted is None or not wanted.attempts:
        return {"num_retries": {"value": 0}}, []
    made, lacking = retries.policy(wanted, grpc=False)
    if wanted.attempts > MOST_RETRIES:
        made["num_retries"] = {"value": MOST_RETRIES}
        lacking = [*lacking, f"Kitex tries {MOST_RETRIES + 1} times at most"]
    return made, lacking


def rules_of(router: MetaRouter) -> HttpRules:
    """The routes of a MetaRouter, whose attributes are the metadata of a call. Without those by
    method, which are the listener's."""
    routes = tuple(_route(route) for route in router.routes if not _is_by_method(route))
    return HttpRules(router.namespace, router.name, routes, ())


def thrift_routes(router: MetaRouter | None, port: int) -> list[dict[str, Any]]:
    """The routes of Envoy's Thrift proxy, which Kitex tries first and which know a method: all of
    the MetaRouter's that Kitex can test, in their order. None where no route is by method."""
    if router is None or not any(map(_is_by_method, router.routes)):
        return []
    made = []
    for route in router.routes:
        conditions = dict(route.match)
        method = conditions.pop("method", _ANY_METHOD)
        if method.kind not in ("exact", "present") or "service" in conditions:
            continue
        match: dict[str, Any] = {"method_name": method.value if method.kind == "exact" else ""}
        if conditions:
            match["headers"] = [_header(name, each) for name, each in conditions.items()]
        made.append({"match": match, "route": _thrift_action(route, port)})
    return made


def _is_by_method(route: MetaRoute) -> bool:
    conditions = dict(route.match)
    return conditions.get("method", _ANY_METHOD).kind == "exact" and "service" not in conditions


def _thrift_action(route: MetaRoute, port: int) -> dict[str, Any]:
    clusters = {each.destination: cluster_of(each, port) for each in route.destinations}
    if len(route.destinations) == 1:
        return {"cluster": clusters[route.destinations[0].destination]}
    shares = weighted(
        HttpDestination(each.destination, each.weight) for each in route.destinations if each.weight
    )
    return {
        "weighted_clusters": {
            "clusters": [
                {"name": clusters[each.destination], "weight": {"value": weight}}
                for each, weight in shares
            ]
        }
    }


def _route(route: MetaRoute) -> HttpRoute:
    lacking = [name for name, _ in route.match if name in _NO_METADATA]
    unsupported = tuple(f"attribute {name} of Kitex's calls" for name in lacking)
    match = HttpMatch(headers=route.match, unsupported=unsupported)
    return HttpRoute(
        name=route.name,
        matches=(match,) if route.match else (),
        destinations=tuple(
            HttpDestination(Destination(to.host, to.subset, to.port), each.weight)
            for each in route.destinations
            for to in (each.destination,)
        ),
    )


def _path(of: HttpMatch) -> dict[str, Any]:
    if of.uri is None:
        return dict(ANY_PATH)
    kind, value = of.uri.kind, of.uri.value
    if kind == "present" or (kind == "prefix" and value in ("", "/")):
        return dict(ANY_PATH)
    if kind == "regex" and value in _ANY_REGEX:
        return dict(ANY_PATH)
    if kind == "exact" and not (of.ignore_uri_case and value.lower() != value.upper()):
        return {"path": value}
    case = ", and with its case" if kind == "exact" else ""
    raise CannotMatchError(f"Kitex tests a path for equality alone{case}")


def _header(name: str, condition: StringMatch) -> dict[str, Any]:
    if condition.value and condition.kind in ("exact", "prefix"):
        return {"name": name, "string_match": {condition.kind: condition.value}}
    match condition.kind:
        case "regex":
            regex = f"^(?:{condition.value})$"
        case "exact":
            regex = "^$"
        case _:
            regex = "^.*$"
    return {"name": name, "string_match": {"safe_regex": {"regex": regex}}}
