"""The entries of lanes, ready to be asked: does this request get the mark?

Conditions are Envoy's: of a header that came several times the values are joined by commas,
parameters of a query are not percent-decoded, an expression has to match the whole value.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from meltemi.engine.texts import Expression
from meltemi.lanes.carriers import BAGGAGE, value_of
from meltemi.lanes.share import in_share
from meltemi.model import BUCKETS, LaneEntry, Share, StringMatch

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Holds = Callable[["Asked"], bool]

COOKIE: Final = "cookie"


@dataclass(slots=True)
class Asked:
    """What entries look at. Texts are what latin-1 makes of the bytes on the wire."""

    method: str
    path: str
    """Without the query, as it is on the wire."""
    query: str
    """What is behind the first `?`."""
    headers: Mapping[str, Sequence[str]]
    """By lower-case name, those that `names` has."""
    source: str
    """The address of the caller's connection; "" where it has none."""
    chance: Callable[[], int]
    """From 0 to 99."""


@lru_cache(maxsize=4096)
def address(source: str) -> Address | None:
    """The IP address that `source` says; of IPv4 where it is one in IPv6's clothes."""
    try:
        found = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        return found.ipv4_mapped
    return found


def within(networks: Sequence[str]) -> Callable[[str], bool]:
    """Whether a caller is in one of the networks; nobody is in none."""
    known = [ipaddress.ip_network(network) for network in networks]

    def is_within(source: str) -> bool:
        found = address(source)
        return found is not None and any(found in network for network in known)

    return lru_cache(maxsize=4096)(is_within) if known else lambda source: False


def names(entry: LaneEntry) -> set[str]:
    """The headers that the entry looks at."""
    found = {name for name, _ in entry.headers}
    if entry.cookies:
        found.add(COOKIE)
    if entry.share is not None:
        if entry.share.by == "header":
            found.add(entry.share.name)
        elif entry.share.by in ("cookie", "baggage"):
            found.add(COOKIE if entry.share.by == "cookie" else BAGGAGE)
    return found


def compiled(entry: LaneEntry) -> tuple[Holds, ...]:
    """What has to hold, the cheapest first. Raises ValueError for an expression that is none."""
    return (
        *(_header(name, match) for name, match in entry.headers),
        *([_method(entry.method)] if entry.method else []),
        *([_path(entry.uri)] if entry.uri else []),
        *(_cookie(name, match) for name, match in entry.cookies),
        *(_parameter(name, match) for name, match in entry.query_params),
        *([_source(entry.source_addresses)] if entry.source_addresses else []),
        *([_share(entry.share)] if entry.share else []),
    )


def _test(match: StringMatch) -> Callable[[str], bool]:
    wanted = match.value.encode().decode("latin-1")
    if match.kind == "exact":
        return wanted.__eq__
    if match.kind == "prefix":
        return lambda value: value.startswith(wanted)
    if match.kind == "regex":
        matches = Expression(match.value).matches
        return lambda value: matches(value.encode("latin-1", "replace"))
    return lambda value: True


def _header(name: str, match: StringMatch) -> Holds:
    test = _test(match)

    def holds(asked: Asked) -> bool:
        values = asked.headers.get(name)
        if not values:
            return False
        return test(values[0] if len(values) == 1 else ",".join(values))

    return holds


def _method(match: StringMatch) -> Holds:
    test = _test(match)
    return lambda asked: test(asked.method)


def _path(match: StringMatch) -> Holds:
    test = _test(match)
    return lambda asked: test(asked.path)


def _cookie(name: str, match: StringMatch) -> Holds:
    test = _test(match)

    def holds(asked: Asked) -> bool:
        value = cookie(asked.headers.get(COOKIE, ()), name)
        return value is not None and test(value)

    return holds


def _parameter(name: str, match: StringMatch) -> Holds:
    test = _test(match)

    def holds(asked: Asked) -> bool:
        value = parameter(asked.query, name)
        return value is not None and test(value)

    return holds


def _source(networks: Sequence[str]) -> Holds:
    is_within = within(networks)
    return lambda asked: is_within(asked.source)


def cookie(headers: Sequence[str], name: str) -> str | None:
    """The value of the first cookie of that name (RFC 6265, 5.4), as it was sent."""
    for header in headers:
        if name not in header:
            continue
        for pair in header.split(";"):
            key, equals, value = pair.partition("=")
            if equals and key.strip(" \t") == name:
                return value.strip(" \t")
    return None


def parameter(query: str, name: str) -> str | None:
    """The value of the first parameter of that name, as it was sent."""
    if name not in query:
        return None
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if key == name:
            return value
    return None


def _share(share: Share) -> Holds:
    percent = share.percent
    if share.by == "request":
        if percent in (0, BUCKETS):
            return lambda asked: percent == BUCKETS
        return lambda asked: asked.chance() < percent
    key = _key(share)

    def holds(asked: Asked) -> bool:
        found = key(asked)
        return bool(found) and in_share(found, percent)

    return holds


def _key(share: Share) -> Callable[[Asked], bytes]:
    """What of a request stays the same; b"" where it has nothing of that."""
    name = share.name

    def of_header(asked: Asked) -> bytes:
        values = asked.headers.get(name)
        return values[0].encode("latin-1", "replace") if values else b""

    def of_cookie(asked: Asked) -> bytes:
        value = cookie(asked.headers.get(COOKIE, ()), name)
        return value.encode("latin-1", "replace") if value else b""

    def of_member(asked: Asked) -> bytes:
        values = asked.headers.get(BAGGAGE)
        return value_of(",".join(values), name) or b"" if values else b""

    def of_source(asked: Asked) -> bytes:
        found = address(asked.source)
        return str(found).encode() if found else b""

    if share.by == "header":
        return of_header
    if share.by == "cookie":
        return of_cookie
    return of_member if share.by == "baggage" else of_source
