"""Our rules for `entry` of a `Lane`: which requests get its mark at the edge."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules.virtual_service_http import string_match

_CONDITIONS: Final = (
    "headers",
    "cookies",
    "queryParams",
    "uri",
    "method",
    "sourceAddresses",
    "percentage",
)
_BY: Final = ("header", "cookie", "baggage", "sourceAddress")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_COOKIE: Final = re.compile(r"[^\x00-\x20\x7f=;]+")
_PARAMETER: Final = re.compile(r"[^\x00-\x20\x7f=&#]+")
_NETWORK: Final = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?")


def check(entry: Place) -> Iterator[Finding]:
    if isinstance(entry.value, dict) and not any(entry[each].value for each in _CONDITIONS):
        yield entry.error(
            "missing-field", "no condition: every request would get the mark",
            "percentage: {value: 100}, if every request is meant",
        )  # fmt: skip
    yield from _headers(entry["headers"])
    for field, form, what in (
        ("cookies", _COOKIE, "cookie"),
        ("queryParams", _PARAMETER, "query parameter"),
    ):
        for name, condition in entry[field].entries:
            yield from _name(name, condition, form, what)
            yield from _string(condition)
    yield from _uri(entry["uri"])
    yield from _method(entry["method"])
    sources = entry["sourceAddresses"]
    if sources.value == []:
        yield sources.error("missing-field", "no caller is in no network", "leave it out")
    for source in sources.items:
        yield from network(source)
    yield from _by(entry["percentage"]["by"])


def network(place: Place) -> Iterator[Finding]:
    """What is wrong with an address, or one with the length of its prefix."""
    if not isinstance(place.value, str):
        return
    try:
        if not _NETWORK.fullmatch(place.text):
            raise ValueError(f"{place.text!r} is no network")
        found = ipaddress.ip_network(place.text)
    except ValueError as error:
        yield place.error("invalid-address", str(error), "such as 10.0.0.0/8")
        return
    if isinstance(found, ipaddress.IPv6Network) and found.network_address.ipv4_mapped:
        yield place.error(
            "invalid-address", f"{place.text} is of IPv4: callers are known by that",
            "such as 10.0.0.0/8",
        )  # fmt: skip


def _headers(headers: Place) -> Iterator[Finding]:
    seen: set[str] = set()
    for name, condition in headers.entries:
        yield from _name(name, condition, _TOKEN, "header")
        if name.lower() in seen:
            yield condition.error(
                "duplicate-value", f"the header {name.lower()} has a condition already",
                "names of headers are the same in any case",
            )  # fmt: skip
        elif "_" in name:
            yield condition.warning(
                "no-effect", "an edge leaves out headers with '_' in their names", "use '-'"
            )
        seen.add(name.lower())
        yield from _string(condition)


def _string(condition: Place) -> Iterator[Finding]:
    """An empty `exact` is presence to Istio and nothing to others: who means it says `{}`."""
    yield from string_match(condition)
    if condition["exact"].value == "":
        yield condition["exact"].error("bad-value", "the text is empty", "{}: it is there")


def _name(name: str, place: Place, form: re.Pattern[str], what: str) -> Iterator[Finding]:
    if not name:
        yield place.error("missing-field", f"the name of the {what} is empty")
    elif not form.fullmatch(name):
        yield place.error("bad-value", f"{name!r} is not the name of a {what}")


def _uri(uri: Place) -> Iterator[Finding]:
    yield from _string(uri)
    for kind in ("exact", "prefix"):
        text = uri[kind].text
        if text and not text.startswith("/"):
            yield uri[kind].warning(
                "no-effect", f"no path begins as {text!r} does", "a path begins with /"
            )
        elif "?" in text:
            yield uri[kind].warning(
                "no-effect", "the query is no part of what uri is compared with", "queryParams"
            )


def _method(method: Place) -> Iterator[Finding]:
    yield from _string(method)
    text = method["exact"].text
    if text != text.upper():
        yield method["exact"].warning(
            "no-effect", f"{text!r} is no method: their case counts", f"exact: {text.upper()}"
        )


def _by(by: Place) -> Iterator[Finding]:
    if not isinstance(by.value, dict):
        return
    given = [name for name in _BY if by[name].value not in (None, False)]
    if not given:
        yield by.error(
            "missing-field", "it names nothing of a request",
            f"one of {', '.join(_BY)}; leave it out for each request by itself",
        )  # fmt: skip
    if len(given) > 1:
        yield by.error("one-of", f"{' and '.join(given)} exclude each other")
    for name, form, what in (
        ("header", _TOKEN, "header"),
        ("cookie", _COOKIE, "cookie"),
        ("baggage", _TOKEN, "member of baggage"),
    ):
        if isinstance(by[name].value, str):
            yield from _name(by[name].text, by[name], form, what)
