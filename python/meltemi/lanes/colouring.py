"""Colouring: at the edge, marks of strangers are taken away, and requests get marks of our own.

First strip, then colour. The marks of a group go unless the caller is in its `trusted_sources`
(`carriers` says where they travel); a trusted caller's own mark stays, and its group does not
colour. Else the first lane of the group, by priority and name, one of whose entries holds gives its
mark: a member `KEY=LANE` behind all that is there. Conditions see what is left after stripping.

Two groups may have one key: it is kept where both trust the caller, and the first of them by
`namespace/name` that has a lane for the request gives the mark.

A mark that does not fit within the limits of W3C baggage is not given: the request stays as it is,
and goes to the baseline. Stock Envoy does the same by `envoy_filter`; `tests/lanes` hold the two
against one table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from meltemi.lanes import entries
from meltemi.lanes.carriers import BAGGAGE, carries, folded, keys_in, plain_key, without
from meltemi.lanes.entries import Asked, Holds
from meltemi.lanes.routes import open_lanes
from meltemi.model import LaneGroup

MAX_MEMBERS: Final = 180
MAX_BYTES: Final = 8192
"""Of all `baggage` headers together, joined by commas: what every reader lets through.
Source: https://www.w3.org/TR/baggage/#limits"""

MOST_NAMES: Final = 2048
"""Of headers whose kind is remembered: strangers make up names."""

NO_MARKS: Final[frozenset[str]] = frozenset()

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


class Kind(NamedTuple):
    """Of a header, by its name."""

    name: str
    read: bool
    """Entries look at it."""
    members: bool
    """Its value is a list of members of baggage."""
    marks: frozenset[str]
    """Its value is that of a mark: the keys that this may be."""
    carries: bool
    """Marks may be in it."""


class Placed(NamedTuple):
    """A header that matters, and where in the request it is."""

    place: int
    value: str
    kind: Kind


class _Lane(NamedTuple):
    mark: str
    entries: tuple[tuple[Holds, ...], ...]


class _Group(NamedTuple):
    key: str
    """As `plain_key` gives it."""
    lanes: tuple[_Lane, ...]


class Plan:
    """The groups, compiled once. For any thread."""

    def __init__(self, groups: Iterable[LaneGroup]) -> None:
        """Raises ValueError for a regular expression that the engine refuses."""
        ordered = sorted(groups, key=lambda group: (group.namespace, group.name))
        self._groups = tuple(_compiled(group) for group in ordered)
        self._keys = frozenset(group.key for group in self._groups)
        self._trusts: dict[str, list[Callable[[str], bool]]] = {key: [] for key in self._keys}
        for group in ordered:
            trusts = entries.within(group.trusted_sources)
            self._trusts[plain_key(group.baggage_key)].append(trusts)
        self._trusts_nobody = not any(group.trusted_sources for group in ordered)
        self._read: frozenset[str] = frozenset(
            name
            for group in ordered
            for lane in open_lanes(group)
            for entry in lane.entries
            for name in entries.names(entry)
        )
        self._colouring = tuple(group for group in self._groups if group.lanes)
        self.asks_headers: bool = all(
            entries.names(entry)
            for group in ordered
            for lane in open_lanes(group)
            for entry in lane.entries
        )
        """Whether a request gets no mark that has none of the headers that entries look at."""

    @property
    def empty(self) -> bool:
        """Whether no request is ever changed."""
        return not self._groups

    def kind(self, name: str) -> Kind | None:
        """Of the header with this lower-case name; None where it does not matter."""
        carried = carries(name)
        marks = NO_MARKS
        if carried:
            marks = frozenset(key for key in self._keys if folded(key) == carried)
        read = name in self._read
        if carried == "" or marks or read:
            return Kind(name, read, carried == "", marks, carried == "" or bool(marks))
        return None

    def stripped(self, source: str) -> frozenset[str]:
        """The keys whose marks the caller may not bring, as `plain_key` gives them."""
        if self._trusts_nobody:
            return self._keys
        return frozenset(
            key
            for key, groups in self._trusts.items()
            if not all(trusts(source) for trusts in groups)
        )

    def marks(self, asked: Asked, taken: frozenset[str] = NO_MARKS) -> list[str]:
        """The marks that the request gets, one a key; none of a key that is `taken`."""
        found: list[str] = []
        for key, lanes in self._colouring:
            if key in taken:
                continue
            for mark, any_of in lanes:
                for all_of in any_of:
                    for holds in all_of:
                        if not holds(asked):
                            break
                    else:
                        break
                else:
                    continue
                found.append(mark)
                taken = taken | {key}
                break
        return found


