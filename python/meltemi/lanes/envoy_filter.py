"""Colouring inside a stock Envoy: lane groups to the HTTP filters that strip and give marks.

Three kinds of filter, in this order:

- what RE2 has to say: for each regex of an entry a filter that notes in the request's dynamic
  metadata that it holds. What Envoy's matching API cannot take apart (path, cookies, query) one
  filter in Lua lays out there before;
- the decision itself, in Lua (`colouring.lua`), passed over by every request that has no mark to
  strip and that no entry can let in, as far as Envoy can tell without it. That keeps its price from
  most requests;
- one that takes away what names of headers hide.

The same decision as `meltemi.lanes.colouring`: one table of cases holds the two together.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import resources
from itertools import product
from typing import Any, Final

from meltemi.lanes import envoy_match as native
from meltemi.lanes import lua
from meltemi.lanes.routes import open_lanes
from meltemi.model import BUCKETS, Lane, LaneEntry, LaneGroup, Share, StringMatch

NAMESPACE: Final = "meltemi.lanes"
"""Of the dynamic metadata, and the beginning of the filters' names."""

_LUA: Final = "envoy.extensions.filters.http.lua.v3.Lua"
_MUTATION: Final = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
_CARRIED: Final = (
    "",
    "rpc-transit-",
    "rpc-persist-",
    "rpc-transit-upstream-",
    "rpc-persist-upstream-",
)
"""As itself, or as Kitex' metainfo over HTTP."""
_LISTS: Final = tuple(f"{carried}baggage" for carried in _CARRIED)
"""Headers of W3C baggage."""
_SINGLE: Final = ("ot-baggage-", "uberctx-")
"""Headers of one member each: OpenTracing's and Jaeger's."""

MANY: Final = 16
"""Entries by one header that Envoy compares with one by one; of more, who has it is asked."""

Filter = dict[str, Any]


def http_filters(groups: Sequence[LaneGroup], *, underscores: bool = True) -> list[Filter]:
    """The filters to put before the router, as JSON of protobuf; none without groups.

    `underscores`: whether headers with `_` in their names come as far as here; False where the
    listener drops or refuses them (`headers_with_underscores_action`)."""
    ordered = _ordered(groups)
    return [*_colouring(ordered, underscores), *_odd_names(ordered)]


SLOTS: Final = (f"{NAMESPACE}.colouring", f"{NAMESPACE}.names")
"""The names of `slots`."""
SLOT_TYPES: Final = (
    native.TYPE + native.WITH_MATCHER,
    native.TYPE + _LUA,
    native.TYPE + _MUTATION,
)
"""What their configuration may be."""


def slots(groups: Sequence[LaneGroup], *, underscores: bool = True) -> list[Filter]:
    """The same as filters whose number and names never change, for who sends their configuration
    apart from the listener (ECDS); those that have nothing to do do nothing."""
    ordered = _ordered(groups)
    ways = (_colouring(ordered, underscores), list(_odd_names(ordered)))
    return [_slot(name, filters) for name, filters in zip(SLOTS, ways, strict=True)]


def _slot(name: str, filters: list[Filter]) -> Filter:
    if not filters:
        return native.typed(name, _MUTATION, mutations={})
    if len(filters) == 1:
        return {**filters[0], "name": name}
    return native.in_one(name, filters)


def _ordered(groups: Sequence[LaneGroup]) -> list[LaneGroup]:
    return sorted(groups, key=lambda group: (group.namespace, group.name))


def _colouring(groups: list[LaneGroup], underscores: bool) -> list[Filter]:
    if not groups:
        return []
    lists = _spelled(_LISTS) if underscores else _LISTS
    regexes = _Regexes()
    decision = _decision("colouring", groups, lists, regexes)
    filters = [*regexes.filters(), decision]
    if regexes.of_baggage:
        bare = [replace(group, lanes=()) for group in groups]
        return [_decision("stripping", bare, lists, regexes), *filters]
    return filters


def _decision(
    name: str, groups: Sequence[LaneGroup], lists: Sequence[str], regexes: _Regexes
) -> Filter:
    plan: dict[str, lua.Value] = {
        "lists": lists,
        "single": _single(groups),
        "groups": [_group(group, regexes) for group in groups],
    }
    code = _code("colouring", f"local plan = {lua.literal(plan)}\n")
    wanted = _gate(groups, lists)
    name = f"{NAMESPACE}.{name}"
    return native.only_where(name, wanted, code) if wanted else _plain(name, code)


def _spelled(names: Sequence[str]) -> list[str]:
    """Each with every choice of `-` and `_`."""
    return [
        "".join(way)
        for name in names
        for way in product(*("-_" if each == "-" else each for each in name))
    ]


