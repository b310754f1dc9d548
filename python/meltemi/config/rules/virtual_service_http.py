"""Istio's rules for the http routes of a `VirtualService`: what they match, and where they go.

What they do besides (retries, faults, rewrites): `virtual_service_actions`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules import names, virtual_service_actions
from meltemi.config.rules.meta_router import regular_expression
from meltemi.config.rules.virtual_service_actions import header_name, operations

MESH: Final = "mesh"

_KINDS = ("exact", "prefix", "regex")
_OF_REQUEST = ("uri", "scheme", "method", "authority")
_HEADERS = ("headers", "withoutHeaders")
_NO_CONDITIONS = frozenset(("name", "statPrefix", "ignoreUriCase"))
_INSTEAD = ("redirect", "directResponse", "delegate")
_ANY = "*"  # as a regex of a header, Istio reads it as: present


def check(routes: Place) -> Iterator[Finding]:
    for route in routes.items:
        yield from _route(route)
    yield from _unreachable(routes)


def _route(route: Place) -> Iterator[Finding]:
    for match in route["match"].items:
        yield from _match(match)
        if route["redirect"]["prefixRewrite"].text:
            for kind in ("exact", "regex"):
                if match["uri"][kind].there:
                    yield route["redirect"]["prefixRewrite"].error(
                        "bad-value",
                        f"prefixRewrite does not go with uri.{kind}",
                        "uri: {prefix: /}",
                    )
    given = [field for field in ("route", *_INSTEAD) if _given(route[field])]
    if not given:
        hint = "route: [destination: …]"
        message = "the route has no destination"
        if route["fault"].there:  # the API server takes it
            yield route.warning("no-effect", f"{message}: it matches nothing", hint)
        else:
            yield route.error("missing-field", message, hint)
    for other in given[1:]:
        yield route[other].error("one-of", f"{given[0]} and {other} exclude each other")
    yield from destinations(route["route"])
    yield from virtual_service_actions.check(route)
    for mirror in (route["mirror"], *(each["destination"] for each in route["mirrors"].items)):
        yield from _destination(mirror)


def _given(field: Place) -> bool:
    return bool(field.value) if isinstance(field.value, list) else field.there


def _match(match: Place) -> Iterator[Finding]:
    for field in _OF_REQUEST:
        yield from string_match(match[field])
    for field in _HEADERS:
        for name, condition in match[field].entries:
            yield from header_name(name, condition)
            if condition["regex"].text != _ANY:
                yield from string_match(condition)
    for name, condition in match["queryParams"].entries:
        if not name:
            yield condition.error("missing-field", "the name of the parameter is empty")
        yield from string_match(condition)
    yield from caller(match)


def string_match(match: Place) -> Iterator[Finding]:
    """Istio's StringMatch: at most one of its kinds, a prefix that is one, a valid expression."""
    given = [kind for kind in _KINDS if match[kind].there]
    if len(given) > 1:
        yield match.error("one-of", f"{' and '.join(given)} exclude each other")
    prefix, regex = match["prefix"], match["regex"]
    if prefix.value == "":
        yield prefix.error("bad-value", "the prefix is empty", "leave the condition out")
    if isinstance(regex.value, str):
        yield from regular_expression(regex)


def caller(match: Place) -> Iterator[Finding]:
    """Of which caller, through which gateway, to which port."""
    port = match["port"]
    if port.number > 65_535:
        yield port.error("bad-value", f"{port.value} is no port")
    yield from names.labels(match["sourceLabels"])
    for gateway in match["gateways"].items:
        wrong = gateway_error(gateway.text)
        if wrong:
            yield gateway.error("invalid-gateway", wrong, "NAMESPACE/NAME, or mesh")
    namespace = match["sourceNamespace"]
    if namespace.text and not names.is_label(namespace.text):
        yield namespace.error("bad-value", f"{namespace.text!r} is not a namespace")


def gateway_error(text: str) -> str | None:
    """What is wrong with the name of a gateway: `mesh`, `NAME`, `NAMESPACE/NAME` or a host."""
    namespace, slash, name = text.rpartition("/")
    if slash and not (namespace == "." or names.is_label(namespace)):
        return f"{text!r} is not a gateway: {namespace!r} is not a namespace"
    if names.host_error(name):
        return f"{text!r} is not a gateway"
    return None


def destinations(route: Place) -> Iterator[Finding]:
    """Of any route: who they are, and their weights."""
    total = 0.0
    given = list(route.items)
    for each in given:
        yield from _destination(each["destination"])
        for side in ("request", "response"):
            yield from operations(each["headers"][side])
        weight = each["weight"]
        if weight.number < 0:
            yield weight.error("bad-weights", f"weight {weight.value} is less than 0")
        total += weight.number
    if len(given) > 1 and total == 0:
        yield route.error("bad-weights", "the weights add up to 0", "such as 20 and 80")


def _destination(destination: Place) -> Iterator[Finding]:
    host = destination["host"]
    if isinstance(host.value, str):
        wrong = "a destination is one service" if host.text == "*" else None
        wrong = wrong or names.wildcard_host_error(host.text)
        if wrong:
            yield host.error("invalid-host", wrong, "the name of a service")
    subset = destination["subset"]
    if subset.text and not names.is_label(subset.text):
        yield subset.error("invalid-subset", f"{subset.text!r} is not the name of a subset")
    number = destination["port"]["number"]
    if destination["port"].there and not 0 < number.number < 65_536:
        yield number.error("missing-field", "number is missing or no port", "port: {number: 9090}")


def _unreachable(routes: Place) -> Iterator[Finding]:
    """What an earlier route takes already."""
    catch_all = False
    taken: list[Any] = []
    for route in routes.items:
        if catch_all:
            yield route.warning(
                "unreachable-route", "no request comes here: one before matches every request",
                "put the route without a match last",
            )  # fmt: skip
            continue
        catch_all = not route["match"].value
        for match in route["match"].items:
            if any(_takes(earlier, match) for earlier in taken):
                yield match.warning(
                    "unreachable-route", "no request comes here: a match before takes them all",
                    "put the narrower match first",
                )  # fmt: skip
            elif isinstance(match.value, dict):
                taken.append(_conditions(match))


def _conditions(match: Place) -> dict[str, Any]:
    return {
        name: place.value
        for name, place in match.entries
        if name not in _NO_CONDITIONS and place.value not in (None, "", 0, {}, [])
    }


def _takes(earlier: dict[str, Any], match: Place) -> bool:
    """Whether every request of `match` was taken before, as far as is easily told."""
    later = _conditions(match)
    uri, wanted = earlier.get("uri"), later.get("uri")
    others = {name: value for name, value in earlier.items() if name != "uri"}
    if any(later.get(name) != value for name, value in others.items()):
        return False
    if uri is None or uri == wanted:
        return not (match["ignoreUriCase"].true and uri is not None)
    if not (isinstance(uri, dict) and isinstance(wanted, dict)) or match["ignoreUriCase"].true:
        return False
    prefix, narrow = uri.get("prefix"), wanted.get("prefix") or wanted.get("exact")
    return isinstance(prefix, str) and isinstance(narrow, str) and narrow.startswith(prefix)