def _compiled(group: LaneGroup) -> _Group:
    lanes = tuple(
        _Lane(
            f"{group.baggage_key}={lane.name}",
            tuple(entries.compiled(entry) for entry in lane.entries),
        )
        for lane in open_lanes(group)
        if lane.entries
    )
    return _Group(plain_key(group.baggage_key), lanes)


class Changes(NamedTuple):
    """What becomes of the headers of a request."""

    values: dict[int, str | None]
    """By place of the header: its new value, or None where it goes."""
    added: str
    """The value of a further `baggage` header; "": there is none."""


def changes(
    plan: Plan,
    relevant: Sequence[Placed],
    asked: Asked,
) -> Changes | None:
    """What colouring does to a request; None: nothing. `relevant` are the headers that
    `Plan.kind` knows, in their order; `asked.headers` is set from what is left of them.

    A request without a header that carries marks needs only `added`."""
    strip = plan.stripped(asked.source)
    values: dict[int, str | None] = {}
    own: set[str] = set()
    left: dict[str, list[str]] = {}
    last = -1
    for place, value, kind in relevant:
        now: str | None = value
        if kind.members:
            now = without(value, strip)
            if now is not None:
                own.update(keys_in(now))
        elif kind.marks:
            if kind.marks & strip:
                now = None
            else:
                own.update(kind.marks)
        if now is not value:
            values[place] = now
        if now is not None:
            if kind.read or kind.members:
                left.setdefault(kind.name, []).append(now)
            if kind.name == BAGGAGE:
                last = place
    asked.headers = left
    baggage = left.get(BAGGAGE, [])
    given = _fitting(plan.marks(asked, frozenset(own)), baggage)
    if given and baggage:
        values[last] = _joined(baggage[-1], given)
        given = ""
    return Changes(values, given) if values or given else None


def added(plan: Plan, asked: Asked) -> str:
    """The value of the `baggage` header that a request without any baggage gets; "": none."""
    marks = plan.marks(asked)
    return _fitting(marks, ()) if marks else ""


def _fitting(marks: Iterable[str], baggage: Sequence[str]) -> str:
    """Those of the marks that fit beside what is there, joined by commas."""
    fitting = ""
    for mark in marks:
        more = f"{fitting},{mark}" if fitting else mark
        whole = _joined(",".join(baggage), more) if baggage else more
        if len(whole) <= MAX_BYTES and _members(whole) <= MAX_MEMBERS:
            fitting = more
    return fitting


def _members(text: str) -> int:
    if text.count(",") < MAX_MEMBERS:
        return 1
    return sum(1 for member in text.split(",") if member.strip(" \t"))


def _joined(text: str, mark: str) -> str:
    bare = text.rstrip(" \t")
    return f"{text},{mark}" if bare and not bare.endswith(",") else f"{text}{mark}"


def coloured(plan: Plan, request: Request, chance: Callable[[], int]) -> list[Header]:
    """The headers that the application gets. `chance` gives a number from 0 to 99."""
    relevant = [
        Placed(index, value, kind)
        for index, (name, value) in enumerate(request.headers)
        if (kind := plan.kind(name)) is not None
    ]
    asked = Asked(request.method, request.path, request.query, {}, request.source, chance)
    made = changes(plan, relevant, asked)
    headers: list[Header] = list(request.headers)
    if made is None:
        return headers
    kept = [
        (name, now)
        for index, (name, value) in enumerate(headers)
        if (now := made.values.get(index, value)) is not None
    ]
    return [*kept, (BAGGAGE, made.added)] if made.added else kept