def _plain(name: str, config: dict[str, Any]) -> Filter:
    return {"name": name, "typed_config": config}


def _code(name: str, data: str) -> dict[str, Any]:
    """A Lua filter's `typed_config`: `data`, how a request is read, and the program `name`."""
    source = {"inline_string": data + _program("request") + _program(name)}
    return {"@type": native.TYPE + _LUA, "default_source_code": source}


def _program(name: str) -> str:
    return resources.files("meltemi.lanes").joinpath(f"{name}.lua").read_text()


class _Regexes:
    """The regexes of entries, each once, and what they are held against."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str, str], str] = {}

    def name_of(self, part: str, name: str, text: str) -> str:
        """Where in the metadata it will say whether it holds."""
        return self._names.setdefault((part, name, text), f"r{len(self._names)}")

    @property
    def of_baggage(self) -> bool:
        """Whether one is about a header that marks are taken out of: Envoy is to see it after."""
        return any(part == "header" and name in _LISTS for part, name, _ in self._names)

    def filters(self) -> Iterator[Filter]:
        taken_apart = list(
            dict.fromkeys((part, name) for part, name, _ in self._names if part in _APART)
        )
        if taken_apart:
            wanted = [[part, name, _place(part, name)] for part, name in taken_apart]
            code = _code("parts", f"local wanted = {lua.literal(wanted)}\n")
            yield _plain(f"{NAMESPACE}.parts", code)
        for (part, name, text), key in self._names.items():
            predicate = _native(part, name, text)
            note = {"metadata_namespace": NAMESPACE, "value": {key: True}, "allow_overwrite": True}
            config = {
                "@type": native.TYPE + "envoy.extensions.filters.http.set_metadata.v3.Config",
                "metadata": [note],
            }
            yield native.only_where(f"{NAMESPACE}.{key}", predicate, config)


_APART: Final = ("uri", "cookie", "query")
"""Parts of a request that Envoy's inputs do not have."""


def _place(part: str, name: str) -> str:
    return f"{part}:{name}"


def _native(part: str, name: str, text: str) -> native.Predicate:
    if part in _APART:
        return native.metadata(NAMESPACE, _place(part, name), text)
    return native.header(":method" if part == "method" else name, **native.regex(text))


# The plan: what the program decides by, as data.


def _group(group: LaneGroup, regexes: _Regexes) -> dict[str, lua.Value]:
    return {
        "key": group.baggage_key,
        "lower": group.baggage_key.lower(),
        "trusted": _networks(group.trusted_sources),
        "lanes": [
            {
                "mark": f"{group.baggage_key}={lane.name}",
                "entries": [_entry(entry, regexes) for entry in _entries(lane)],
            }
            for lane in open_lanes(group)
        ],
    }


def _entries(lane: Lane) -> list[LaneEntry]:
    """Those that can hold."""
    return [each for each in lane.entries if each.share is None or each.share.percent > 0]


def _conditions(entry: LaneEntry) -> Iterator[tuple[str, str, StringMatch]]:
    """Each with the part of a request, and the name in it."""
    for part, conditions in (
        ("header", entry.headers),
        ("cookie", entry.cookies),
        ("query", entry.query_params),
    ):
        for name, condition in conditions:
            yield part, name, condition
    if entry.uri:
        yield "uri", "", entry.uri
    if entry.method:
        yield "method", "", entry.method


def _entry(entry: LaneEntry, regexes: _Regexes) -> dict[str, lua.Value]:
    conditions: list[lua.Value] = []
    for part, name, condition in _conditions(entry):
        value = condition.value
        if condition.kind == "regex":
            value = regexes.name_of(part, name, value)
        conditions.append([part, name, condition.kind, value])
    found: dict[str, lua.Value] = {"conditions": conditions}
    if entry.source_addresses:
        found["sources"] = _networks(entry.source_addresses)
    if entry.share and (entry.share.by != "request" or entry.share.percent < BUCKETS):
        share = entry.share
        found["share"] = {"by": share.by, "name": share.name, "percent": share.percent}
    return found


def _networks(networks: Sequence[str]) -> list[lua.Value]:
    """Each: its whole bytes, the size of an address, the bits beyond them, the byte of those."""
    found: list[lua.Value] = []
    for each in networks:
        network = ipaddress.ip_network(each)
        packed = network.network_address.packed
        whole, bits = divmod(network.prefixlen, 8)
        found.append([packed[:whole], len(packed), bits, packed[whole] if bits else 0])
    return found


def _single(groups: Sequence[LaneGroup]) -> dict[str, lua.Value]:
    """By a group's key in lower case: the headers that hold a member of it alone."""
    keys = dict.fromkeys(group.baggage_key.lower() for group in groups)
    return {key: [prefix + key for prefix in _SINGLE] for key in keys}


