"""Colouring: at the edge, marks of strangers are taken away, and requests get marks of our own.

First strip, then colour. Marks of a group go unless the caller is in its `trusted_sources`, from
all that is read as baggage; a trusted caller's own mark stays, and its group does not colour. Else
the first lane of the group, by priority and name, one of whose entries holds gives its mark: a
member `KEY=LANE` behind all that is there. Conditions see what is left after stripping.

Two groups may have one key: it is kept where both trust the caller, and the first of them by
`namespace/name` that has a lane for the request gives the mark. A mark that does not fit within the
limits of W3C baggage is not given: the request goes to the baseline.

The engine decides (`crates/colouring`). Stock Envoy does the same by `envoy_filter`; `tests/lanes`
hold the two against one table.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meltemi.engine.colouring import Colouring
from meltemi.lanes.routes import open_lanes
from meltemi.model import LaneEntry, LaneGroup, StringMatch

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Request:
    """A request at the edge. Texts are what latin-1 makes of the bytes on the wire."""

    method: str
    path: str
    """Without the query, not decoded."""
    query: str
    """What is behind the first `?`, not decoded."""
    headers: Sequence[Header]
    """Names in lower case."""
    source: str
    """The IP address of the TCP connection's other end; "" where there is none."""


def compiled(groups: Iterable[LaneGroup] | None) -> Colouring:
    """The groups, compiled once, for any thread. None: nothing is known of them, so that all
    baggage is taken away. Raises ValueError for what cannot be compiled."""
    if groups is None:
        return Colouring(None)
    ordered = sorted(groups, key=lambda group: (group.namespace, group.name))
    return Colouring(
        [
            (
                group.baggage_key,
                _networks(group.trusted_sources),
                [(lane.name, list(map(_entry, lane.entries))) for lane in open_lanes(group)],
            )
            for group in ordered
        ]
    )


_Match = tuple[str, str]
_Named = list[tuple[str, _Match]]
_Entry = tuple[
    _Named, _Named, _Named, _Match | None, _Match | None, list[str], tuple[int, str, str] | None
]


def _entry(entry: LaneEntry) -> _Entry:
    share = entry.share
    return (
        [(name, _match(match)) for name, match in entry.headers],
        [(name, _match(match)) for name, match in entry.cookies],
        [(name, _match(match)) for name, match in entry.query_params],
        _match(entry.uri) if entry.uri else None,
        _match(entry.method) if entry.method else None,
        _networks(entry.source_addresses),
        (share.percent, share.by, share.name) if share else None,
    )


def _match(match: StringMatch) -> _Match:
    return match.kind, match.value


def _networks(texts: Iterable[str]) -> list[str]:
    return [str(ipaddress.ip_network(text)) for text in texts]


def coloured(plan: Colouring, request: Request, chance: int) -> list[Header]:
    """The headers that the application gets. `chance` is any number below 2**64, another one for
    each request."""
    headers = list(request.headers)
    made = plan.changes(
        [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        request.method,
        request.path.encode("latin-1"),
        request.query.encode("latin-1"),
        request.source,
        chance,
    )
    if made is None:
        return headers
    values, added = dict(made[0]), made[1]
    kept: list[Header] = []
    for place, (name, value) in enumerate(headers):
        now = values.get(place, value)
        if now is not None:
            kept.append((name, now if isinstance(now, str) else now.decode("latin-1")))
    return [*kept, ("baggage", added.decode("latin-1"))] if added else kept
