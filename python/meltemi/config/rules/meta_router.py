"""Aeraki's rules for `MetaRouter`, where its webhook and its documentation agree."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules import names

_CONDITIONS = ("exact", "prefix", "regex")

MUTATIONS = ("requestMutation", "responseMutation")
_OF_THE_CALL = ("method", "interface")
"""What routes match and no mutation changes: it is no attachment or header."""

LONGEST_MUTATION_BYTES = 16_384
"""Of a key and of a value: Envoy refuses longer ones (`HeaderValue`), and mutations travel in its
messages."""


def check(spec: Place, namespace: str) -> Iterator[Finding]:
    for host in spec["hosts"].items:
        wrong = names.host_error(host.text) if isinstance(host.value, str) else None
        if wrong:
            yield host.error(
                "invalid-host", wrong, "the full name, such as hello.default.svc.cluster.local"
            )
    limits = spec["localRateLimit"].there or spec["globalRateLimit"].there
    if not (spec["routes"].value or limits):
        yield spec.error(
            "empty-router", "the rule does nothing: no routes and no limits", "add routes"
        )
    yield from _routes(spec["routes"])
    yield from _local_limit(spec["localRateLimit"])
    yield from _match(spec["globalRateLimit"]["match"])
    for gateway in spec["gateways"].items:
        parts = gateway.text.split("/")
        if len(parts) > 2 or any(names.host_error(part) for part in parts):
            yield gateway.error("invalid-gateway", f"{gateway.text!r} is not a gateway", "ns/name")
    yield from names.export_to(spec["exportTo"], namespace, service_entry=True)


def _routes(routes: Place) -> Iterator[Finding]:
    catch_all = None
    for route in routes.items:
        if catch_all is not None:
            yield route.warning(
                "unreachable-route", f"no request comes here: {catch_all} matches every request",
                "put the route without a match last",
            )  # fmt: skip
        elif not route["match"]["attributes"].value:
            catch_all = f"route {route['name'].text!r}" if route["name"].text else "one before"
        yield from _match(route["match"])
        yield from _destinations(route["route"])
        yield from _mirror(route)
        for field in MUTATIONS:
            yield from _mutation(route[field])
        yield from _of_the_call(route["requestMutation"])


def _mutation(changes: Place) -> Iterator[Finding]:
    before: dict[str, Place] = {}
    for change in changes.items:
        yield from _change(change)
        key = change["key"]
        if not key.text:
            continue
        earlier = before.setdefault(key.text.lower(), change)
        if earlier is change:
            continue
        if earlier["remove"].true != change["remove"].true:
            yield key.error(
                "one-of", f"{key.text} is both set and removed", "leave one of them out"
            )
        else:
            yield key.warning(
                "duplicate-value", f"{key.text} comes twice: the last one counts",
                "names compare without case",
            )  # fmt: skip


def _of_the_call(changes: Place) -> Iterator[Finding]:
    for change in changes.items:
        name = change["key"].text
        if name.lower() in _OF_THE_CALL:
            yield change["key"].warning(
                "no-effect", f"the {name.lower()} of a call stands in the call and stays as it is",
                "only a header or an attachment of that name changes",
            )  # fmt: skip


def _change(change: Place) -> Iterator[Finding]:
    value = change["value"]
    if value.there and change["remove"].true:
        yield change.error("one-of", "value and remove exclude each other")
    if isinstance(change.value, dict) and not (value.there or change["remove"].true):
        yield value.error(
            "missing-field", "value is missing", "value: …, or remove: true to take it out"
        )
    for part, name in ((change["key"], "key"), (value, "value")):
        if len(part.text.encode(errors="replace")) > LONGEST_MUTATION_BYTES:
            yield part.error(
                "bad-value", f"{name} is too long, want {LONGEST_MUTATION_BYTES} bytes at most"
            )
        if any(letter in part.text for letter in "\0\r\n"):
            yield part.error(
                "bad-value", f"{name} has a line break or a NUL in it", "one line of text"
            )


def _match(match: Place) -> Iterator[Finding]:
    for name, condition in match["attributes"].entries:
        if not name:
            yield condition.error("missing-field", "the name of the attribute is empty")
        given = [kind for kind in _CONDITIONS if condition[kind].there]
        if len(given) > 1:
            yield condition.error("one-of", f"{' and '.join(given)} exclude each other")
        regex = condition["regex"]
        if isinstance(regex.value, str):
            yield from regular_expression(regex)


def regular_expression(regex: Place) -> Iterator[Finding]:
    """What is wrong with it, as the engine that will run it says."""
    if not regex.text:
        yield regex.error("bad-regex", "the regular expression is empty", "{} means present")
        return
    wrong = _regex_error(regex.text)
    if wrong:
        yield regex.error(
            "bad-regex",
            f"{regex.text!r} is no regular expression: {wrong}",
            "RE2's syntax; it has to match the whole value",
        )


@lru_cache(maxsize=4096)
def _regex_error(pattern: str) -> str | None:
    """What the engine that will run it says; its reason comes behind a picture of the place."""
    from meltemi import engine  # loads the native module: only where there is an expression

    try:
        engine.check_regex(pattern)
    except ValueError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ") if lines else "not understood"
    return None


def _destinations(route: Place) -> Iterator[Finding]:
    destinations = list(route.items)
    if not destinations:
        yield route.error(
            "missing-field", "the route has no destination", "route: [destination: …]"
        )
        return
    total = 0.0
    for item in destinations:
        yield from _destination(item["destination"])
        weight = item["weight"]
        if weight.number > 100:
            yield weight.error("bad-weights", f"weight {weight.value} is more than 100")
        total += weight.number
    if len(destinations) > 1 and total != 100:
        yield route.error(
            "bad-weights", f"the weights add up to {total:g}, want 100", "such as 20 and 80"
        )


def _destination(destination: Place) -> Iterator[Finding]:
    host = destination["host"]
    wrong = names.host_error(host.text) if isinstance(host.value, str) else None
    if wrong:
        yield host.error(
            "invalid-host", wrong, "the full name, such as hello.default.svc.cluster.local"
        )
    subset = destination["subset"]
    if subset.text and not names.is_label(subset.text):
        yield subset.error("invalid-subset", f"{subset.text!r} is not the name of a subset")
    port = destination["port"]
    if isinstance(port.value, dict) and not port["number"].there:
        yield port.error("missing-field", "number is missing", "port: {number: 9090}")


def _mirror(route: Place) -> Iterator[Finding]:
    percentage = route["mirrorPercentage"]
    yield from _destination(route["mirror"])
    if not percentage.there:
        return
    if not route["mirror"].there:
        yield percentage.error("needs-field", "mirrorPercentage needs mirror")
    if not 0 < percentage["value"].number <= 100:
        yield percentage["value"].error("bad-value", "the percentage is above 0, and at most 100")


def _local_limit(limit: Place) -> Iterator[Finding]:
    if limit.there and not (limit["tokenBucket"].there or limit["conditions"].value):
        yield limit.error("missing-field", "the limit has neither tokenBucket nor conditions")
    catch_all = False
    for condition in limit["conditions"].items:
        if catch_all:
            yield condition.warning(
                "unreachable-condition", "no request comes here: one before matches every request",
                "put the condition without attributes last, or its bucket at localRateLimit",
            )  # fmt: skip
        catch_all = catch_all or not condition["match"]["attributes"].value
        yield from _match(condition["match"])
    if catch_all and limit["tokenBucket"].there:
        yield limit["tokenBucket"].warning(
            "unreachable-condition", "no request comes here: a condition matches every request",
            "leave the condition without attributes out",
        )  # fmt: skip