# The gate: which requests the decision is for.


def _gate(groups: Sequence[LaneGroup], lists: Sequence[str]) -> native.Predicate | None:
    """Holds for each request that the decision might change; None: it might change any.

    Marks within metainfo within a header of one member are left to `_odd_names`: no route asks for
    such a header, so none has to be chosen anew."""
    keys = dict.fromkeys(group.baggage_key.lower() for group in groups)
    names = [*lists, *(prefix + key for key, prefix in product(keys, _SINGLE))]
    predicates = [native.present(name) for name in names]
    by_header: dict[str, list[native.Predicate]] = {}
    for group in groups:
        for lane in open_lanes(group):
            for entry in _entries(lane):
                found = list(_may_hold(entry))
                if not found:
                    return None
                wanted = by_header.setdefault(_only_header(entry), [])
                wanted.append(native.all_of(found))
    for name, wanted in by_header.items():
        many = name and len(wanted) > MANY
        predicates += [native.present(name)] if many else wanted
    return native.any_of(predicates)


def _only_header(entry: LaneEntry) -> str:
    """The header that the entry asks for and for nothing else; "" where there is more."""
    alone = len(entry.headers) == 1 and entry == LaneEntry(headers=entry.headers)
    return entry.headers[0][0] if alone else ""


def _may_hold(entry: LaneEntry) -> Iterator[native.Predicate]:
    """All of them hold where the entry does; what Envoy cannot tell is left out."""
    for part, name, condition in _conditions(entry):
        yield from _may(part, name, condition)
    if entry.source_addresses:
        yield native.source_within(entry.source_addresses)
    if entry.share:
        yield from _may_be_in(entry.share)


def _may(part: str, name: str, condition: StringMatch) -> Iterator[native.Predicate]:
    kind, text = condition.kind, condition.value
    if part in _APART:
        if part != "uri":
            yield native.header("cookie" if part == "cookie" else ":path", contains=name)
        elif kind in ("exact", "prefix") and text:
            yield native.header(":path", prefix=text)
        return
    where = ":method" if part == "method" else name
    if kind == "regex":
        yield native.header(where, **native.regex(text))
    elif kind == "present" or not text:
        yield native.present(where)
    else:
        yield native.header(where, **{kind: text})


def _may_be_in(share: Share) -> Iterator[native.Predicate]:
    everybody = share.percent >= BUCKETS
    match share.by:
        case "header" if not everybody:
            yield native.header_in_share(share.name, share.percent)
        case "header":
            yield native.present(share.name)
        case "cookie":
            yield native.header("cookie", contains=share.name)
        case "baggage":
            yield native.present("baggage")
        case "source-address" if not everybody:
            yield native.source_in_share(share.percent)
        case _:
            return  # anybody


# Odd names.

_HOLDS_ONE: Final = (
    "(?:rpc[-_](?:transit|persist)[-_](?:upstream[-_])?)?(?:ot[-_]baggage|uberctx)[-_]"
)
_AROUND: Final = r"(?:\+|%(?:[0189a-f][0-9a-f]|20|7f))*"
"""What a lenient reader takes away from around a key: blanks and what is not visible."""


def _odd_names(groups: Sequence[LaneGroup]) -> Iterator[Filter]:
    """Takes away headers of one member whose names say a key in another way: `_` for `-`, which
    CGI and WSGI fold, or percent-encoded. Behind the decision, which has seen to the plain ones."""
    by_trust: dict[tuple[str, ...], dict[str, None]] = {}
    for group in groups:
        by_trust.setdefault(group.trusted_sources, {})[group.baggage_key.lower()] = None
    for number, (trusted, keys) in enumerate(by_trust.items()):
        any_key = "|".join("".join(_encoded(each) for each in key) for key in keys)
        name = f"{NAMESPACE}.names.{number}"
        matcher = {"safe_regex": {"regex": f"{_HOLDS_ONE}{_AROUND}(?:{any_key}){_AROUND}"}}
        mutation = {"remove_on_match": {"key_matcher": matcher}}
        found = native.typed(name, _MUTATION, mutations={"request_mutations": [mutation]})
        if trusted:
            stranger = native.none_of(native.source_within(trusted))
            found = native.only_where(name, stranger, found["typed_config"])
        yield found


def _encoded(character: str) -> str:
    """A regex of a character of a key, in lower case, in a header's name, which Envoy has in lower
    case: as it is, or percent-encoded in either case."""
    if character in "-_":
        return "(?:[-_]|%2d|%5f)"
    codes = dict.fromkeys(f"%{ord(each):02x}" for each in (character, character.upper()))
    return f"(?:{'|'.join((re.escape(character), *codes))})"
