"""Routes and matches that no request reaches, since an earlier one takes all of theirs.

Istio's own findings have Istio's codes (IST0130, IST0131: pkg/config/validation): a match that is
there twice, or a prefix behind a shorter one. What it does not see has codes of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meltemi.config import Issue, Object
from meltemi.config.schema.meta_router import MetaRouterSpec
from meltemi.config.schema.virtual_service import VirtualServiceSpec

UNREACHABLE: Final = "IST0130"
INEFFECTIVE: Final = "IST0131"

_NO_CONDITION: Final = frozenset(("name", "uri", "ignoreUriCase", "statPrefix"))
_ALL_OF = frozenset(("headers", "withoutHeaders", "queryParams", "sourceLabels"))
"""Fields whose entries hold together."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A match that came before."""

    where: str
    match: dict[str, Any]


def of_virtual_service(item: Object, spec: VirtualServiceSpec) -> Iterator[Issue]:
    """Of each kind of routes in it."""
    for kind in ("http", "tls", "tcp"):
        routes = item.raw["spec"].get(kind) or ()
        yield from _of_routes(item, kind, routes)


def of_meta_router(item: Object, spec: MetaRouterSpec) -> Iterator[Issue]:
    """A route has one match: attributes that hold together."""
    seen: list[tuple[str, dict[str, Any]]] = []
    for number, route in enumerate(item.raw["spec"].get("routes") or ()):
        attributes = (route.get("match") or {}).get("attributes") or {}
        place = ("spec", "routes", number)
        for name, earlier in seen:
            if _holds_more(earlier, attributes):
                message = (
                    f"route {_name(route, number)} is never reached: {name} takes its requests"
                )
                yield item.issue(place, "warning", "unreachable-route", message, "put it before")
                break
        seen.append((_name(route, number), attributes))


def _of_routes(item: Object, kind: str, routes: Sequence[dict[str, Any]]) -> Iterator[Issue]:
    seen: list[_Seen] = []
    whole = ""
    for number, route in enumerate(routes):
        place, name = ("spec", kind, number), _name(route, number, kind)
        matches = route.get("match") or ()
        if whole:
            istio = not matches
            yield item.issue(
                place, "warning", UNREACHABLE if istio else "unreachable-route",
                f"route {name} is never reached: {whole} has no match and takes every request",
                "only the last route may have no match",
            )  # fmt: skip
            continue
        if not matches:
            whole = name
        taken = 0
        for position, match in enumerate(matches):
            found = _taken(kind, match, seen)
            if found is not None:
                code, earlier = found
                taken += 1
                yield item.issue(
                    (*place, "match", position), "warning", code,
                    f"match {position} of route {name} is never reached: "
                    f"{earlier.where} takes its requests",
                    "put the narrower one before, or take it out",
                )  # fmt: skip
            seen.append(_Seen(f"match {position} of route {name}", match))
        if matches and taken == len(matches):
            yield from _all_taken(item, place, name, kind, matches, seen[: -len(matches)])


def _all_taken(
    item: Object,
    place: tuple[str | int, ...],
    name: str,
    kind: str,
    matches: Sequence[dict[str, Any]],
    before: list[_Seen],
) -> Iterator[Issue]:
    """Istio says it of a route whose every match is there already."""
    same = all(any(_same(match, earlier.match) for earlier in before) for match in matches)
    if same:
        message = f"route {name} is never reached: all its matches are those of earlier routes"
        yield item.issue(place, "warning", UNREACHABLE, message, "take it out")


def _taken(kind: str, match: dict[str, Any], seen: list[_Seen]) -> tuple[str, _Seen] | None:
    """The first earlier match that takes all requests of this one, and how to call that."""
    for earlier in seen:
        if _same(earlier.match, match):
            return INEFFECTIVE, earlier
        if kind == "http" and _covers(earlier.match, match):
            prefixes = all((each.get("uri") or {}).get("prefix") for each in (earlier.match, match))
            return INEFFECTIVE if prefixes else "covered-match", earlier
    return None


def _same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return _text(left) == _text(right)


def _text(match: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in match.items() if k != "name"}, sort_keys=True, default=str)


def _covers(wide: dict[str, Any], narrow: dict[str, Any]) -> bool:
    """Whether whatever fulfils `narrow` fulfils `wide`; False where that is not certain."""
    if not _uri_covers(wide, narrow):
        return False
    for name, wanted in wide.items():
        if name in _NO_CONDITION or not wanted:
            continue
        given = narrow.get(name)
        if name in _ALL_OF:
            if not isinstance(given, dict) or not _holds_more(wanted, given):
                return False
        elif given != wanted:
            return False
    return True


def _uri_covers(wide: dict[str, Any], narrow: dict[str, Any]) -> bool:
    outer, inner = wide.get("uri") or {}, narrow.get("uri") or {}
    if not outer or outer == {"prefix": "/"}:
        return True
    case = bool(wide.get("ignoreUriCase"))
    if case != bool(narrow.get("ignoreUriCase")):
        return False
    prefix = outer.get("prefix")
    if prefix is None:
        return bool(outer == inner)
    begins = inner.get("prefix") or inner.get("exact") or ""
    if case:
        prefix, begins = prefix.lower(), begins.lower()
    return bool(begins.startswith(prefix))


def _holds_more(wide: dict[str, Any], narrow: dict[str, Any]) -> bool:
    """Whether `narrow` asks for all that `wide` asks for."""
    return all(name in narrow and narrow[name] == wanted for name, wanted in wide.items())


def _name(route: dict[str, Any], number: int, kind: str = "routes") -> str:
    return repr(route["name"]) if route.get("name") else f"{kind}[{number}]"
